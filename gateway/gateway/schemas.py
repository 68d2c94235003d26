"""What a client may send, as pydantic validators built from the descriptors.

One resource message gives three shapes, by its field behaviour and `optional`:

- output: all fields; those without `optional` are always there.
- Input (the body of a POST or PUT): without OUTPUT_ONLY; REQUIRED fields must be there, none may be null.
- Patch (the body of a PATCH): without OUTPUT_ONLY and IMMUTABLE; nothing must be there, and null clears what may be
  absent. A message within is replaced whole, so it has its Input shape.

The rules of `chassis.rules` are applied to JSON (strict: no coercion but that of 3.0 to 3) and to the text of paths
and queries alike. What comes out of a validator is a dict that the protobuf message's constructor takes.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic_core import ErrorDetails, PydanticCustomError, SchemaValidator, core_schema
from pydantic_core.core_schema import CoreSchema

from chassis.errors import Violation
from chassis.rules import (
    INTEGERS,
    Check,
    enum_names,
    enum_of,
    field_rules,
    is_map,
    is_nested,
    items_check,
    message_of,
    value_check,
    value_field,
)


class Shape(Enum):
    """The three faces of a message."""

    OUTPUT = ""
    INPUT = "Input"
    PATCH = "Patch"


class Source(Enum):
    """Where a value comes from: JSON has types, paths and queries are text."""

    JSON = "json"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Member:
    """A field as it is in one shape of its message."""

    field: FieldDescriptor
    required: bool
    nullable: bool


def members(fields: Iterable[FieldDescriptor], shape: Shape) -> list[Member]:
    """The fields that are in a shape, and whether they must be there and may be null."""
    found = []
    for field in fields:
        rules = field_rules(field)
        if shape is Shape.OUTPUT:
            found.append(Member(field, not field.has_presence, nullable=False))
        elif shape is Shape.INPUT and not rules.output_only:
            found.append(Member(field, rules.required, nullable=False))
        elif shape is Shape.PATCH and not (rules.output_only or rules.immutable):
            found.append(
                Member(field, required=False, nullable=field.has_presence and not rules.required)
            )
    return found


def validator(fields: Iterable[FieldDescriptor], shape: Shape, source: Source) -> SchemaValidator:
    return SchemaValidator(object_schema(members(fields, shape), source))


def object_schema(given: list[Member], source: Source) -> CoreSchema:
    """An object of exactly these members, as a dict."""
    fields = {}
    for member in given:
        schema = field_schema(member.field, source)
        if member.nullable:
            schema = core_schema.nullable_schema(schema)
        fields[member.field.name] = core_schema.typed_dict_field(schema, required=member.required)
    schema = core_schema.typed_dict_schema(fields, extra_behavior="forbid", strict=True)
    for names in oneofs(member.field for member in given):
        schema = core_schema.no_info_after_validator_function(only_one(names), schema)
    return schema


def oneofs(fields: Iterable[FieldDescriptor]) -> list[frozenset[str]]:
    """The fields that exclude each other; protoc also makes a oneof of each `optional`, which is alone in its own."""
    groups: dict[str, set[str]] = {}
    for field in fields:
        if field.containing_oneof is not None:
            groups.setdefault(field.containing_oneof.full_name, set()).add(field.name)
    return [frozenset(names) for names in groups.values() if len(names) > 1]


def field_schema(field: FieldDescriptor, source: Source) -> CoreSchema:
    schema = checked(value_schema(field, source), value_check(field))
    if is_map(field):
        return checked(core_schema.dict_schema(TEXT, schema, strict=True), items_check(field))
    if not field.is_repeated:
        return schema
    least = 1 if field_rules(field).required else None
    return checked(
        core_schema.list_schema(schema, strict=True, min_length=least), items_check(field)
    )


def value_schema(field: FieldDescriptor, source: Source) -> CoreSchema:
    """The type of one value, without its rules."""
    value = value_field(field)
    if is_nested(field):
        return object_schema(members(message_of(value).fields, Shape.INPUT), source)
    if value.type == FieldDescriptor.TYPE_ENUM:
        numbers = {name: number for number, name in enum_names(enum_of(value)).items()}
        return core_schema.no_info_plain_validator_function(one_of(numbers))
    if value.type == FieldDescriptor.TYPE_MESSAGE:
        return core_schema.no_info_plain_validator_function(timestamp)
    kind = "integer" if value.type in INTEGERS else SCHEMAS[value.type]
    return (FROM_JSON if source is Source.JSON else FROM_TEXT)[kind]


def fault(message: str) -> PydanticCustomError:
    return PydanticCustomError("rule", "{message}", {"message": message})


def checked(schema: CoreSchema, check: Check | None) -> CoreSchema:
    if check is None:
        return schema

    def obey(value: Any) -> Any:
        if (message := check(value)) is not None:
            raise fault(message)
        return value

    return core_schema.no_info_after_validator_function(obey, schema)


def only_one(names: frozenset[str]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def check(value: dict[str, Any]) -> dict[str, Any]:
        if len(names & value.keys()) > 1:
            raise fault(f"may have only one of {', '.join(sorted(names))}")
        return value

    return check


def one_of(numbers: dict[str, int]) -> Callable[[object], int]:
    message = f"must be one of {', '.join(numbers)}"

    def number(value: object) -> int:
        if isinstance(value, str) and value in numbers:
            return numbers[value]
        raise fault(message)

    return number


TIME: Final = re.compile(
    r"((?:19|20|21)[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?(Z|[+-][0-9]{2}:[0-9]{2})"
)
WHOLE: Final = re.compile("-?(?:0|[1-9][0-9]{0,18})")
DECIMAL: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,18})(?:\.[0-9]{1,18})?")


def timestamp(value: object) -> Timestamp:
    """RFC 3339, upper-case, with an offset."""
    match = TIME.fullmatch(value) if isinstance(value, str) else None
    try:
        moment = datetime.fromisoformat(match[1] + match[3]) if match else None
    except ValueError:
        moment = None
    if match is None or moment is None:
        raise fault("must be a time with its offset, such as 2026-11-22T10:15:00Z")
    return Timestamp(seconds=int(moment.timestamp()), nanos=int((match[2] or "").ljust(9, "0")))


def integral(value: object) -> object:
    """JSON knows one kind of number: 3.0 is a whole number too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def whole(value: str) -> int:
    if not WHOLE.fullmatch(value):
        raise fault("must be a whole number")
    return int(value)


