"""The messages of the contract as JSON Schema (draft 2020-12, as OpenAPI 3.1 has it): `schemas`' shapes, written down.

What a client may send carries every rule, so that a generated form or test knows them; what it receives carries
none, because a rule may be younger than the data.
"""

from collections.abc import Iterable
from itertools import combinations
from typing import Any, Final, TypeAlias

import orjson
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from chassis.rules import (
    FORMATS,
    INTEGERS,
    FieldRules,
    enum_names,
    enum_of,
    field_rules,
    is_map,
    is_nested,
    message_of,
    value_field,
)
from gateway.contract import comments
from gateway.schemas import TIME, Member, Shape, members, oneofs
from propmubi.options.v1.options_pb2 import Format

Json: TypeAlias = dict[str, Any]

NAMED_FORMATS: Final = {
    Format.FORMAT_UUID: "uuid",
    Format.FORMAT_EMAIL: "email",
    Format.FORMAT_URL: "uri",
    Format.FORMAT_DATE: "date",
}
TYPES: Final = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BOOL: "boolean",
    FieldDescriptor.TYPE_DOUBLE: "number",
}


class Components:
    """The named schemas of one document: messages in their shapes, and enums, under their own short names."""

    def __init__(self) -> None:
        self.schemas: Json = {}
        self._owners: dict[str, str] = {}

    def message(self, message: Descriptor, shape: Shape) -> Json:
        """A reference to a message in one of its shapes."""
        suffix = "" if message.name.endswith("Request") else shape.value
        return self._named(message, suffix) or self.object(message, message.fields, shape)

    def object(self, message: Descriptor, fields: Iterable[FieldDescriptor], shape: Shape) -> Json:
        """A reference to an object of some of a message's fields; for a request, those in its body."""
        suffix = "" if message.name.endswith("Request") else shape.value
        name = self._claim(message, suffix)
        given = members(fields, shape)
        schema: Json = {"type": "object"}
        if text := comments().get(message.full_name):
            schema["description"] = text
        schema["properties"] = {member.field.name: self.member(member, shape) for member in given}
        if required := [member.field.name for member in given if must_be_sent(member, shape)]:
            schema["required"] = required
        if shape is not Shape.OUTPUT:
            schema["additionalProperties"] = False
        if shape is Shape.PATCH:
            schema["minProperties"] = 1
        if alternatives := oneofs(member.field for member in given):
            pairs = [pair for names in alternatives for pair in combinations(sorted(names), 2)]
            schema["allOf"] = [{"not": {"required": list(pair)}} for pair in pairs]
        self.schemas[name] = schema
        return reference(name)

    def enum(self, enum: EnumDescriptor) -> Json:
        """A reference to an enum, whose description says what each value means."""
        if (known := self._named(enum, "")) is not None:
            return known
        name, said = self._claim(enum, ""), comments()
        meanings = [
            f"- `{enum_names(enum)[value.number]}`: {said.get(f'{enum.full_name}.{value.name}', '')}"
            for value in enum.values
            if value.number
        ]
        description = "\n".join([said.get(enum.full_name, ""), "", *meanings])
        values = list(enum_names(enum).values())
        self.schemas[name] = {"type": "string", "description": description, "enum": values}
        return reference(name)

    def member(self, member: Member, shape: Shape) -> Json:
        """A field as a property or parameter."""
        field, rules = member.field, field_rules(member.field)
        schema = self.value(field, shape)
        if is_map(field):
            schema = {"type": "object", "additionalProperties": schema}
        elif field.is_repeated:
            schema = {"type": "array", "items": schema}
        if field.is_repeated and shape is not Shape.OUTPUT:
            schema |= item_rules(rules, mapped=is_map(field))
        if member.nullable:
            schema = {"anyOf": [schema, {"type": "null"}]}
        if text := comments().get(field.full_name):
            schema["description"] = text
        if rules.example:
            schema["examples"] = [orjson.loads(rules.example)]
        return schema

    def value(self, field: FieldDescriptor, shape: Shape) -> Json:
        """One value of a field, with its rules."""
        value, rules, sent = value_field(field), field_rules(field), shape is not Shape.OUTPUT
        if is_nested(field):
            return self.message(message_of(value), Shape.INPUT if sent else Shape.OUTPUT)
        if value.type == FieldDescriptor.TYPE_ENUM:
            return self.enum(enum_of(value))
        if value.type == FieldDescriptor.TYPE_MESSAGE:
            pattern = {"pattern": f"^{TIME.pattern}$"} if sent else {}
            return {"type": "string", "format": "date-time", **pattern}
        if value.type in INTEGERS:
            wide = value.type == FieldDescriptor.TYPE_INT64
            schema: Json = {"type": "integer", "format": "int64" if wide else "int32"}
            if value.type == FieldDescriptor.TYPE_UINT32:
                schema = {"type": "integer", "format": "int64", "minimum": 0}
            return {**schema, **number_rules(rules, *INTEGERS[value.type])} if sent else schema
        schema = {"type": TYPES[value.type]}
        if value.type == FieldDescriptor.TYPE_STRING:
            required = rules.required and not field.is_repeated
            schema |= text_rules(rules, required=required) if sent else text_format(rules)
        elif value.type == FieldDescriptor.TYPE_DOUBLE and sent:
            schema |= number_rules(rules, None, None)
        return schema

    def _named(self, described: Descriptor | EnumDescriptor, suffix: str) -> Json | None:
        name = self._name(described, suffix)
        return reference(name) if self._owners.get(name) == described.full_name else None

    def _claim(self, described: Descriptor | EnumDescriptor, suffix: str) -> str:
        name = self._name(described, suffix)
        self._owners[name] = described.full_name
        return name

    def _name(self, described: Descriptor | EnumDescriptor, suffix: str) -> str:
        """Its short name; where another service has taken that, its own service's name before it."""
        name = described.name + suffix
        if self._owners.get(name, described.full_name) == described.full_name:
            return name
        return described.file.package.split(".")[1].capitalize() + name


