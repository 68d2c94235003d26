"""The rules that the contract's field options state, and the check of one value that follows from them.

The one place that knows what a rule means: `chassis.constraints` checks messages with it, the gateway JSON, and
OpenAPI is written from it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from typing import Any, Final, TypeAlias

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from propmubi.options.v1 import options_pb2
from propmubi.options.v1.options_pb2 import Cookie, Format, Rules

Check: TypeAlias = Callable[[Any], str | None]
"""Says what is wrong with one value, or None."""

TIMESTAMP: Final = "google.protobuf.Timestamp"
YEARS: Final = (1900, 2199)
EARLIEST: Final = int(datetime(YEARS[0], 1, 1, tzinfo=UTC).timestamp())
LATEST: Final = int(datetime(YEARS[1] + 1, 1, 1, tzinfo=UTC).timestamp()) - 1
SAFE_INTEGER: Final = 2**53 - 1  # The largest that a JavaScript number holds exactly.
INTEGERS: Final[Mapping[int, tuple[int, int]]] = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_INT64: (-SAFE_INTEGER, SAFE_INTEGER),
}
SCALARS: Final = frozenset(
    {*INTEGERS, FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_BOOL, FieldDescriptor.TYPE_STRING}
)
# What nobody writes and no screen shows: control characters but for the ends of lines and tabs, and what turns around
# the text behind it, so that a name reads as another. U+0000 among them is one that PostgreSQL does not store.
UNSEEN: Final = "\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069"
_unseen = re.compile(f"[{UNSEEN}]").search
HOST = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
FORMATS: Final[Mapping[int, tuple[str, str]]] = {
    Format.FORMAT_UUID: ("[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", "must be a UUID"),
    Format.FORMAT_PHONE: (
        r"\+[1-9][0-9]{6,14}|[6-9][0-9]{9}",
        "must be a phone number: E.164, such as +919876543210, or a bare 10-digit Indian mobile number",
    ),
    Format.FORMAT_EMAIL: (
        rf"[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{HOST}(?:\.{HOST})+",
        "must be an e-mail address, such as asha@example.in",
    ),
    Format.FORMAT_URL: (
        rf"https?://(?:{HOST}(?:\.{HOST})*|\[[0-9a-fA-F:.]+\])(?::[0-9]{{1,5}})?(?:[/?#][^\s]*)?",
        "must be an absolute http or https URL",
    ),
    Format.FORMAT_DATE: (
        "(?:19|20|21)[0-9]{2}-[0-9]{2}-[0-9]{2}",
        f"must be a date, such as 2026-11-22, between the years {YEARS[0]} and {YEARS[1]}",
    ),
}


class RuleError(Exception):
    """A field's options contradict each other or its type."""


@dataclass(frozen=True, slots=True)
class FieldRules:
    """What the contract says of a field."""

    required: bool
    output_only: bool
    immutable: bool
    sensitive: bool
    rules: Rules
    example: str
    cookie: Cookie | None


def is_blank(text: str) -> bool:
    """Whether a name says nothing: spaces, marks and what no screen shows."""
    return not any(map(str.isalnum, text))


@cache
def field_rules(field: FieldDescriptor) -> FieldRules:
    options = field.GetOptions()
    behavior = set(options.Extensions[field_behavior_pb2.field_behavior])
    return FieldRules(
        required=field_behavior_pb2.REQUIRED in behavior,
        output_only=field_behavior_pb2.OUTPUT_ONLY in behavior,
        immutable=field_behavior_pb2.IMMUTABLE in behavior,
        sensitive=options.Extensions[options_pb2.sensitive],
        rules=options.Extensions[options_pb2.rules],
        example=options.Extensions[options_pb2.example],
        cookie=(
            options.Extensions[options_pb2.cookie]
            if options.HasExtension(options_pb2.cookie)
            else None
        ),
    )


@cache
def enum_names(enum: EnumDescriptor) -> Mapping[int, str]:
    """The names of an enum's values in JSON, by number; UNSPECIFIED has none."""
    prefix = (
        re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", enum.name).upper() + "_"
    )
    for value in enum.values:
        if not value.name.startswith(prefix) or (value.number == 0) != (
            value.name == f"{prefix}UNSPECIFIED"
        ):
            raise RuleError(
                f"{enum.full_name}.{value.name}: values begin with {prefix}, 0 is {prefix}UNSPECIFIED"
            )
    return {
        value.number: value.name.removeprefix(prefix).lower()
        for value in enum.values
        if value.number
    }


def is_map(field: FieldDescriptor) -> bool:
    message = field.message_type
    return message is not None and bool(message.GetOptions().map_entry)


def value_field(field: FieldDescriptor) -> FieldDescriptor:
    """The field that gives the type of one value: a map's own values, else the field itself."""
    return message_of(field).fields_by_name["value"] if is_map(field) else field


def message_of(field: FieldDescriptor) -> Descriptor:
    assert field.message_type is not None
    return field.message_type