def decimal(value: str) -> float:
    if not DECIMAL.fullmatch(value):
        raise fault("must be a number, such as 2.5")
    return float(value)


def truth(value: str) -> bool:
    if value not in {"true", "false"}:
        raise fault("must be true or false")
    return value == "true"


TEXT: Final = core_schema.str_schema(strict=True)
SCHEMAS: Final = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BOOL: "boolean",
    FieldDescriptor.TYPE_DOUBLE: "number",
}
FROM_JSON: Final[dict[str, CoreSchema]] = {
    "string": TEXT,
    "boolean": core_schema.bool_schema(strict=True),
    "number": core_schema.float_schema(strict=True, allow_inf_nan=False),
    "integer": core_schema.no_info_before_validator_function(
        integral, core_schema.int_schema(strict=True)
    ),
}
FROM_TEXT: Final[dict[str, CoreSchema]] = {
    "string": TEXT,
    "boolean": core_schema.no_info_after_validator_function(truth, TEXT),
    "number": core_schema.no_info_after_validator_function(decimal, TEXT),
    "integer": core_schema.no_info_after_validator_function(whole, TEXT),
}

MESSAGES: Final = {
    "missing": "is required",
    "too_short": "is required",  # Only a REQUIRED list has a least length here; its rules speak for themselves.
    "extra_forbidden": "is not accepted here: leave it out",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "list_type": "must be an array",
    "dict_type": "must be an object",
}


def violations(errors: Iterable[ErrorDetails], place: str) -> list[Violation]:
    """What pydantic found, in words for a web developer; `place` names what was validated, for faults of no field."""
    found = []
    for error in errors:
        name = "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]
        )
        message = MESSAGES.get(error["type"], error["msg"])
        if error["type"] == "json_invalid":
            name, message = "", "must be JSON: " + error["msg"].removeprefix("Invalid JSON: ")
        found.append(Violation(name.removeprefix(".") or place, message))
    return found
