"""One operation of the contract, and where each field of its request travels."""

from dataclasses import dataclass
from typing import Final, Literal

from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

from chassis.rules import is_nested, message_of
from propmubi.options.v1.options_pb2 import CachePolicy, Caller, Download, RateLimit, Upload

EMPTY: Final = "google.protobuf.Empty"
HttpMethod = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
# Fields of requests that are no input of their own: the keys of a PATCH make the one, If-Match the other.
UPLOADED: Final = frozenset({"upload_id", "number", "content", "last", "content_type"})
# What the gateway itself says to have all pages of a list.
PAGING: Final = frozenset({"page_size", "page_token"})
CARRIED_OTHERWISE: Final = frozenset({"update_mask", "expected_version"})


class ContractError(Exception):
    """The contract can't be served; the message names the RPC or field and says what to change."""


@dataclass(frozen=True, slots=True)
class Operation:
    """An RPC that is served over HTTP."""

    rpc: str  # The gRPC path, such as /propmubi.auth.v1.AuthService/RequestOtp.
    method: MethodDescriptor
    service: str  # auth, agents, crm or projects.
    http_method: HttpMethod
    path: str  # Such as /v1/listings/{listing_id}.
    path_parameters: tuple[str, ...]
    # The request's field that is the body, "*" for all of it, None for no body, and for a file.
    body: str | None
    input: type[Message]
    output: type[Message]
    callers: frozenset[Caller.ValueType]
    rate_limit: RateLimit.ValueType
    cache: CachePolicy | None
    success_status: int
    upload: Upload | None
    download: Download | None
    batch: MethodDescriptor | None  # The RPC that answers many of these at once.
    location: str  # Of what a 201 created: a path with the reply's fields in braces.
    read_only: bool  # Declared NO_SIDE_EFFECTS.
    forgets_cookie: str  # The field whose cookie success ends.
    operation_id: str
    tag: str
    summary: str
    description: str


def is_versioned(operation: Operation) -> bool:
    """Whether its answer tells its version, which If-Match may demand."""
    return "version" in operation.method.output_type.fields_by_name


def is_tagged(operation: Operation) -> bool:
    """Whether its answer has an ETag: by its version, or where a GET shows one thing that has none by its bytes."""
    single = "next_page_token" not in operation.method.output_type.fields_by_name
    return is_versioned(operation) or (
        operation.http_method == "GET" and single and operation.download is None
    )


def asked_fields(operation: Operation) -> list[FieldDescriptor]:
    """The request's fields that travel in the query: those that neither path, body nor header carries."""
    if operation.body == "*" or operation.upload is not None:
        return []
    elsewhere = {*operation.path_parameters, operation.body, *CARRIED_OTHERWISE}
    if operation.download is not None:
        elsewhere |= PAGING
    return [field for field in operation.method.input_type.fields if field.name not in elsewhere]


def parameters_of(field: FieldDescriptor) -> list[FieldDescriptor]:
    """The parameters of a query that a field is: of a message, its own fields."""
    return list(message_of(field).fields) if is_nested(field) else [field]


def query_fields(operation: Operation) -> list[FieldDescriptor]:
    """The parameters of the query."""
    return [each for field in asked_fields(operation) for each in parameters_of(field)]


def unnamed_fields(operation: Operation) -> list[str]:
    """The messages whose names no client says: their fields stand by themselves, in the body or in the query."""
    asked = [field.name for field in asked_fields(operation) if is_nested(field)]
    if operation.body is None or operation.body == "*":
        return asked
    return [operation.body, *asked]


def body_fields(operation: Operation) -> list[FieldDescriptor]:
    """The fields of the JSON object that is the body."""
    request = operation.method.input_type
    if operation.body is None:
        return []
    if operation.body == "*":
        elsewhere = {*operation.path_parameters, *CARRIED_OTHERWISE}
        return [field for field in request.fields if field.name not in elsewhere]
    return list(message_of(request.fields_by_name[operation.body]).fields)
