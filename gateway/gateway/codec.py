"""Protobuf to JSON bytes, by code that is generated once per message type.

`json_format` asks the descriptor about every field of every message: milliseconds a page. The generated functions
read attributes into dicts and leave the rest to orjson. Their source is in `linecache`, so that tracebacks show it.

Implicit scalars, lists and maps are always there; `optional`, oneof and message fields only when set; an enum
value that this process does not know (its service is newer) is left out and counted. 64-bit integers are numbers,
times RFC 3339 in UTC with as many microseconds as there are, map keys sorted so that equal replies are equal bytes.

Items of lists that are resources are written once for as long as they are asked for: see `written`.
"""

import linecache
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, Final, TypeAlias

import orjson
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from prometheus_client import Counter

from chassis.rules import (
    SCALARS,
    enum_names,
    enum_of,
    is_map,
    is_nested,
    message_of,
    value_field,
)

Encode: TypeAlias = Callable[[Message], bytes]
ToDict: TypeAlias = Callable[[Message], dict[str, Any]]

UNKNOWN_ENUM_VALUES: Final = Counter(
    "propmubi_unknown_enum_values_total",
    "Enum values of replies that the gateway's contract does not know, left out of the JSON.",
    ["enum"],
)

OPTIONS: Final = orjson.OPT_UTC_Z
# Some 3 kB each, and none much larger than its own bytes may be: at most a quarter of what a replica may take.
WRITTEN: Final = 10_000
LARGEST_WRITTEN: Final = 4_096


def encoder(message: Descriptor) -> Encode:
    """The function that writes messages of this type as JSON."""
    compiled, dumps = to_dict(message), orjson.dumps

    def encode(reply: Message) -> bytes:
        return dumps(compiled(reply), None, OPTIONS)

    return encode


class EnumNames(dict[int, str | None]):
    """JSON names by number; None for UNSPECIFIED, and, counted, for a number that is not known."""

    def __init__(self, enum: EnumDescriptor) -> None:
        super().__init__({0: None, **enum_names(enum)})
        self.unknown = UNKNOWN_ENUM_VALUES.labels(enum.full_name)

    def __missing__(self, number: int) -> None:
        self.unknown.inc()


def moment(seconds: int, nanos: int) -> datetime:
    """Exact to the microsecond until the year 2242, when a double's steps grow past half of one."""
    return datetime.fromtimestamp(seconds + nanos // 1000 / 1e6, UTC)


def written(message: Descriptor, serialized: bytes) -> orjson.Fragment:
    """The JSON of a message of this type, kept under its own bytes, of which it is a function: never out of date.

    To serialise a listing takes a tenth of the time that writing it does. An enum value that is not known is counted
    when it is written, not each time that is shown. A large message is written each time.
    """
    if len(serialized) > LARGEST_WRITTEN:
        return _write(message, serialized)
    return _kept(message, serialized)


def _write(message: Descriptor, serialized: bytes) -> orjson.Fragment:
    item = message_factory.GetMessageClass(message).FromString(serialized)
    return orjson.Fragment(encoder(message)(item))


_kept = lru_cache(maxsize=WRITTEN)(_write)


def is_resource(message: Descriptor) -> bool:
    """Whether messages of this type are shown again and again as they are, until their version is another."""
    return {"id", "version"} <= set(message.fields_by_name)


@cache
def to_dict(message: Descriptor) -> ToDict:
    """The generated function for this type; those of the types within are generated with it."""
    scope: dict[str, Any] = {"moment": moment}
    lines = ["def encode(m):", "    has = m.HasField", "    o = {}"]
    for field in message.fields:
        lines += (f"    {line}" for line in statements(field, scope))
    source, file = "\n".join([*lines, "    return o", ""]), f"<encoder of {message.full_name}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    code = compile(source, file, "exec")
    exec(code, scope)  # noqa: S102 - the source is ours, made of descriptors
    encode: ToDict = scope["encode"]
    return encode


def statements(field: FieldDescriptor, scope: dict[str, Any]) -> Iterator[str]:
    """The lines that put one field of message `m` into dict `o`; what they refer to goes into `scope`."""
    name, get, put = field.name, f"m.{field.name}", f'o["{field.name}"]'
    value = value_field(field)
    if field.is_repeated:
        yield f"{put} = {repeated(field, scope)}"
    elif value.type == FieldDescriptor.TYPE_ENUM:
        yield f"if v := {names(value, scope)}[{get}]: {put} = v"
    elif value.type in SCALARS and not field.has_presence:
        yield f"{put} = {get}"
    elif value.type in SCALARS:
        # Most values are not zero, and looking is cheaper than asking.
        yield f'if (v := {get}) or has("{name}"): {put} = v'
    elif is_nested(field):
        yield f'if has("{name}"): {put} = {function(value, scope)}({get})'
    else:
        yield f"t = {get}"
        yield f'if (s := t.seconds) or has("{name}"): {put} = moment(s, t.nanos)'


def repeated(field: FieldDescriptor, scope: dict[str, Any]) -> str:
    """The expression for a list or map."""
    get, value = f"m.{field.name}", value_field(field)
    if value.type == FieldDescriptor.TYPE_ENUM:
        one, kept = "v", f" if (v := {names(value, scope)}[x])"
    elif value.type in SCALARS:
        return f"dict(sorted({get}.items()))" if is_map(field) else f"{get}[:]"
    elif not is_map(field) and is_nested(field) and is_resource(message := message_of(field)):
        scope |= {"written": written, f"type_{message.name}": message}
        return f"[written(type_{message.name}, x.SerializeToString()) for x in {get}]"
    else:
        kept = ""
        one = f"{function(value, scope)}(x)" if is_nested(field) else "moment(x.seconds, x.nanos)"
    if is_map(field):
        return f"{{k: {one} for k, x in sorted({get}.items()){kept}}}"
    return f"[{one} for x in {get}{kept}]"


def names(field: FieldDescriptor, scope: dict[str, Any]) -> str:
    """The name, in the generated code, of an enum's names."""
    enum = enum_of(field)
    scope[f"names_{enum.name}"] = EnumNames(enum)
    return f"names_{enum.name}"


def function(field: FieldDescriptor, scope: dict[str, Any]) -> str:
    """The name, in the generated code, of the function for a message within."""
    message = message_of(field)
    scope[f"encode_{message.name}"] = to_dict(message)
    return f"encode_{message.name}"
