"""What the contract refuses at start-up, each from a proto that says it."""

import itertools
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc  # type: ignore[import-untyped]

from gateway import contract as contracts
from gateway.contract import ContractError, load_contract

PROTOS = Path(__file__).parents[2] / "protos"
HEAD = """
syntax = "proto3";
package propmubi.refused{n}.v1;
import "google/api/annotations.proto";
import "google/api/field_behavior.proto";
import "google/protobuf/any.proto";
import "google/protobuf/field_mask.proto";
import "propmubi/options/v1/options.proto";
"""
READ = "option idempotency_level = NO_SIDE_EFFECTS;"
OPEN = "option (propmubi.options.v1.access) = {allow: [CALLER_ANYONE]};"
LIMIT = "option (propmubi.options.v1.rate_limit) = RATE_LIMIT_READ;"
GET = "option (google.api.http) = {get: '/v1/things/{thing_id}'};"
POST = "option (google.api.http) = {post: '/v1/things', body: '*'};"
PATCH = "option (google.api.http) = {patch: '/v1/things/{thing_id}', body: 'thing'};"
CREATED = "option (propmubi.options.v1.success) = SUCCESS_CREATED;"
REPLY = "message Thing { string id = 1; }"
ASK = "message Ask { string thing_id = 1 [(google.api.field_behavior) = REQUIRED]; }"
SECRET = "(propmubi.options.v1.sensitive) = true"
REQUIRED = "(google.api.field_behavior) = REQUIRED"
numbers = itertools.count()


def rpc(*options: str, name: str = "Do", stream: str = "") -> str:
    return f"rpc {name}({stream} Ask) returns (Thing) {{ {' '.join(options)} }}"


def asks(field: str) -> str:
    return f"message Ask {{ {field} }}"


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., FileDescriptor]:
    monkeypatch.setattr(contracts, "prose", lambda name: (name, ""))

    def compile_proto(rpcs: str, *messages: str) -> FileDescriptor:
        file = f"refused{next(numbers)}_{tmp_path.name}.proto"
        text = HEAD.replace(
            "{n}", file.split("_", maxsplit=1)[0].removeprefix("refused")
        ) + "\n".join(messages)
        (tmp_path / file).write_text(
            f"{text}\nservice ThingService {{ {rpcs} }}\n", encoding="utf-8"
        )
        roots = [
            tmp_path,
            PROTOS,
            distribution("googleapis-common-protos").locate_file(""),
            distribution("grpcio-tools").locate_file("grpc_tools/_proto"),
        ]
        described = tmp_path / "described"
        command = [f"--proto_path={root}" for root in roots] + [
            f"--descriptor_set_out={described}",
            file,
        ]
        assert protoc.main(["protoc", *command]) == 0
        pool = descriptor_pool.Default()
        for proto in FileDescriptorSet.FromString(described.read_bytes()).file:
            pool.AddSerializedFile(proto.SerializeToString())
        return pool.FindFileByName(file)

    return compile_proto


def test_a_plain_rpc_is_served(compiled: Callable[..., FileDescriptor]) -> None:
    contract = load_contract(compiled(rpc(READ, OPEN, LIMIT, GET), REPLY, ASK))
    (operation,) = contract.operations
    assert (operation.http_method, operation.path) == ("GET", "/v1/things/{thing_id}")
    assert (operation.path_parameters, operation.body) == (("thing_id",), None)
    assert (operation.success_status, operation.read_only, operation.operation_id) == (
        200,
        True,
        "do",
    )


def test_an_rpc_without_http_rule_is_internal(compiled: Callable[..., FileDescriptor]) -> None:
    contract = load_contract(compiled(rpc(OPEN), REPLY, ASK))
    assert contract.operations == ()
    assert [path.rpartition("/")[2] for path in contract.internal] == ["Do"]


