"""Between protobuf fields and Python values: enums by their wire names, times, optional fields, update masks."""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from functools import cache
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp


@cache
def names_of(enum: Any) -> Mapping[int, str]:
    """The wire names of an enum's values by number: lower case, without the prefix they share."""
    prefix = enum.values[0].name.removesuffix("UNSPECIFIED")
    return {value.number: value.name.removeprefix(prefix).lower() for value in enum.values}


@cache
def numbers_of(enum: Any) -> Mapping[str, int]:
    """The reverse of `names_of`."""
    return {name: number for number, name in names_of(enum).items()}


def timestamp(moment: datetime) -> Timestamp:
    """`moment`, which knows its time zone, as protobuf has it."""
    result = Timestamp()
    result.FromDatetime(moment)
    return result


def moment(value: Timestamp) -> datetime:
    """The reverse of `timestamp`."""
    return value.ToDatetime(tzinfo=UTC)


def value(message: Message, name: str) -> Any:
    """The named field of `message` as Python has it: None where an optional one is absent, an enum by its wire name,
    a list as a tuple; a message stays a message.
    """
    field: Any = message.DESCRIPTOR.fields_by_name[name]
    if field.has_presence and not message.HasField(name):
        return None
    given = getattr(message, name)
    if field.enum_type is not None:
        names = names_of(field.enum_type)
        return tuple(names[item] for item in given) if field.is_repeated else names[given]
    return tuple(given) if field.is_repeated else given


def values(message: Message, *fields: str) -> dict[str, Any]:
    """The named fields of `message`, each as `value` gives it."""
    return {name: value(message, name) for name in fields}


def masked(message: Message, mask: FieldMask) -> dict[str, Any]:
    """The fields of `message` that `mask` names, as `values` gives them."""
    return values(message, *mask.paths)


def fill(message: Message, source: Any, *fields: str, **special: Any) -> None:
    """Set the named fields of `message` from the attributes of `source`, and those of `special` as they are given.

    None leaves a field absent. Enums are given by wire name, times as datetime, dates and ids as they come.
    """
    by_name = message.DESCRIPTOR.fields_by_name
    for name in fields:
        _write(message, by_name[name], getattr(source, name))
    for name, value in special.items():
        _write(message, by_name[name], value)


def _write(message: Message, field: Any, value: Any) -> None:
    if value is None:
        return
    if field.is_repeated:
        getattr(message, field.name).extend(value)
    elif field.message_type is not None:
        getattr(message, field.name).CopyFrom(
            timestamp(value) if isinstance(value, datetime) else value
        )
    elif field.enum_type is not None:
        setattr(message, field.name, numbers_of(field.enum_type)[value])
    elif field.type == FieldDescriptor.TYPE_STRING:
        setattr(message, field.name, value if isinstance(value, str) else _text(value))
    else:
        setattr(message, field.name, value)


def _text(value: Any) -> str:
    convert: Callable[[Any], str] = date.isoformat if isinstance(value, date) else str
    return convert(value)
