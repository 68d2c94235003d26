"""What a request must satisfy: the field options of the contract, checked the same way at the edge and over gRPC.

`validate(message)` is for gRPC callers; the gateway builds its JSON models from the same checks. The semantics:

- REQUIRED: present; a string is not empty, an enum not UNSPECIFIED, a list has an item. A number without `optional`
  can't be told from zero, so that over gRPC only its rules speak.
- Rules hold for values that are there; for a list they hold for each item, and for a map for each value.
- OUTPUT_ONLY fields are ignored (AIP-203): a caller may send back the resource it read. The edge refuses them as it
  refuses every unknown field.
- A request with an `update_mask` is checked on the masked fields of its resource alone; a masked field that is not
  set is cleared, which a REQUIRED one can't be.
"""

from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import Any, Final, TypeAlias, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from chassis.errors import Violation
from chassis.rules import (
    RuleError,
    field_rules,
    is_map,
    is_nested,
    items_check,
    message_of,
    value_check,
    value_field,
)

ValueCheck: TypeAlias = Callable[[Any, str, list[Violation]], None]
"""Adds what is wrong with one value, found at the place that the text names."""
FieldCheck: TypeAlias = Callable[[Message, str, list[Violation]], None]
"""Adds what is wrong with one field of a message; the text goes before the field's name."""

FIELD_MASK: Final = "google.protobuf.FieldMask"
REQUIRED: Final = "is required"

_compiled: dict[type[Message], tuple[FieldCheck, ...]] = {}


def validate(message: Message) -> list[Violation]:
    """Everything that is wrong with a request that came over gRPC."""
    checks = _compiled.get(type(message))
    if checks is None:
        checks = _compiled.setdefault(
            type(message), request_checks(cast("Descriptor", message.DESCRIPTOR))
        )
    found: list[Violation] = []
    for check in checks:
        check(message, "", found)
    return found


def resource_of(request: Descriptor) -> FieldDescriptor | None:
    """The resource that an update request changes under its mask, if it has a mask."""
    mask = request.fields_by_name.get("update_mask")
    if mask is None or mask.message_type is None or mask.message_type.full_name != FIELD_MASK:
        return None
    resources = [
        field
        for field in request.fields
        if field.message_type is not None
        and field is not mask
        and not field.is_repeated
        and field_rules(field).required
    ]
    if len(resources) != 1:
        raise RuleError(
            f"{request.full_name}: a request with an update_mask has one REQUIRED message, its resource"
        )
    return resources[0]


def request_checks(request: Descriptor) -> tuple[FieldCheck, ...]:
    resource = resource_of(request)
    checks = [
        _masked_check(field) if field is resource else _field_check(field)
        for field in request.fields
        if field.message_type is None or field.message_type.full_name != FIELD_MASK
    ]
    return tuple(check for check in checks if check is not None)


@cache
def _message_checks(message: Descriptor) -> tuple[FieldCheck, ...]:
    return tuple(check for field in message.fields if (check := _field_check(field)) is not None)


def _masked_check(resource: FieldDescriptor) -> FieldCheck:
    changeable = [
        field
        for field in message_of(resource).fields
        if not (field_rules(field).output_only or field_rules(field).immutable)
    ]
    checks = {field.name: _field_check(field) for field in changeable}
    get, where = attrgetter(resource.name), f"{resource.name}."

    def check(message: Message, prefix: str, found: list[Violation]) -> None:
        paths = message.update_mask.paths  # type: ignore[attr-defined]  # An Update has one.
        if not paths:
            found.append(Violation("update_mask", "must name the fields to change"))
        for path in paths:
            if path not in checks:
                found.append(Violation("update_mask", f"names {path}, which can't be changed"))
            elif (field_check := checks[path]) is not None:
                field_check(get(message), prefix + where, found)

    return check


def _field_check(field: FieldDescriptor) -> FieldCheck | None:
    rules = field_rules(field)
    if rules.output_only:
        return None
    if field.is_repeated:
        return _repeated_check(field)
    value = _submessage_check(field) if is_nested(field) else _scalar_check(field)
    if field.has_presence:
        return _present_check(field.name, value, required=rules.required)
    absent_is_zero = field.type in {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_ENUM}
    return _implicit_check(
        field.name, value, required=rules.required, absent_is_zero=absent_is_zero
    )


def _scalar_check(field: FieldDescriptor) -> ValueCheck:
    check = value_check(field)

    def scalar(value: Any, where: str, found: list[Violation]) -> None:
        if check is not None and (fault := check(value)) is not None:
            found.append(Violation(where, fault))

    return scalar


def _submessage_check(field: FieldDescriptor) -> ValueCheck:
    value_check(field)  # For what it refuses.
    descriptor = message_of(value_field(field))

    def submessage(value: Any, where: str, found: list[Violation]) -> None:
        # Looked up when it runs, because a message may contain itself.
        for check in _message_checks(descriptor):
            check(value, f"{where}.", found)

    return submessage


def _present_check(name: str, value: ValueCheck, *, required: bool) -> FieldCheck:
    get = attrgetter(name)

    def check(message: Message, prefix: str, found: list[Violation]) -> None:
        if message.HasField(name):
            value(get(message), prefix + name, found)
        elif required:
            found.append(Violation(prefix + name, REQUIRED))

    return check


def _implicit_check(
    name: str,
    value: ValueCheck,
    *,
    required: bool,
    absent_is_zero: bool,
) -> FieldCheck:
    get = attrgetter(name)

    def check(message: Message, prefix: str, found: list[Violation]) -> None:
        if (given := get(message)) or (required and not absent_is_zero):
            value(given, prefix + name, found)
        elif required:
            found.append(Violation(prefix + name, REQUIRED))

    return check


def _repeated_check(field: FieldDescriptor) -> FieldCheck:
    name, get, required, mapped = (
        field.name,
        attrgetter(field.name),
        field_rules(field).required,
        is_map(field),
    )
    items = items_check(field)
    value = _submessage_check(field) if is_nested(field) else _scalar_check(field)

    def check(message: Message, prefix: str, found: list[Violation]) -> None:
        values = get(message)
        if not values:
            if required:
                found.append(Violation(prefix + name, REQUIRED))
            return
        if items is not None and (fault := items(values)):
            found.append(Violation(prefix + name, fault))
        for key, item in values.items() if mapped else enumerate(values):
            value(item, f"{prefix}{name}[{key}]", found)

    return check