@pytest.mark.parametrize(
    ("rpcs", "messages", "because"),
    [
        (rpc(READ, LIMIT, GET), [ASK], "access rule allows nobody"),
        (rpc(READ, OPEN, GET), [ASK], "names its rate_limit"),
        (rpc(OPEN, LIMIT, GET), [ASK], "NO_SIDE_EFFECTS"),
        (rpc(READ, OPEN, LIMIT, POST), [ASK], "has side effects"),
        (rpc(READ, OPEN, LIMIT, GET, stream="stream"), [ASK], "streams are not served"),
        (rpc(OPEN, LIMIT, POST.replace(", body: '*'", "")), [ASK], "says body"),
        (rpc(READ, OPEN, LIMIT, GET.replace("'}", "', body: '*'}")), [ASK], "has no body"),
        (rpc(OPEN, LIMIT, POST.replace("'*'", "'thing'")), [ASK], "no message of the request"),
        (rpc(OPEN, LIMIT, PATCH), [ASK], "no message of the request"),
        (
            rpc(OPEN, LIMIT, PATCH),
            [
                asks(f"string thing_id = 1 [{REQUIRED}]; optional Inner thing = 2;"),
                "message Inner {}",
            ],
            "has an update_mask",
        ),
        (
            rpc(
                READ,
                OPEN,
                LIMIT,
                "option (google.api.http) = {get: '/a', additional_bindings {get: '/b'}};",
            ),
            [ASK],
            "additional_bindings",
        ),
        (
            rpc(READ, OPEN, LIMIT, "option (google.api.http) = {get: '/a', response_body: 'id'};"),
            [ASK],
            "response_body",
        ),
        (
            rpc(
                READ, OPEN, LIMIT, "option (google.api.http) = {custom {kind: 'HEAD', path: '/a'}};"
            ),
            [ASK],
            "names none of",
        ),
        (rpc(READ, OPEN, LIMIT, GET.replace("thing_id", "thing.id")), [ASK], "plain {parameter}"),
        (
            rpc(READ, OPEN, LIMIT, GET.replace("thing_id", "thing_id=things/*")),
            [ASK],
            "plain {parameter}",
        ),
        (rpc(READ, OPEN, LIMIT, GET.replace("thing_id", "other_id")), [ASK], "is no field of Ask"),
        (
            rpc(READ, OPEN, LIMIT, GET.replace("}'", "}/{thing_id}'")),
            [ASK],
            "names a parameter twice",
        ),
        (
            rpc(READ, OPEN, LIMIT, GET),
            [asks(f"int32 thing_id = 1 [{REQUIRED}];")],
            "a path parameter is a string",
        ),
        (
            rpc(READ, OPEN, LIMIT, GET),
            [asks(f"string thing_id = 1 [{REQUIRED}, (propmubi.options.v1.sensitive) = true];")],
            "sensitive data",
        ),
        (
            rpc(READ, OPEN, LIMIT, GET),
            [
                asks(f"string thing_id = 1 [{REQUIRED}]; repeated Inner inner = 2;"),
                "message Inner {}",
            ],
            "a query carries plain values",
        ),
        (
            rpc(READ, OPEN, LIMIT, GET),
            [
                asks(f"string thing_id = 1 [{REQUIRED}]; map<string, string> names = 2;"),
            ],
            "a query carries plain values",
        ),
        (
            rpc(READ, OPEN, LIMIT, GET),
            [
                asks(f"string thing_id = 1 [{REQUIRED}]; optional Outer outer = 2;"),
                "message Outer { optional Inner inner = 1; }",
                "message Inner { optional string name = 1; }",
            ],
            "a query carries plain values",
        ),
        (
            rpc(READ, OPEN, LIMIT, GET),
            [
                asks(f"string thing_id = 1 [{REQUIRED}]; optional Inner inner = 2;"),
                f"message Inner {{ string name = 1 [{REQUIRED}]; }}",
            ],
            "a message of a query may be absent",
        ),
        (
            rpc(READ, OPEN, LIMIT, GET),
            [
                asks(f"string thing_id = 1 [{REQUIRED}]; optional Inner inner = 2;"),
                "message Inner { optional string thing_id = 1; }",
            ],
            "two of its request's parameters",
        ),
        (
            rpc(READ, OPEN, LIMIT, GET),
            [
                asks(f"string thing_id = 1 [{REQUIRED}]; optional Inner inner = 2;"),
                f"message Inner {{ optional string name = 1 [{SECRET}]; }}",
            ],
            "sensitive data does not travel",
        ),
        (rpc(OPEN, LIMIT, POST), [asks("string name = 1;")], "says `optional`"),
        (rpc(OPEN, LIMIT, POST), [asks("optional float ratio = 1;")], "type is not served"),
        (rpc(OPEN, LIMIT, POST), [asks("optional bytes raw = 1;")], "type is not served"),
        (
            rpc(OPEN, LIMIT, POST),
            [asks("optional google.protobuf.Any any = 1;")],
            "type is not served",
        ),
        (
            rpc(OPEN, LIMIT, POST),
            [asks("map<int32, string> names = 1;")],
            "keys of a map are strings",
        ),
        (rpc(OPEN, LIMIT, POST), [asks("optional Ask ask = 1;")], "contain itself"),
        (
            rpc(OPEN, LIMIT, POST),
            [asks("optional Color color = 1;"), "enum Color { NONE = 0; RED = 1; }"],
            "values begin with COLOR_",
        ),
        (
            rpc(OPEN, LIMIT, POST),
            [asks("optional int32 count = 1 [(propmubi.options.v1.rules) = {min_length: 1}];")],
            "min_length is no rule for its type",
        ),
        (
            rpc(OPEN, LIMIT, POST),
            [asks("optional string name = 1 [(propmubi.options.v1.rules) = {max_items: 1}];")],
            "rules on items",
        ),
        (
            rpc(OPEN, LIMIT, POST),
            [asks("optional string name = 1 [(propmubi.options.v1.rules) = {pattern: '('}];")],
            "its pattern",
        ),
        (
            rpc(OPEN, LIMIT, POST),
            [asks("optional string name = 1 [(propmubi.options.v1.example) = 'bare'];")],
            "its example is not JSON",
        ),
        (
            rpc(OPEN, LIMIT, POST, "option (propmubi.options.v1.cache) = {max_age: 1};"),
            [ASK],
            "cache policy is for GET",
        ),
        (
            rpc(
                READ,
                OPEN.replace("ANYONE", "PERSON"),
                LIMIT,
                GET,
                "option (propmubi.options.v1.cache) = {max_age: 1, public: true};",
            ),
            [ASK],
            "a public cache",
        ),
        (
            rpc(OPEN, LIMIT, POST, CREATED),
            [ASK],
            "at no path that a GET answers",
        ),
        (
            rpc(
                OPEN,
                LIMIT,
                POST,
                CREATED,
                "option (propmubi.options.v1.location) = '/v1/things/{id}';",
            ),
            [ASK],
            "at no path that a GET answers",
        ),
        (
            rpc(READ, OPEN, LIMIT, GET, "option (propmubi.options.v1.batch) = 'BatchDo';"),
            [ASK],
            "no RPC BatchDo",
        ),
        (
            rpc(READ, OPEN, LIMIT, GET, "option (propmubi.options.v1.batch) = 'Do';"),
            [ASK],
            "takes a list",
        ),
        (
            rpc(OPEN, LIMIT, POST) + rpc(OPEN, LIMIT, POST, name="DoAgain"),
            [ASK],
            "share one route",
        ),
        (
            rpc(READ, OPEN, LIMIT, GET)
            + rpc(READ, OPEN, LIMIT, GET.replace("thing_id", "other_id"), name="DoAgain"),
            [asks(f"string thing_id = 1 [{REQUIRED}]; string other_id = 2 [{REQUIRED}];")],
            "share one route",
        ),
        (
            rpc(OPEN, LIMIT, POST),
            [asks(f"string name = 1 [{REQUIRED}, (propmubi.options.v1.cookie) = {{}}];")],
            "a cookie is for a sensitive string",
        ),
        (
            rpc(READ, OPEN, LIMIT, GET.replace("/{thing_id}", "")),
            [asks(f"optional string name = 1 [{SECRET}, (propmubi.options.v1.cookie) = {{}}];")],
            "sensitive data does not travel",
        ),
        (
            rpc(OPEN, LIMIT, POST, "option (propmubi.options.v1.forgets_cookie) = 'name';"),
            [ASK],
            "no reply has a field name with a cookie",
        ),
    ],
)
def test_refused(
    compiled: Callable[..., FileDescriptor], rpcs: str, messages: list[str], because: str
) -> None:
    with pytest.raises(ContractError, match=r"propmubi\.refused") as refusal:
        load_contract(compiled(rpcs, REPLY, *messages))
    assert because in str(refusal.value)
