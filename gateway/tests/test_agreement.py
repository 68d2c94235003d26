"""The edge, the checks for gRPC callers and json_format, asked the same questions about messages drawn at random.

What crosses the edge satisfies the service, and what the service would refuse never crosses; what the encoders
write is what `json_format` writes, but for our conventions.
"""

import math
import re
from collections.abc import Callable, Iterable
from datetime import date, datetime
from typing import Any, cast
from urllib.parse import urlencode

import orjson
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chassis.constraints import validate
from chassis.errors import InvalidArgument, NotFound
from chassis.rules import (
    EARLIEST,
    FORMATS,
    INTEGERS,
    LATEST,
    UNSEEN,
    enum_names,
    enum_of,
    field_rules,
    is_map,
    is_nested,
    message_of,
    value_field,
)
from gateway.binding import Binder
from gateway.codec import encoder, to_dict
from gateway.contract import load_contract
from gateway.operation import Operation, asked_fields, body_fields, parameters_of
from gateway.schemas import Shape, members
from propmubi.options.v1.options_pb2 import Format

# A file is neither JSON nor a query.
OPERATIONS = [
    operation
    for operation in load_contract().operations
    if operation.upload is None and operation.download is None
]
few = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
TEXT = st.text(st.characters(codec="utf-8"), max_size=6)
UNSEEN_CHARACTERS = "".join(re.findall(f"[{UNSEEN}]", "".join(map(chr, range(0x2100)))))


class Draw:
    """Strategies for the fields of messages: `honest` values that obey the rules, or whatever the types allow."""

    def __init__(
        self, fields: Callable[[Descriptor], list[FieldDescriptor]], *, honest: bool
    ) -> None:
        self.fields, self.honest = fields, honest

    def message(self, chosen: Iterable[FieldDescriptor]) -> st.SearchStrategy[dict[str, Any]]:
        """Constructor arguments of a message."""
        always: dict[str, st.SearchStrategy[Any]] = {}
        sometimes: dict[str, st.SearchStrategy[Any]] = {}
        for field in chosen:
            (always if self.honest and field_rules(field).required else sometimes)[field.name] = (
                self.field(field)
            )
        return st.fixed_dictionaries(always, optional=sometimes)

    def field(self, field: FieldDescriptor) -> st.SearchStrategy[Any]:
        rules, one = field_rules(field), self.value(field)
        if is_map(field):
            return st.dictionaries(
                TEXT.filter(lambda key: set(key).isdisjoint(UNSEEN_CHARACTERS)), one, max_size=2
            )
        if not field.is_repeated:
            return one
        unique = self.honest and rules.rules.unique_items
        least = 1 if self.honest and rules.required else 0
        return st.lists(one, min_size=least, max_size=3, unique=bool(unique))

    def value(self, field: FieldDescriptor) -> st.SearchStrategy[Any]:
        value = value_field(field)
        if is_nested(field):
            return self.message(self.fields(message_of(value)))
        if value.type == FieldDescriptor.TYPE_MESSAGE:
            seconds = st.integers(EARLIEST, LATEST)
            if not self.honest:
                seconds |= st.sampled_from([EARLIEST - 1, LATEST + 1, 0])
            return st.fixed_dictionaries(
                {"seconds": seconds, "nanos": st.integers(0, 999_999).map(lambda us: us * 1000)}
            )
        if value.type == FieldDescriptor.TYPE_ENUM:
            return st.sampled_from(list(enum_names(enum_of(value))))
        if value.type == FieldDescriptor.TYPE_BOOL:
            return st.booleans()
        return self.text(field) if value.type == FieldDescriptor.TYPE_STRING else self.number(field)

    def text(self, field: FieldDescriptor) -> st.SearchStrategy[str]:
        rules = field_rules(field).rules
        if not self.honest:
            loose = st.from_regex(rules.pattern or FORMATS.get(rules.format, ("", ""))[0])
            return (
                TEXT
                | loose
                | st.just("x" * (rules.max_length + 1))
                | st.sampled_from(["a\0b", "a\u202eb"])
            )
        if rules.format == Format.FORMAT_DATE:
            return st.dates(date(1900, 1, 1), date(2199, 12, 31)).map(date.isoformat)
        if rules.pattern or rules.format:
            pattern = rules.pattern or FORMATS[rules.format][0]
            fitting = st.from_regex(f"^(?:{pattern})$", fullmatch=True).filter(
                lambda text: not text.endswith("\n")
            )
            return fitting.filter(
                lambda text: set(text).isdisjoint(UNSEEN_CHARACTERS)
                and len(text) <= (rules.max_length or len(text))
            )
        least, most = rules.min_length or 1, min(rules.max_length or 40, 200)
        return st.text(
            st.characters(codec="utf-8", exclude_characters=UNSEEN_CHARACTERS),
            min_size=least,
            max_size=max(least, most),
        )

    def number(self, field: FieldDescriptor) -> st.SearchStrategy[float]:
        rules, type_ = field_rules(field).rules, value_field(field).type
        widest = (-1e15, 1e15) if type_ == FieldDescriptor.TYPE_DOUBLE else INTEGERS[type_]
        low = rules.minimum if rules.HasField("minimum") else widest[0]
        high = rules.maximum if rules.HasField("maximum") else widest[1]
        step = rules.multiple_of or (1 if type_ in INTEGERS else 0)
        if self.honest and not step:
            return st.floats(low, high, allow_subnormal=False).map(lambda number: round(number, 6))
        steps = st.integers(math.ceil(low / (step or 1)), math.floor(high / (step or 1)))
        near = steps | st.sampled_from(
            [math.ceil(low / (step or 1)), math.floor(high / (step or 1))]
        )
        fitting = near.map(lambda count: count * (step or 1)).map(
            int if type_ in INTEGERS else float
        )
        if self.honest:
            return fitting
        if type_ not in INTEGERS:
            return st.sampled_from([low - 1, high + 1]) | st.floats(
                allow_nan=False, allow_infinity=False
            )
        fits = (-(2**63), 2**63 - 1) if type_ == FieldDescriptor.TYPE_INT64 else INTEGERS[type_]
        return st.sampled_from(
            [0, *(int(n) for n in (low - 1, high + 1) if fits[0] <= n <= fits[1])]
        )


