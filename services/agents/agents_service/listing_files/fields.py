"""Fields of listings as rows have them, held to the contract's rules and read straight into the columns that they set.

The rules are those of `chassis.constraints`. Messages are left out, because making, checking and reading one costs five
times as much as all the rest of a row; a test sees that both ways agree.
"""

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from agents_service.listings.messages import INPUT, columns_of
from chassis.constraints import REQUIRED
from chassis.errors import Violation
from chassis.protobuf import numbers_of
from chassis.rules import INTEGERS, field_rules, items_check, value_check
from propmubi.agents.v1 import listings_pb2 as pb

# What a listing closes with.
CLOSING: Final = ("close_price", "close_date")

Reader = Callable[[Any, str, list[Violation]], Any]
"""Gives a value of JSON as Python has it, or adds what is wrong with it, found at the place that the text names."""


def read(given: Mapping[str, Any], found: list[Violation]) -> dict[str, Any]:
    """The columns that the fields `given` set, null clearing them; adds to `found` what is wrong. Raises
    InvalidArgument for what is wrong with fields that are sound each.
    """
    fields = _fields(given, _READERS, _REQUIRED, "", found)
    if found:
        return {}
    cleared = {name: () if name in _LISTS else None for name in given.keys() - fields.keys()}
    return columns_of(fields | cleared)


def read_closing(given: Mapping[str, Any], found: list[Violation]) -> dict[str, Any]:
    """At what price and on which day a listing closed, None for what is not given; adds to `found` what is wrong."""
    closing = _fields(given, _CLOSING, (), "", found)
    if found:
        return {}
    day = closing.get("close_date")
    return {
        "close_price": closing.get("close_price"),
        "close_date": day and date.fromisoformat(day),
    }


def _fields(
    given: Mapping[str, Any],
    readers: Mapping[str, Reader],
    required: tuple[str, ...],
    before: str,
    found: list[Violation],
) -> dict[str, Any]:
    fields = {}
    for name, value in given.items():
        reader = readers.get(name)
        if reader is None:
            found.append(Violation(before + name, "is no field of it"))
        elif value is not None:
            fields[name] = reader(value, before + name, found)
    found += [Violation(before + name, REQUIRED) for name in required if name not in fields]
    return fields


def _reader(field: FieldDescriptor) -> Reader:
    if field.enum_type is not None:
        one = _enum(field)
    elif field.message_type is not None:
        one = _message(field.message_type)
    elif field.type == FieldDescriptor.TYPE_STRING:
        one = _text(field)
    else:
        one = _number(field)
    return _list(field, one) if field.is_repeated else one


def _enum(field: FieldDescriptor) -> Reader:
    names = [name for name, number in numbers_of(field.enum_type).items() if number]
    known, fault = frozenset(names), f"must be one of: {', '.join(names)}"

    def enum(value: Any, where: str, found: list[Violation]) -> Any:
        if not (isinstance(value, str) and value in known):
            found.append(Violation(where, fault))
        return value

    return enum


def _message(message: Descriptor) -> Reader:
    readers, required = _readers_of(message, tuple(message.fields_by_name))

    def nested(value: Any, where: str, found: list[Violation]) -> Any:
        if not isinstance(value, dict):
            found.append(Violation(where, "must be an object"))
            return None
        return _fields(value, readers, required, f"{where}.", found)

    return nested


def _text(field: FieldDescriptor) -> Reader:
    check = value_check(field)

    def text(value: Any, where: str, found: list[Violation]) -> Any:
        if not isinstance(value, str):
            found.append(Violation(where, "must be text"))
        elif check is not None and (fault := check(value)) is not None:
            found.append(Violation(where, fault))
        return value

    return text


def _number(field: FieldDescriptor) -> Reader:
    check, range_ = value_check(field), INTEGERS.get(field.type)

    def number(value: Any, where: str, found: list[Violation]) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float):
            found.append(Violation(where, "must be a number"))
            return None
        if range_ is None:
            value = float(value)
        elif value != int(value) or not range_[0] <= value <= range_[1]:
            found.append(Violation(where, "must be a whole number, and not so large"))
            return None
        else:
            value = int(value)
        if check is not None and (fault := check(value)) is not None:
            found.append(Violation(where, fault))
        return value

    return number


def _list(field: FieldDescriptor, one: Reader) -> Reader:
    check = items_check(field)

    def several(value: Any, where: str, found: list[Violation]) -> Any:
        if not isinstance(value, list):
            found.append(Violation(where, "must be a list"))
            return ()
        before = len(found)
        items = [one(item, f"{where}[{place}]", found) for place, item in enumerate(value)]
        # Items that are no values can't be told from each other.
        if check is not None and len(found) == before and (fault := check(items)) is not None:
            found.append(Violation(where, fault))
        return items

    return several


def _readers_of(
    message: Descriptor, names: tuple[str, ...]
) -> tuple[dict[str, Reader], tuple[str, ...]]:
    """How the named fields of a message are read, and which of them it must have."""
    fields = [message.fields_by_name[name] for name in names]
    required = tuple(field.name for field in fields if field_rules(field).required)
    return {field.name: _reader(field) for field in fields}, required


_READERS, _REQUIRED = _readers_of(pb.Listing.DESCRIPTOR, INPUT)
_LISTS: Final = frozenset(
    name for name in INPUT if pb.Listing.DESCRIPTOR.fields_by_name[name].is_repeated
)
_CLOSING, _ = _readers_of(pb.SetListingStatusRequest.DESCRIPTOR, CLOSING)
