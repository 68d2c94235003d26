"""What the contract may not say, each refused at start-up with the RPC or field named and the way out."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

import orjson
from google.api import http_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from chassis.constraints import request_checks
from chassis.rules import (
    SCALARS,
    TIMESTAMP,
    RuleError,
    field_rules,
    is_map,
    is_nested,
    items_check,
    message_of,
    value_check,
    value_field,
)
from gateway.cookies import replied_by_cookie, sent_by_cookie
from gateway.operation import (
    EMPTY,
    PAGING,
    UPLOADED,
    ContractError,
    Operation,
    asked_fields,
    body_fields,
    query_fields,
)
from propmubi.options.v1 import options_pb2
from propmubi.options.v1.options_pb2 import Caller

# What was withdrawn is shown no longer than so many seconds.
LONGEST_KEPT: Final = 2
PARAMETER: Final = re.compile(r"\{([a-z][a-z0-9_]*)\}")


def refuse_method(method: MethodDescriptor) -> None:
    """What no RPC may do, served over HTTP or not."""
    callers = method.GetOptions().Extensions[options_pb2.access].allow
    if not callers or Caller.CALLER_UNSPECIFIED in callers:
        raise ContractError(
            f"{method.full_name}: its access rule allows nobody; name the callers in access.allow"
        )
    if method.client_streaming or method.server_streaming:
        raise ContractError(f"{method.full_name}: streams are not served; page a unary RPC instead")
    try:
        request_checks(method.input_type)
    except RuleError as error:
        raise ContractError(f"{method.full_name}: {error}") from error


def refuse_rule(operation: Operation, rule: http_pb2.HttpRule) -> None:
    """What the HTTP rule, the method options and the messages may not say together."""
    verb, body, request = operation.http_method, operation.body, operation.method.input_type
    resource = request.fields_by_name.get(body or "")
    mask = request.fields_by_name.get("update_mask")
    version = request.fields_by_name.get("expected_version")
    created = operation.success_status == 201
    public = operation.cache is not None and operation.cache.public
    faults = {
        "an RPC with an HTTP rule names its rate_limit": not operation.rate_limit,
        "additional_bindings are not served; write another RPC": len(rule.additional_bindings) > 0,
        "response_body is not served; the reply is the answer": bool(rule.response_body),
        "a GET says idempotency_level = NO_SIDE_EFFECTS": verb == "GET" and not operation.read_only,
        f"a {verb} has side effects, idempotency_level says it has none": (
            verb != "GET" and operation.read_only
        ),
        # A DELETE may: what proves that its caller is herself has no place in a URL.
        f"a {verb} has no body": verb == "GET" and body is not None,
        f'a {verb} says body: "*" or names the field that is the body': (
            verb not in {"GET", "DELETE"} and body is None and operation.upload is None
        ),
        "an upload is a POST of a file to a path without parameters, and says how large, how long and of what type": (
            operation.upload is not None
            and not (
                verb == "POST"
                and not operation.path_parameters
                and operation.upload.max_bytes
                and operation.upload.max_seconds
                and operation.upload.content_types
                and set(request.fields_by_name) == UPLOADED
            )
        ),
        "a download is a GET that lists, and names its file": operation.download is not None
        and not (operation.download.file_name and is_list(operation)),
        f"{body} is no message of the request": (
            body not in {None, "*"} and (resource is None or not is_nested(resource))
        ),
        "a PATCH names its resource in body and has an update_mask": (
            verb == "PATCH" and (mask is None or resource is None)
        ),
        "an update_mask is for PATCH": verb != "PATCH" and mask is not None,
        "expected_version is an optional int64": version is not None
        and not (version.has_presence and version.type == FieldDescriptor.TYPE_INT64),
        "SUCCESS_CREATED is for a POST that answers with an id": created
        and (verb != "POST" or "id" not in operation.method.output_type.fields_by_name),
        "a cache policy is for GET": operation.cache is not None and verb != "GET",
        f"gateway_seconds are {LONGEST_KEPT} at most, for what everyone may read and no cookie or file carries": (
            operation.cache is not None
            and operation.cache.gateway_seconds > 0
            and not (
                operation.cache.gateway_seconds <= LONGEST_KEPT
                and Caller.CALLER_ANYONE in operation.callers
                and operation.download is None
            )
        ),
        "a public cache is for what everyone may read": (
            public and Caller.CALLER_ANYONE not in operation.callers
        ),
        "it has no comment, and the comment is its documentation": not operation.summary,
    }
    for message, wrong in faults.items():
        if wrong:
            raise ContractError(f"{operation.method.full_name}: {message}")


def is_list(operation: Operation) -> bool:
    request, reply = operation.method.input_type, operation.method.output_type
    lists = [field for field in reply.fields if field.is_repeated and is_nested(field)]
    return (
        operation.http_method == "GET"
        and set(request.fields_by_name) >= PAGING
        and "next_page_token" in reply.fields_by_name
        and len(lists) == 1
    )


def refuse_fields(operation: Operation) -> None:
    """What the fields of path, query, body and reply may not be."""
    request = operation.method.input_type
    addressed = []
    for name in operation.path_parameters:
        if name not in request.fields_by_name:
            raise ContractError(
                f"{operation.method.full_name}: {{{name}}} in its path is no field of {request.name}"
            )
        if (
            field := request.fields_by_name[name]
        ).type != FieldDescriptor.TYPE_STRING or field.is_repeated:
            raise ContractError(f"{field.full_name}: a path parameter is a string")
        addressed.append(field)
    asked = asked_fields(operation)
    for field in (*addressed, *asked, *body_fields(operation)):
        refuse_types(field)
        refuse_input(field)
    refuse_parameters(asked, [*addressed, *query_fields(operation)])
    if operation.method.output_type.full_name != EMPTY:
        for field in operation.method.output_type.fields:
            refuse_types(field)


def refuse_parameters(
    asked: Sequence[FieldDescriptor], parameters: Sequence[FieldDescriptor]
) -> None:
    """What path and query may not say, where the fields that are `asked` for stand as `parameters`."""
    for field in (*asked, *parameters):
        if field_rules(field).sensitive:
            raise ContractError(
                f"{field.full_name}: sensitive data does not travel in a path or query, where it is logged"
            )
        if is_nested(field) or is_map(field):
            refuse_asked_message(field)
    names = [field.name for field in parameters]
    for field in parameters:
        if names.count(field.name) > 1:
            raise ContractError(
                f"{field.full_name}: two of its request's parameters have this name"
            )


def refuse_asked_message(field: FieldDescriptor) -> None:
    """A message of a query that can't stand there as its own fields, each of them a parameter that may be absent."""
    within = message_of(field).fields
    if field.is_repeated or any(is_nested(each) or is_map(each) for each in within):
        raise ContractError(
            f"{field.full_name}: a query carries plain values, lists of them, and messages of such"
        )
    for each in (field, *within):
        if field_rules(each).required:
            raise ContractError(
                f"{each.full_name}: a message of a query may be absent, and so may each of its fields"
            )