def nearly(chosen: list[FieldDescriptor]) -> st.SearchStrategy[dict[str, Any]]:
    """Requests that obey every rule, and such that break one."""
    honest, careless = Draw(sent, honest=True), Draw(sent, honest=False)
    whole = honest.message(chosen)
    if not chosen:
        return whole
    spoilt = st.sampled_from(chosen).flatmap(
        lambda field: st.fixed_dictionaries({field.name: careless.field(field)})
    )
    lacking = st.sampled_from([field.name for field in chosen])
    return (
        whole
        | st.builds(lambda good, bad: good | bad, whole, spoilt)
        | st.builds(
            lambda good, name: {key: good[key] for key in good if key != name}, whole, lacking
        )
    )


def sent(message: Descriptor) -> list[FieldDescriptor]:
    return [member.field for member in members(message.fields, Shape.INPUT)]


def exclusive(operation: Operation, drawn: dict[str, Any]) -> dict[str, Any]:
    """The drawn arguments with one field of each oneof."""
    taken: dict[str, str] = {}
    for name in drawn:
        oneof = operation.method.input_type.fields_by_name[name].containing_oneof
        taken[oneof.full_name if oneof else name] = name
    return {name: drawn[name] for name in taken.values()}


def over_http(operation: Operation, request: Message) -> Message | None:
    """What the edge makes of the request when it comes by HTTP; None when it refuses it."""
    content, mask = to_dict(operation.method.input_type)(request), []
    asked = {}
    for message in asked_fields(operation):
        for field in parameters_of(message):
            holder = content if field is message else content.get(message.name, {})
            given = holder.get(field.name)
            if given not in (None, []):
                asked[field.name] = (
                    [plain(item) for item in given] if field.is_repeated else plain(given)
                )
    if operation.body == "*":
        body = {
            field.name: content[field.name]
            for field in body_fields(operation)
            if field.name in content
        }
    elif operation.http_method == "PATCH":
        mask = list(request.update_mask.paths)  # type: ignore[attr-defined]
        empty: dict[str, object] = {
            field.name: ({} if is_map(field) else [])
            for field in body_fields(operation)
            if field.is_repeated
        }
        body = {
            name: content.get(operation.body or "", {}).get(name, empty.get(name)) for name in mask
        }
    else:
        allowed = (
            {
                field.name
                for field in sent(
                    message_of(operation.method.input_type.fields_by_name[operation.body or ""])
                )
            }
            if operation.body
            else set()
        )
        body = {
            name: value
            for name, value in content.get(operation.body or "", {}).items()
            if name in allowed
        }
    raw = orjson.dumps(stripped(body, operation), option=orjson.OPT_UTC_Z)
    path = {name: getattr(request, name) for name in operation.path_parameters}
    try:
        return Binder(operation).bind(
            path, urlencode(asked, doseq=True).encode(), raw, "application/json", None
        )
    except (InvalidArgument, NotFound):
        return None