def must_be_sent(member: Member, shape: Shape) -> bool:
    """Whether a property is always there; what a browser may have in a cookie instead is not, in what it sends."""
    by_cookie = field_rules(member.field).cookie is not None and shape is Shape.INPUT
    return member.required and not by_cookie


def reference(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def text_rules(rules: FieldRules, *, required: bool) -> Json:
    given, schema = rules.rules, text_format(rules)
    if least := max(given.min_length, 1 if required else 0):
        schema["minLength"] = least
    if given.HasField("max_length"):
        schema["maxLength"] = given.max_length
    if given.pattern:
        schema["pattern"] = given.pattern
    elif given.format:
        schema["pattern"] = f"^(?:{FORMATS[given.format][0]})$"
    return schema


def text_format(rules: FieldRules) -> Json:
    name = NAMED_FORMATS.get(rules.rules.format)
    return {"format": name} if name else {}


def number_rules(rules: FieldRules, least: float | None, most: float | None) -> Json:
    given = rules.rules
    bounds = {
        "minimum": given.minimum if given.HasField("minimum") else least,
        "maximum": given.maximum if given.HasField("maximum") else most,
        "multipleOf": given.multiple_of or None,
    }
    return {
        name: int(bound) if float(bound).is_integer() else bound
        for name, bound in bounds.items()
        if bound is not None
    }


def item_rules(rules: FieldRules, *, mapped: bool) -> Json:
    given, noun = rules.rules, "Properties" if mapped else "Items"
    schema: Json = {}
    if least := max(given.min_items, 1 if rules.required else 0):
        schema[f"min{noun}"] = least
    if given.HasField("max_items"):
        schema[f"max{noun}"] = given.max_items
    if given.unique_items:
        schema["uniqueItems"] = True
    return schema
