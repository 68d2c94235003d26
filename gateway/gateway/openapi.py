"""The OpenAPI 3.1 document of the contract, for people and for generated clients.

`python -m gateway.openapi` prints it, `--write` renews the committed snapshot and says what that breaks, `--check`
says how the snapshot differs from the protos and which of the differences break clients.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from chassis.rules import message_of
from gateway import devices
from gateway.breaking import differences
from gateway.contract import Contract, comments, load_contract
from gateway.cookies import cookie_names, replied_by_cookie
from gateway.errors import DEFAULTS
from gateway.files import CSV, JSON_LINES
from gateway.json_schema import Components, Json, must_be_sent, reference
from gateway.operation import EMPTY, Operation, body_fields, is_tagged, query_fields
from gateway.schemas import Shape, members
from propmubi.common.v1.errors_pb2 import ErrorCode
from propmubi.options.v1.options_pb2 import Caller

SNAPSHOT: Final = Path(__file__).parents[2] / "tests/contract/openapi.json"
DESCRIPTION: Final = """\
Homes for sale and rent, the agents and builders who sell them, and the leads in between.

Names are snake_case, enums lower-case, times RFC 3339 in UTC, money whole rupees. A field that is absent is left
out; unknown fields and parameters are refused. Lists are paged: pass `next_page_token` back as `page_token` until
it is empty. Every error has the same envelope, and its `code` is one of `ErrorCode`."""

REQUEST_HEADERS: Final = {
    "X-Correlation-ID": (
        "Names the request in logs and errors: 8 to 64 letters, digits and dashes. Anything else is replaced by one made for you.",
        {},
    ),
    "Idempotency-Key": (
        "Makes it safe to send the same request again: within 24 hours the first answer is replayed.",
        {"pattern": "^[!-~]{1,255}$"},
    ),
    "If-Match": ("The ETag the change was made on: 412 if it is no longer the current one.", {}),
    "X-Device-Token": (
        "From the last sign-in on this device: counts the call for its person in place of its address. Any other is ignored.",
        {},
    ),
    "If-None-Match": ("ETags already at hand: 304 if one of them is still the current one.", {}),
}
RESPONSE_HEADERS: Final = {
    "X-Correlation-ID": "Names the request in logs and errors.",
    "RateLimit-Policy": "The allowances that the call drew on: their quotas and windows.",
    "RateLimit": "What is left of them, and for how long.",
    "ETag": "Names this state of it; send it as If-None-Match, and as If-Match where that is taken.",
    "Location": "The path at which what was created is found: its own, or that of its list.",
    "Idempotency-Replayed": "`true` when this is the stored answer to an earlier request with the same key.",
    "X-Device-Token": "Keep it on this device and send it whenever somebody signs in.",
    "Retry-After": "Seconds to wait before trying again.",
    "WWW-Authenticate": "How to sign in.",
    "Set-Cookie": "The field that X-Use-Cookie named, for this host alone and out of reach of scripts.",
}
ALWAYS: Final = ("X-Correlation-ID", "RateLimit-Policy", "RateLimit")
ERROR_HEADERS: Final = {
    401: ("WWW-Authenticate",),
    429: ("RateLimit-Policy", "RateLimit", "Retry-After"),
    503: ("Retry-After",),
}
HIDDEN: Final = frozenset({405, 499})  # No answer to a described operation, or seen by nobody.


def document(contract: Contract) -> bytes:
    """The document as it is served."""
    return orjson.dumps(describe(contract))


def describe(contract: Contract) -> Json:
    components = Components()
    paths: dict[str, Json] = {}
    for operation in contract.operations:
        paths.setdefault(operation.path, {})[operation.http_method.lower()] = described(
            operation, components
        )
    components.schemas |= error_schemas()
    return {
        "openapi": "3.1.0",
        "info": {"title": "PropMubi", "version": "1", "description": DESCRIPTION},
        "servers": [{"url": "/"}],
        "tags": tags(contract),
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(components.schemas.items())),
            "responses": {
                f"Error{status}": error_response(status)
                for status in DEFAULTS
                if status not in HIDDEN
            },
            "parameters": {name: request_header(name) for name in REQUEST_HEADERS},
            "headers": {
                name: {"description": text, "schema": {"type": "string"}}
                for name, text in RESPONSE_HEADERS.items()
            },
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "The `access_token` of a token answer.",
                }
            },
        },
    }


def tags(contract: Contract) -> list[Json]:
    said = comments()
    names = {
        operation.tag: operation.method.containing_service.full_name
        for operation in contract.operations
    }
    return [
        {"name": tag, "description": said.get(full_name, "")} for tag, full_name in names.items()
    ]


def described(operation: Operation, components: Components) -> Json:
    """One operation: what it takes, what it answers, and how it fails."""
    callers = ", ".join(
        sorted(Caller.Name(c).removeprefix("CALLER_").lower() for c in operation.callers)
    )
    public = Caller.CALLER_ANYONE in operation.callers
    described: Json = {
        "operationId": operation.operation_id,
        "tags": [operation.tag],
        "summary": operation.summary.removesuffix("."),
        "description": f"{operation.description}\n\nWho may call: {callers}.".strip(),
        "parameters": list(parameters(operation, components)),
        "security": [{}, {"bearer": []}] if public else [{"bearer": []}],
    }
    if operation.upload is not None:
        described["requestBody"] = file_of(operation.upload.content_types)
    elif operation.body is not None:
        described["requestBody"] = request_body(operation, components)
    described["responses"] = {
        str(status): answer for status, answer in answers(operation, components)
    }
    return described


def parameters(operation: Operation, components: Components) -> Iterator[Json]:
    request = operation.method.input_type
    addressed = [request.fields_by_name[name] for name in operation.path_parameters]
    for place, fields in (("path", addressed), ("query", query_fields(operation))):
        for member in members(fields, Shape.INPUT):
            schema = components.member(member, Shape.INPUT)
            described: Json = {
                "name": member.field.name,
                "in": place,
                "required": place == "path" or member.required,
            }
            if text := schema.pop("description", None):
                described["description"] = text
            yield {**described, "schema": schema}
    for name, applies in (
        ("X-Correlation-ID", True),
        ("Idempotency-Key", operation.http_method == "POST"),
        ("X-Device-Token", devices.pass_by(operation)),
        ("If-Match", "expected_version" in request.fields_by_name),
        ("If-None-Match", operation.http_method == "GET" and is_tagged(operation)),
    ):
        if applies:
            yield {"$ref": f"#/components/parameters/{name}"}
    if names := cookie_names(operation):
        yield {
            "name": "X-Use-Cookie",
            "in": "header",
            "description": "For browsers: have this field in a cookie that no script can read, in place of the body."
            " Needs an `Origin` that CORS allows.",
            "schema": {"type": "string", "enum": names},
        }


def request_body(operation: Operation, components: Components) -> Json:
    request = operation.method.input_type
    shape = Shape.PATCH if operation.http_method == "PATCH" else Shape.INPUT
    if operation.body == "*":
        schema = components.object(request, body_fields(operation), shape)
    else:
        schema = components.message(message_of(request.fields_by_name[operation.body or ""]), shape)
    needed = shape is Shape.PATCH or any(
        must_be_sent(member, shape) for member in members(body_fields(operation), shape)
    )
    return {"required": needed, "content": {"application/json": {"schema": schema}}}


def file_of(content_types: Iterable[str]) -> Json:
    text = {"schema": {"type": "string"}}
    return {"required": True, "content": dict.fromkeys(content_types, text)}


def answers(operation: Operation, components: Components) -> Iterator[tuple[int, Json]]:
    """Every status the operation can answer with."""
    reply, verb = operation.method.output_type, operation.http_method
    headers = [
        *ALWAYS,
        *(["ETag"] if is_tagged(operation) else []),
        *(["Set-Cookie"] if replied_by_cookie(operation) or operation.forgets_cookie else []),
        *(["Idempotency-Replayed"] if verb == "POST" else []),
        *(["X-Device-Token"] if devices.are_made_by(operation) else []),
    ]
    success: Json = {"description": comments().get(reply.full_name, "Done.")}
    if operation.download is not None:
        success["content"] = file_of((CSV, JSON_LINES))["content"]
    elif reply.full_name != EMPTY:
        success["content"] = {
            "application/json": {"schema": components.message(reply, Shape.OUTPUT)}
        }
    if operation.success_status == 201:
        yield 200, {
            **success,
            "headers": header_references(headers),
            "description": "It was there before.",
        }
        headers.append("Location")
    yield operation.success_status, {**success, "headers": header_references(headers)}
    if verb == "GET" and is_tagged(operation):
        yield 304, {"description": "Not changed.", "headers": header_references([*ALWAYS, "ETag"])}
    for status in failures(operation):
        yield status, {"$ref": f"#/components/responses/Error{status}"}


def failures(operation: Operation) -> list[int]:
    writes = operation.http_method != "GET"
    has_body = operation.body is not None or operation.upload is not None
    applies = {
        403: Caller.CALLER_ANYONE not in operation.callers or bool(cookie_names(operation)),
        404: writes or bool(operation.path_parameters),
        409: writes,
        408: has_body,
        412: "expected_version" in operation.method.input_type.fields_by_name,
        413: has_body,
        415: has_body,
    }
    return sorted(
        status for status in DEFAULTS if applies.get(status, True) and status not in HIDDEN
    )


def header_references(names: list[str] | tuple[str, ...]) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def request_header(name: str) -> Json:
    text, schema = REQUEST_HEADERS[name]
    return {
        "name": name,
        "in": "header",
        "description": text,
        "schema": {"type": "string", **schema},
    }


def error_response(status: int) -> Json:
    names = ("X-Correlation-ID", *ERROR_HEADERS.get(status, ()))
    return {
        "description": DEFAULTS[status][1],
        "headers": header_references(names),
        "content": {"application/json": {"schema": reference("Error")}},
    }


def error_schemas() -> Json:
    """The envelope of every error, and its codes."""
    said, enum = comments(), ErrorCode.DESCRIPTOR
    codes = {
        value.name.removeprefix("ERROR_CODE_"): value.name for value in enum.values if value.number
    }
    meanings = [
        f"- `{code}`: {said.get(f'{enum.full_name}.{name}', '')}" for code, name in codes.items()
    ]
    text = {"type": "string"}
    detail = closed(
        "One field and what is wrong with it.",
        field={**text, "description": "Its name, such as `address.postal_code` or `media[0].url`."},
        message={**text, "description": "What to do about it."},
    )
    error = closed(
        "What went wrong.",
        code=reference("ErrorCode"),
        message={**text, "description": "For people; it may change."},
        correlation_id={**text, "description": "Names the request in the platform's logs."},
        path={**text, "description": "The path that was asked for."},
        details={
            "type": "array",
            "items": detail,
            "description": "The faulty fields, if it is about fields.",
        },
    )
    return {
        "Error": closed("The answer of every call that fails.", error=error),
        "ErrorCode": {
            "type": "string",
            "enum": list(codes),
            "description": "\n".join(["Why a call failed.", "", *meanings]),
        },
    }


def closed(description: str, **properties: Any) -> Json:
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "required": list(properties),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m gateway.openapi", description="Print the OpenAPI document."
    )
    parser.add_argument(
        "--write", action="store_true", help="write it to tests/contract/openapi.json instead"
    )
    parser.add_argument(
        "--check", action="store_true", help="say how it differs from tests/contract/openapi.json"
    )
    arguments = parser.parse_args()
    fresh = orjson.dumps(describe(load_contract()), option=orjson.OPT_INDENT_2) + b"\n"
    if not (arguments.write or arguments.check):
        sys.stdout.buffer.write(fresh)
        return
    kept = orjson.loads(SNAPSHOT.read_bytes()) if SNAPSHOT.exists() else {"paths": {}}
    found = "\n".join(differences(kept, orjson.loads(fresh)))
    if arguments.write:
        SNAPSHOT.write_bytes(fresh)
        sys.stderr.write(f"{found}\n" if found else "")
    elif found:
        sys.exit(
            f"{found}\ntests/contract/openapi.json is not what the protos say: run `make protos`."
        )


if __name__ == "__main__":
    main()
