"""One request message out of path, query, body and If-Match, or every fault of theirs at once.

- A path parameter that breaks its rules names nothing that exists: 404, so that ids stay opaque.
- The body must say that it is application/json; an absent one is an empty object.
- The keys of a PATCH are its update mask.
- A message of the query is there when one of its fields is: they stand in the query by their own names.
- If-Match carries `"<version>-<hash>"`, whose version becomes `expected_version`. What was never one of our tags
  becomes version -1, which nothing has: the service answers 404 or 412, as it would for any other.
"""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from pydantic_core import ValidationError

from chassis.errors import InvalidArgument, NotFound, Violation
from gateway.errors import EdgeError
from gateway.operation import Operation, asked_fields, body_fields, parameters_of, query_fields
from gateway.schemas import Shape, Source, validator, violations

TAG: Final = re.compile(r'"([0-9]{1,18})-[^"]*"')
NO_VERSION: Final = -1


class Binder:
    """Binds the requests of one operation."""

    def __init__(self, operation: Operation) -> None:
        request = operation.method.input_type
        addressed = [request.fields_by_name[name] for name in operation.path_parameters]
        asked = query_fields(operation)
        patch = operation.http_method == "PATCH"
        self.operation = operation
        self.path = validator(addressed, Shape.INPUT, Source.TEXT) if addressed else None
        self.query = validator(asked, Shape.INPUT, Source.TEXT)
        self.query_fields: dict[str, FieldDescriptor] = {field.name: field for field in asked}
        self.messages: dict[str, str] = {
            parameter.name: field.name
            for field in asked_fields(operation)
            for parameter in parameters_of(field)
            if parameter is not field
        }
        self.body = validator(
            body_fields(operation), Shape.PATCH if patch else Shape.INPUT, Source.JSON
        )
        self.patch = patch
        self.conditional = "expected_version" in request.fields_by_name

    def bind(
        self,
        path: Mapping[str, str],
        query: bytes,
        body: bytes,
        content_type: str | None,
        if_match: str | None,
    ) -> Message:
        """The request message. `path` holds the decoded parameters, `query` what follows the question mark.

        Raises NotFound for a path that can't exist, EdgeError 415, and InvalidArgument with every other fault.
        """
        values = self.bind_path(path) if self.path is not None else {}
        faults: list[Violation] = []
        if self.operation.body is not None:
            self.bind_body(body, content_type, values, faults)
        if query or self.query_fields:
            self.bind_query(query, values, faults)
        if faults:
            raise InvalidArgument(*faults)
        if self.conditional and if_match is not None and if_match != "*":
            tag = TAG.fullmatch(if_match.strip())
            values["expected_version"] = int(tag[1]) if tag else NO_VERSION
        return self.operation.input(**values)

    def bind_path(self, path: Mapping[str, str]) -> dict[str, Any]:
        assert self.path is not None
        try:
            values: dict[str, Any] = self.path.validate_python(dict(path))
        except ValidationError as error:
            raise NotFound("There is no such thing.") from error
        return values

    def bind_body(
        self, body: bytes, content_type: str | None, values: dict[str, Any], faults: list[Violation]
    ) -> None:
        if body and (content_type or "").partition(";")[0].strip().lower() != "application/json":
            raise EdgeError(415)
        try:
            given: dict[str, Any] = self.body.validate_json(body or b"{}")
        except ValidationError as error:
            faults += violations(error.errors(include_url=False, include_input=False), "body")
            return
        if self.operation.body == "*":
            values.update(given)
            return
        if self.patch:
            if not given:
                faults.append(Violation("body", "must have at least one field to change"))
            values["update_mask"] = FieldMask(paths=given)
            given = {name: value for name, value in given.items() if value is not None}
        values[self.operation.body or ""] = given

    def bind_query(self, query: bytes, values: dict[str, Any], faults: list[Violation]) -> None:
        given: dict[str, Any] = {}
        for pair in filter(None, query.split(b"&")):
            key, _, text = pair.partition(b"=")
            try:
                name, value = decoded(key), decoded(text)
            except UnicodeDecodeError:
                faults.append(Violation("query", "must be UTF-8, percent-encoded"))
                continue
            field = self.query_fields.get(name)
            if field is not None and field.is_repeated:
                given.setdefault(name, []).append(value)
            elif name in given and field is not None:
                faults.append(Violation(name, "must be given once"))
            else:
                given[name] = value
        try:
            valid: dict[str, Any] = self.query.validate_python(given)
        except ValidationError as error:
            faults += violations(error.errors(include_url=False, include_input=False), "query")
            return
        for name, value in valid.items():
            message = self.messages.get(name)
            (values if message is None else values.setdefault(message, {}))[name] = value


def decoded(text: bytes) -> str:
    if b"+" in text:
        text = text.replace(b"+", b" ")
    return (unquote_to_bytes(text) if b"%" in text else text).decode()