def enum_of(field: FieldDescriptor) -> EnumDescriptor:
    assert field.enum_type is not None
    return field.enum_type


def is_nested(field: FieldDescriptor) -> bool:
    """Whether the field's values are messages of ours, with fields and rules of their own."""
    message = value_field(field).message_type
    return message is not None and message.full_name != TIMESTAMP


@cache
def value_check(field: FieldDescriptor) -> Check | None:
    """What one value of a field (an item of a list, a value of a map) must satisfy; None when all of its type do."""
    rules, type_ = field_rules(field), value_field(field).type
    given = {descriptor.name for descriptor, _ in rules.rules.ListFields()} - {
        "min_items",
        "max_items",
        "unique_items",
    }
    allowed: set[str] = set()
    check: Check | None = None
    if type_ == FieldDescriptor.TYPE_STRING:
        allowed = {"min_length", "max_length", "pattern", "format"}
        try:
            check = _text_check(rules.rules, required=rules.required and not field.is_repeated)
        except re.error as error:
            raise RuleError(f"{field.full_name}: its pattern is none: {error}") from error
    elif type_ in INTEGERS or type_ == FieldDescriptor.TYPE_DOUBLE:
        allowed = {"minimum", "maximum", "multiple_of"}
        check = _number_check(rules.rules, *INTEGERS.get(type_, (None, None)))
    elif type_ == FieldDescriptor.TYPE_ENUM:
        check = _enum_check(enum_of(value_field(field)))
    elif (
        type_ == FieldDescriptor.TYPE_MESSAGE
        and message_of(value_field(field)).full_name == TIMESTAMP
    ):
        check = _timestamp_check
    if given - allowed:
        raise RuleError(
            f"{field.full_name}: {', '.join(sorted(given - allowed))} is no rule for its type"
        )
    return check


@cache
def items_check(field: FieldDescriptor) -> Check | None:
    """What a list or map as a whole must satisfy."""
    rules = field_rules(field).rules
    least, most, unique = (
        rules.min_items,
        rules.max_items if rules.HasField("max_items") else None,
        rules.unique_items,
    )
    if not field.is_repeated and (least or unique or most is not None):
        raise RuleError(f"{field.full_name}: rules on items are for lists and maps")
    if least and not field_rules(field).required:
        raise RuleError(
            f"{field.full_name}: min_items needs REQUIRED, because an empty list is an absent one"
        )
    if not least and not unique and most is None:
        return None

    def check(items: Any) -> str | None:
        if len(items) < least:
            return f"must have at least {_count(least, 'item')}"
        if most is not None and len(items) > most:
            return f"must have at most {_count(most, 'item')}"
        if unique and len(set(items)) != len(items):
            return "must not repeat an item"
        return None

    return check


def _text_check(rules: Rules, *, required: bool) -> Check:
    least, most = max(rules.min_length, 1 if required else 0), (
        rules.max_length if rules.HasField("max_length") else None
    )
    patterns: list[tuple[Callable[[str], Any], str]] = []
    if rules.pattern:
        patterns.append((re.compile(rules.pattern).fullmatch, f"must match {rules.pattern}"))
    if rules.format:
        pattern, message = FORMATS[rules.format]
        patterns.append((re.compile(pattern).fullmatch, message))
        if rules.format == Format.FORMAT_DATE:
            patterns.append((_is_date, message))

    def check(value: str) -> str | None:
        if len(value) < least:
            return "must not be empty" if least == 1 else f"must have at least {least} characters"
        if most is not None and len(value) > most:
            return f"must have at most {_count(most, 'character')}"
        for matches, message in patterns:
            if not matches(value):
                return message
        unseen = _unseen(value)
        return f"must not contain the character U+{ord(unseen[0]):04X}" if unseen else None

    return check


def _is_date(value: str) -> bool:
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


def _number_check(rules: Rules, least: float | None, most: float | None) -> Check:
    low = rules.minimum if rules.HasField("minimum") else least
    high = rules.maximum if rules.HasField("maximum") else most
    step = rules.multiple_of
    inf = float("inf")

    def check(value: float) -> str | None:
        if not -inf < value < inf:
            return "must be a finite number"
        if low is not None and value < low:
            return f"must be at least {number(low)}"
        if high is not None and value > high:
            return f"must be at most {number(high)}"
        if step and not (value / step).is_integer():
            return f"must be a multiple of {number(step)}"
        return None

    return check


def _enum_check(enum: EnumDescriptor) -> Check:
    names = enum_names(enum)
    message = f"must be one of {', '.join(names.values())}"
    return lambda value: None if value in names else message


def _timestamp_check(value: Any) -> str | None:
    if EARLIEST <= value.seconds <= LATEST and 0 <= value.nanos < 1_000_000_000:
        return None
    return f"must be a time between the years {YEARS[0]} and {YEARS[1]}"


def number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
