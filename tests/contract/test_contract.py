"""The contract as a whole: it is served, it is what the snapshots say, and each part of it works."""

import subprocess
import sys

import orjson
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from chassis import logs
from chassis.errors import InvalidArgument
from chassis.grpc_server import Contract
from chassis.rules import field_rules, is_nested, items_check, message_of, value_check, value_field
from gateway import contract as contracts
from gateway import openapi
from gateway.binding import Binder
from gateway.breaking import differences
from gateway.codec import encoder
from gateway.contract import SERVICES, load_contract, platform_files, table
from gateway.errors import DEFAULTS
from gateway.operation import Operation
from gateway.segments import SegmentTable
from propmubi.common.v1.errors_pb2 import ErrorCode
from propmubi.options.v1.options_pb2 import sensitive as sensitive_option

CONTRACT = load_contract()


def name(operation: Operation) -> str:
    return operation.operation_id


def test_every_service_has_operations() -> None:
    assert {operation.service for operation in CONTRACT.operations} <= set(SERVICES)
    assert len(platform_files()) >= len(SERVICES)


def test_the_table_is_the_committed_one() -> None:
    assert contracts.SNAPSHOT.read_text(encoding="utf-8") == table(
        CONTRACT
    ), "Run `make protos`, and see in the difference whether each route is still what you want."


def test_openapi_is_the_committed_one() -> None:
    kept, fresh = orjson.loads(openapi.SNAPSHOT.read_bytes()), openapi.describe(CONTRACT)
    assert kept == fresh, "\n".join(
        [*differences(kept, fresh), "Run `make protos`, if that is what you want."]
    )


@pytest.mark.parametrize("module", ["gateway.contract", "gateway.openapi"])
def test_the_commands_print(module: str) -> None:
    printed = subprocess.run([sys.executable, "-m", module], check=True, capture_output=True).stdout
    assert b"/v1/listings/{listing_id}" in printed


@pytest.mark.parametrize("operation", CONTRACT.operations, ids=name)
def test_each_operation_binds_encodes_and_is_documented(operation: Operation) -> None:
    Binder(operation)
    assert orjson.loads(encoder(operation.method.output_type)(operation.output())) is not None
    assert operation.summary


def test_what_is_sensitive_is_never_logged_under_its_name() -> None:
    sensitive = {
        field.name
        for file in platform_files()
        for message in file.message_types_by_name.values()
        for field in message.fields
        if field.GetOptions().Extensions[sensitive_option]
    }
    assert "phone" in sensitive
    assert sensitive <= logs.SENSITIVE


@pytest.mark.parametrize(
    "operation", [operation for operation in CONTRACT.operations if operation.body], ids=name
)
def test_what_the_platform_decides_nobody_sends(operation: Operation) -> None:
    """Ids, roles, owners, statuses: all that the contract calls OUTPUT_ONLY."""
    request = operation.method.input_type
    body = (
        request
        if operation.body == "*"
        else message_of(request.fields_by_name[operation.body or ""])
    )
    decided = {field.name for field in body.fields if field_rules(field).output_only}
    path = dict.fromkeys(operation.path_parameters, "01935b0e-7f1c-7b1e-9a51-0c2f6f3a9c11")
    given = orjson.dumps(dict.fromkeys(decided, "admin"))
    if not decided:
        return
    with pytest.raises(InvalidArgument) as refused:
        Binder(operation).bind(path, b"", given, "application/json", None)
    assert decided <= {violation.field for violation in refused.value.violations}


def test_each_field_is_documented() -> None:
    said = contracts.comments()
    fields = [
        field
        for file in platform_files()
        for message in file.message_types_by_name.values()
        for field in message.fields
    ]
    assert [field.full_name for field in fields if not said.get(field.full_name)] == []


def test_the_rules_of_each_field_make_sense() -> None:
    for file in platform_files():
        for message in file.message_types_by_name.values():
            for field in message.fields:
                value_check(field)
                items_check(field)


def test_each_example_obeys_its_own_schema() -> None:
    document = openapi.describe(CONTRACT)
    wrong = []
    for owner, schema in document["components"]["schemas"].items():
        for field, described in schema.get("properties", {}).items():
            for example in described.get("examples", ()):
                checker = Draft202012Validator({**described, "components": document["components"]})
                wrong += [
                    f"{owner}.{field}: {error.message}" for error in checker.iter_errors(example)
                ]
    assert wrong == []


def test_the_codes_of_the_edge_are_in_the_contract() -> None:
    codes = {value.name.removeprefix("ERROR_CODE_") for value in ErrorCode.DESCRIPTOR.values}
    assert {code for code, _ in DEFAULTS.values()} <= codes


def test_secrets_are_marked_sensitive() -> None:
    telling = ("password", "secret", "otp", "refresh_token", "access_token", "phone")
    unmarked = [
        field.full_name
        for file in platform_files()
        for message in file.message_types_by_name.values()
        for field in message.fields
        if any(word in field.name for word in telling)
        and value_field(field).type == field.TYPE_STRING
        and not field_rules(field).sensitive
    ]
    assert unmarked == []


@pytest.mark.parametrize(
    "operation", [each for each in CONTRACT.operations if each.success_status == 201], ids=name
)
def test_a_get_answers_where_what_is_created_is_said_to_be(operation: Operation) -> None:
    table: SegmentTable[Operation] = SegmentTable()
    for each in CONTRACT.operations:
        table.add(each.http_method, each.path, each)
    found = table.find(operation.location.encode())
    assert found is not None
    assert "GET" in found[0]


def test_a_post_that_keeps_no_answer_says_so() -> None:
    """Tokens are secrets, and what is kept about a person is too much of hers to be kept twice."""
    posts = [each for each in CONTRACT.operations if each.http_method == "POST"]
    silent = {each.rpc for each in posts if not Contract(each.rpc).idempotent} | {
        "/propmubi.auth.v1.AccountService/ExportMe"
    }
    assert silent == {
        each.rpc for each in posts if "`Idempotency-Key` has no effect" in each.description
    }


def test_whatever_is_read_by_itself_has_a_tag_that_is_heeded() -> None:
    paths = openapi.describe(CONTRACT)["paths"]
    for each in CONTRACT.operations:
        paged = "next_page_token" in each.output.DESCRIPTOR.fields_by_name
        if each.http_method == "GET" and not paged:
            described = paths[each.path]["get"]
            assert "ETag" in described["responses"]["200"]["headers"], each.operation_id
            assert "304" in described["responses"], each.operation_id
            assert {"$ref": "#/components/parameters/If-None-Match"} in described["parameters"]


def test_a_resource_that_is_patched_tells_its_version() -> None:
    for operation in CONTRACT.operations:
        if operation.http_method == "PATCH":
            resource = operation.method.input_type.fields_by_name[operation.body or ""]
            assert is_nested(resource)
            assert "version" in message_of(resource).fields_by_name, operation.operation_id
            assert (
                "expected_version" in operation.method.input_type.fields_by_name
            ), operation.operation_id


def test_a_resource_that_tells_its_version_is_deleted_by_it() -> None:
    versioned = {
        each.path
        for each in CONTRACT.operations
        if each.http_method == "GET" and "version" in each.output.DESCRIPTOR.fields_by_name
    }
    deletes = [each for each in CONTRACT.operations if each.http_method == "DELETE"]
    unconditional = [
        each.operation_id
        for each in deletes
        if each.path in versioned and "expected_version" not in each.input.DESCRIPTOR.fields_by_name
    ]
    assert unconditional == []
