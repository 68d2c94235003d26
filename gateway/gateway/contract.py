"""The contract, read from the descriptors: every RPC with its HTTP rule, access rule, limit and cache policy.

`load_contract()` refuses at start-up what the gateway could not serve faithfully, naming the RPC or field.
`python -m gateway.contract` prints the table that tests/contract/contract.txt keeps.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from importlib.resources import files as resources
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Final, cast

import orjson
from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message_factory import GetMessageClass

from gateway.operation import EMPTY, ContractError, HttpMethod, Operation
from gateway.refusals import (
    PARAMETER,
    refuse_collisions,
    refuse_cookies,
    refuse_fields,
    refuse_method,
    refuse_rule,
)
from propmubi.options.v1 import options_pb2
from propmubi.options.v1.options_pb2 import CachePolicy, Caller, RateLimit, Success

__all__ = ["Contract", "ContractError", "Operation", "comments", "load_contract", "prose"]

SERVICES: Final = ("auth", "agents", "crm", "projects")
SNAPSHOT: Final = Path(__file__).parents[2] / "tests/contract/contract.txt"
STATUSES: Final = {Success.SUCCESS_CREATED: 201, Success.SUCCESS_ACCEPTED: 202}
LITERAL: Final = re.compile(r"[A-Za-z0-9._~-]+")


@dataclass(frozen=True, slots=True)
class Contract:
    """What the platform serves: operations over HTTP, and the paths of the RPCs for services alone."""

    operations: tuple[Operation, ...]
    internal: tuple[str, ...]


def load_contract(*files: FileDescriptor) -> Contract:
    """Read the contract of the given files, or of every service of the platform."""
    operations, internal = [], []
    for service in services(files or platform_files()):
        for method in service.methods:
            refuse_method(method)
            options = method.GetOptions()
            if options.HasExtension(annotations_pb2.http):
                operations.append(operation_of(method, options.Extensions[annotations_pb2.http]))
            else:
                internal.append(rpc_path(method))
    refuse_collisions(operations)
    refuse_cookies(operations)
    operations = [
        replace(operation, location=location(operation, operations)) for operation in operations
    ]
    return Contract(tuple(operations), tuple(internal))


def services(files: Iterable[FileDescriptor]) -> Iterator[ServiceDescriptor]:
    for file in files:
        yield from file.services_by_name.values()


def platform_files() -> list[FileDescriptor]:
    """Every proto file of the services, found by looking: a new one needs no edit here."""
    packages = [import_module(f"propmubi.{service}.v1") for service in SERVICES]
    names = [
        name
        for package in packages
        for _, name, _ in iter_modules(package.__path__, f"{package.__name__}.")
    ]
    return [import_module(name).DESCRIPTOR for name in sorted(names) if name.endswith("_pb2")]


def rpc_path(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


@cache
def comments() -> Mapping[str, str]:
    """What the protos' comments say of each full name."""
    loaded: Mapping[str, str] = orjson.loads(
        resources("propmubi").joinpath("comments.json").read_bytes()
    )
    return loaded


def prose(full_name: str) -> tuple[str, str]:
    """The first paragraph of a declaration's comment on one line, and the rest as it is written."""
    summary, _, rest = comments().get(full_name, "").partition("\n\n")
    return " ".join(summary.split()), rest.strip()


def operation_of(method: MethodDescriptor, rule: http_pb2.HttpRule) -> Operation:
    options = method.GetOptions()
    where = method.full_name
    pattern = rule.WhichOneof("pattern")
    if pattern is None or pattern == "custom":
        raise ContractError(f"{where}: its HTTP rule names none of get, post, put, patch, delete")
    http_method, path = cast("HttpMethod", pattern.upper()), getattr(rule, pattern)
    reply = method.output_type
    success = options.Extensions[options_pb2.success]
    upload = declared(options, options_pb2.upload)
    summary, description = prose(where)
    operation = Operation(
        rpc=rpc_path(method),
        method=method,
        service=method.containing_service.file.package.split(".")[1],
        http_method=http_method,
        path=path,
        path_parameters=path_parameters(where, path),
        body=None if upload else rule.body or None,
        input=GetMessageClass(method.input_type),
        output=GetMessageClass(reply),
        callers=frozenset(options.Extensions[options_pb2.access].allow),
        rate_limit=options.Extensions[options_pb2.rate_limit],
        cache=declared(options, options_pb2.cache),
        success_status=STATUSES[success] if success else 204 if reply.full_name == EMPTY else 200,
        location=options.Extensions[options_pb2.location],
        upload=upload,
        download=declared(options, options_pb2.download),
        batch=batch_of(method, options.Extensions[options_pb2.batch]),
        read_only=options.idempotency_level == MethodOptions.NO_SIDE_EFFECTS,
        forgets_cookie=options.Extensions[options_pb2.forgets_cookie],
        operation_id=method.name[0].lower() + method.name[1:],
        tag=method.containing_service.name.removesuffix("Service"),
        summary=summary,
        description=description,
    )
    refuse_rule(operation, rule)
    refuse_fields(operation)
    return operation