def refuse_cookies(operations: Sequence[Operation]) -> None:
    """What can't be in a cookie, and cookies that are forgotten but never set."""
    replied = {field.name for operation in operations for field in replied_by_cookie(operation)}
    for operation in operations:
        request, reply = operation.method.input_type, operation.method.output_type
        carried = {*sent_by_cookie(operation), *replied_by_cookie(operation)}
        for field in (*request.fields, *reply.fields):
            rules = field_rules(field)
            plain = field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated
            if rules.cookie and not (field in carried and plain and rules.sensitive):
                raise ContractError(
                    f"{field.full_name}: a cookie is for a sensitive string of a whole body or of a reply"
                )
        if operation.forgets_cookie and operation.forgets_cookie not in replied:
            raise ContractError(
                f"{operation.method.full_name}: no reply has a field {operation.forgets_cookie} with a cookie"
            )


def refuse_input(field: FieldDescriptor) -> None:
    """A field of a request that is neither required nor optional: absent and empty would be the same."""
    rules = field_rules(field)
    if rules.output_only:
        return
    if not (field.is_repeated or field.has_presence or rules.required):
        raise ContractError(
            f"{field.full_name}: a field of a request is REQUIRED or may be absent, and then it says `optional`"
        )
    if is_nested(field):
        for child in message_of(value_field(field)).fields:
            refuse_input(child)


def refuse_types(field: FieldDescriptor, inside: tuple[Descriptor, ...] = ()) -> None:
    """What a field of request or reply, and all that lies within it, may not be."""
    refuse_type(field)
    if is_nested(field):
        message = message_of(value_field(field))
        if message in inside:
            raise ContractError(f"{field.full_name}: a message can't contain itself")
        for child in message.fields:
            refuse_types(child, (*inside, message))


def refuse_type(field: FieldDescriptor) -> None:
    value = value_field(field)
    if (
        is_map(field)
        and message_of(field).fields_by_name["key"].type != FieldDescriptor.TYPE_STRING
    ):
        raise ContractError(f"{field.full_name}: the keys of a map are strings")
    rules = field_rules(field)
    try:
        value_check(field)
        items_check(field)
        if rules.example:
            orjson.loads(rules.example)
    except RuleError as error:
        raise ContractError(str(error)) from error
    except orjson.JSONDecodeError as error:
        raise ContractError(f"{field.full_name}: its example is not JSON") from error
    if value.type in SCALARS or value.type == FieldDescriptor.TYPE_ENUM:
        return
    if value.type != FieldDescriptor.TYPE_MESSAGE or not supported(message_of(value)):
        raise ContractError(
            f"{field.full_name}: its type is not served; see SCALARS in chassis/rules.py"
        )


def supported(message: Descriptor) -> bool:
    return message.full_name == TIMESTAMP or message.file.package.startswith("propmubi.")


def refuse_collisions(operations: Iterable[Operation]) -> None:
    taken: dict[tuple[str, str], Operation] = {}
    for operation in operations:
        route = f"{operation.http_method} {PARAMETER.sub('{}', operation.path)}"
        for kind, name in (("route", route), ("operation_id", operation.operation_id)):
            other = taken.setdefault((kind, name), operation)
            if other is not operation:
                raise ContractError(
                    f"{operation.method.full_name} and {other.method.full_name} share one {kind}, {name}"
                )