def stripped(body: dict[str, Any], operation: Operation) -> dict[str, Any]:
    """Without what the encoders write and only the server may set, within messages."""

    def without(value: Any, message: Descriptor) -> Any:
        allowed = {field.name: field for field in sent(message)}
        return {name: inner(value[name], allowed[name]) for name in value if name in allowed}

    def inner(value: Any, field: FieldDescriptor) -> Any:
        if not is_nested(field) or value is None:
            return value
        message = message_of(value_field(field))
        if is_map(field):
            return {key: without(item, message) for key, item in value.items()}
        return (
            [without(item, message) for item in value]
            if field.is_repeated
            else without(value, message)
        )

    fields = {field.name: field for field in body_fields(operation)}
    return {name: inner(value, fields[name]) for name, value in body.items()}


def plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float):
        return format(value, "f").rstrip("0").rstrip(".")
    return str(value)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.operation_id)
def test_the_edge_and_the_service_take_the_same_requests(operation: Operation) -> None:
    request = operation.method.input_type
    chosen = [
        field for field in sent(request) if field.name not in {"update_mask", "expected_version"}
    ]
    masks: st.SearchStrategy[list[str]] = st.just([])
    if operation.http_method == "PATCH":
        resource = message_of(request.fields_by_name[operation.body or ""])
        masks = st.lists(
            st.sampled_from(
                [member.field.name for member in members(resource.fields, Shape.PATCH)]
            ),
            unique=True,
        )

    @few
    @given(nearly(chosen), masks)
    def agree(drawn: dict[str, Any], mask: list[str]) -> None:
        message = operation.input(**exclusive(operation, drawn))
        if operation.http_method == "PATCH":
            message.update_mask.CopyFrom(FieldMask(paths=mask))  # type: ignore[attr-defined]
        bound = over_http(operation, message)
        assert (bound is not None) == (validate(message) == []), validate(message)
        if bound is not None:
            assert validate(bound) == []

    agree()


def normal(value: Any, field: FieldDescriptor) -> Any:
    """A value as json_format writes it, in our conventions; None for an enum value that we leave out."""
    target = value_field(field)
    if is_nested(field):
        return normalised(value, message_of(target))
    if target.type == FieldDescriptor.TYPE_ENUM:
        names = {v.name: enum_names(enum_of(target)).get(v.number) for v in enum_of(target).values}
        return names.get(value)
    if target.type == FieldDescriptor.TYPE_INT64:
        return int(value)
    return datetime.fromisoformat(value) if target.type == FieldDescriptor.TYPE_MESSAGE else value


def normalised(content: dict[str, Any], message: Descriptor) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in content.items():
        field = message.fields_by_name[name]
        if is_map(field):
            found[name] = {
                key: kept
                for key, item in value.items()
                if (kept := normal(item, field)) is not None
            }
        elif field.is_repeated:
            found[name] = [kept for item in value if (kept := normal(item, field)) is not None]
        elif (kept := normal(value, field)) is not None:
            found[name] = kept
    return found


def read(content: Any, message: Descriptor) -> Any:
    """Our JSON with its times parsed, as there is more than one way to write a fraction."""
    for name, value in content.items():
        field = message.fields_by_name[name]
        if is_nested(field):
            inner = value.values() if is_map(field) else value if field.is_repeated else [value]
            for item in inner:
                read(item, message_of(value_field(field)))
        elif value_field(field).type == FieldDescriptor.TYPE_MESSAGE:
            assert isinstance(value, list) or value.endswith("Z")
            content[name] = (
                [datetime.fromisoformat(v) for v in value]
                if field.is_repeated
                else datetime.fromisoformat(value)
            )
    return content


REPLIES = {operation.output.DESCRIPTOR.full_name: operation.output for operation in OPERATIONS}


@pytest.mark.parametrize("class_", [REPLIES[name] for name in sorted(REPLIES)], ids=sorted(REPLIES))
def test_the_encoders_write_what_json_format_writes(class_: type[Message]) -> None:
    message = cast("Descriptor", class_.DESCRIPTOR)
    encode, draw = encoder(message), Draw(lambda inner: list(inner.fields), honest=False)

    @few
    @given(draw.message(message.fields))
    def same(drawn: dict[str, Any]) -> None:
        reply = class_(**drawn)
        expected = json_format.MessageToDict(
            reply, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        assert read(orjson.loads(encode(reply)), message) == normalised(expected, message)

    same()