def declared(options: MethodOptions, extension: Any) -> Any:
    """What `options` say by this extension, if anything."""
    return options.Extensions[extension] if options.HasExtension(extension) else None


def batch_of(method: MethodDescriptor, name: str) -> MethodDescriptor | None:
    """The RPC `name` of the same service, which answers many calls of `method` at once; None without a name."""
    if not name:
        return None
    batch = method.containing_service.methods_by_name.get(name)
    if batch is None:
        raise ContractError(f"{method.full_name}: its service has no RPC {name} to batch it")
    asked, answered = list(batch.input_type.fields), list(batch.output_type.fields)
    lists = [field for field in (*asked, *answered) if field.is_repeated]
    if not (
        len(method.input_type.fields) == len(asked) == len(answered) == 1
        and len(lists) == 2
        and asked[0].message_type is None
        and answered[0].message_type is method.output_type
    ):
        raise ContractError(
            f"{method.full_name}: its batch {name} takes a list of its one plain field and gives one of its reply"
        )
    return batch


def location(operation: Operation, operations: Iterable[Operation]) -> str:
    """Where what `operation` creates is found: as it says itself, else at the GET that answers with the same message,
    else in the list that has its path. A GET of the contract answers there.
    """
    if operation.success_status != STATUSES[Success.SUCCESS_CREATED]:
        return operation.location
    gets = [other for other in operations if other.http_method == "GET"]
    shown = [
        f"{get.path[: get.path.rindex('{')]}{{id}}"
        for get in gets
        if get.output is operation.output and get.path.endswith("}")
    ]
    found = next(filter(None, (operation.location, *shown, operation.path)))
    if any(PARAMETER.sub("{}", get.path) == PARAMETER.sub("{}", found) for get in gets):
        return found
    raise ContractError(
        f"{operation.method.full_name}: what it creates is at no path that a GET answers: "
        "add one, or say where by (propmubi.options.v1.location)"
    )


def path_parameters(where: str, path: str) -> tuple[str, ...]:
    """The parameters of a path whose segments are each a word or one whole parameter."""
    names = []
    for segment in path.removeprefix("/").split("/"):
        if parameter := PARAMETER.fullmatch(segment):
            names.append(parameter[1])
        elif not LITERAL.fullmatch(segment):
            raise ContractError(
                f"{where}: {segment!r} in {path} is neither a word nor a plain {{parameter}}"
            )
    if not path.startswith("/") or len(set(names)) != len(names):
        raise ContractError(
            f"{where}: {path} does not begin with a slash or names a parameter twice"
        )
    return tuple(names)


def table(contract: Contract) -> str:
    """The contract as text, one operation a line."""
    rows = [("method", "path", "rpc", "access", "limit", "cache", "status")]
    for operation in sorted(
        contract.operations, key=lambda operation: (operation.path, operation.http_method)
    ):
        cache = operation.cache
        rows.append(
            (
                operation.http_method,
                operation.path,
                operation.rpc.removeprefix("/propmubi."),
                ",".join(
                    sorted(short(Caller.Name(caller), "CALLER_") for caller in operation.callers)
                ),
                short(RateLimit.Name(operation.rate_limit), "RATE_LIMIT_"),
                kept_for(cache),
                f"{operation.success_status} {operation.location}".rstrip(),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, "", "for services alone", *sorted(contract.internal), ""])


def kept_for(cache: CachePolicy | None) -> str:
    """How long an answer may be kept, and by whom."""
    if cache is None:
        return "-"
    client = f"{'public' if cache.public else 'private'} {cache.max_age}s" if cache.max_age else ""
    gateway = f"gateway {cache.gateway_seconds}s" if cache.gateway_seconds else ""
    return ", ".join(filter(None, (client, gateway)))


def short(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m gateway.contract", description="Print what the gateway serves."
    )
    parser.add_argument(
        "--write", action="store_true", help="write it to tests/contract/contract.txt instead"
    )
    write = parser.parse_args().write
    try:
        text = table(load_contract())
    except ContractError as error:
        sys.exit(f"contract: {error}")
    if write:
        SNAPSHOT.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
