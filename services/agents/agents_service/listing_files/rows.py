"""Rows of files as listings: CSV and JSON Lines, piece by piece, held to the same rules as any draft."""

import csv
import io
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import orjson
from google.protobuf.descriptor import FieldDescriptor

from agents_service.listing_files.domain import Row, Unreadable
from agents_service.listings.messages import INPUT, from_wire
from chassis.constraints import validate
from chassis.errors import InvalidArgument, Violation
from chassis.protobuf import numbers_of, values
from chassis.rules import INTEGERS
from propmubi.agents.v1 import listings_pb2 as pb

CSV: Final = "text/csv"
LONGEST_ROW: Final = 64 << 10
LONGEST_EXTERNAL_ID: Final = 100
_BOM: Final = b"\xef\xbb\xbf"
_LISTING: Final = pb.Listing.DESCRIPTOR.fields_by_name
_ADDRESS: Final = pb.Address.DESCRIPTOR.fields_by_name
# What a row has besides the fields of a draft.
_OURS: Final = ("external_id", "list_agent_id", "standard_status")
_COLUMNS: Final = frozenset(
    {*INPUT, *_OURS, *(f"address.{name}" for name in _ADDRESS)} - {"address"}
)
# What an export has and a server sets.
_PASSED_OVER: Final = frozenset(_LISTING) - _COLUMNS - {"address"}
_STATUSES: Final = [
    name for name, number in numbers_of(pb.StandardStatus.DESCRIPTOR).items() if number
]
# What an export puts an apostrophe before.
_FORMULA: Final = ("'=", "'+", "'-", "'@", "'\t", "'\r")


class _Fault(Exception):
    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.violation = Violation(field, message)


def cut(content: bytes, content_type: str, *, first: bool, last: bool) -> tuple[bytes, bytes]:
    """The whole rows at the beginning of `content`, and what is left: the beginning of another.

    Raises Unreadable when that is too long to be a row.
    """
    if first:
        content = content.removeprefix(_BOM)
    if last:
        return content, b""
    end = content.rfind(b"\n")
    if content_type == CSV:
        # A line ends where no quotes are open: where their number until there is even.
        quotes = content.count(b'"', 0, end + 1)
        while end >= 0 and quotes % 2:
            before = content.rfind(b"\n", 0, end)
            quotes -= content.count(b'"', before + 1, end + 1)
            end = before
    rest = content[end + 1 :]
    if len(rest) > LONGEST_ROW:
        raise Unreadable(
            f"A row is longer than {LONGEST_ROW >> 10} KiB; in CSV, quotes may not be closed."
        )
    return content[: end + 1], rest


def header_of(names: list[str]) -> list[str]:
    """The names in a file's first line; raises Unreadable for those that no row may have."""
    found = [name.strip() for name in names]
    unknown = [name for name in found if name not in _COLUMNS and name not in _PASSED_OVER]
    if unknown:
        raise Unreadable(f"There are no fields named: {', '.join(unknown)[:500]}.")
    if len(set(found)) != len(found):
        raise Unreadable("The first line names a field twice.")
    if "external_id" not in found:
        raise Unreadable("The first line does not name external_id.")
    return found


def csv_records(content: bytes) -> Iterator[list[str]]:
    """The records of CSV that ends with a whole one, without empty lines; raises Unreadable."""
    # What is not UTF-8 is told of its row, once that is known.
    text = content.decode("utf-8", "surrogateescape")
    try:
        yield from filter(None, csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise Unreadable(f"The file is not CSV: {error}.") from error


def csv_row(number: int, header: list[str], record: list[str]) -> Row:
    if len(record) != len(header):
        message = f"has {len(record)} cells where the first line has {len(header)}"
        return Row(number, None, faults=(Violation("row", message),))
    cells = {
        name: _unguarded(cell.strip())
        for name, cell in zip(header, record, strict=True)
        if name not in _PASSED_OVER
    }
    address = {
        name.removeprefix("address."): cells.pop(name) or None
        for name in header
        if name.startswith("address.")
    }
    given: dict[str, Any] = {name: _typed(name, cell) for name, cell in cells.items()}
    if address:
        given["address"] = address if any(address.values()) else None
    return _row(number, given)


def json_rows(content: bytes, number: int) -> Iterator[Row]:
    """The rows of JSON Lines, the first of which is the `number`th."""
    for line in content.split(b"\n"):
        if not line.strip():
            continue
        try:
            given = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            yield Row(number, None, faults=(Violation("row", f"is not JSON: {error}"),))
        else:
            yield (
                _row(number, {key: given[key] for key in given if key not in _PASSED_OVER})
                if isinstance(given, dict)
                else Row(number, None, faults=(Violation("row", "is no JSON object"),))
            )
        number += 1


def _row(number: int, given: Mapping[str, Any]) -> Row:
    named = given.get("external_id")
    try:
        return _sound(number, given)
    except _Fault as fault:
        faults = [fault.violation]
    except InvalidArgument as error:
        faults = [
            Violation(each.field.removeprefix("listing."), each.message)
            for each in error.violations
        ]
    return Row(number, _readable(named) if isinstance(named, str) else None, faults=tuple(faults))


def _sound(number: int, given: Mapping[str, Any]) -> Row:
    """The row, if nothing is wrong with it; raises _Fault or InvalidArgument."""
    _check_text(given)
    external_id = given.get("external_id")
    if not (isinstance(external_id, str) and 0 < len(external_id) <= LONGEST_EXTERNAL_ID):
        raise _Fault("external_id", f"is required: 1 to {LONGEST_EXTERNAL_ID} characters")
    for name in given:
        if name not in INPUT and name not in _OURS:
            raise _Fault(name, "is no field of a listing")
    agent_id, status = given.get("list_agent_id"), given.get("standard_status")
    if status is not None and status not in _STATUSES:
        raise _Fault("standard_status", f"must be one of: {', '.join(_STATUSES)}")
    columns = _columns({name: given[name] for name in INPUT if name in given})
    return Row(number, external_id, agent_id and _uuid(agent_id), status, columns)


def _columns(given: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that the fields `given` set; raises _Fault or InvalidArgument."""
    fields = {
        name: _read(_LISTING[name], value, name)
        for name, value in given.items()
        if value is not None
    }
    try:
        listing = pb.Listing(**fields)
    except (TypeError, ValueError) as error:
        raise _Fault("row", str(error)) from error
    faults = validate(pb.CreateListingRequest(listing=listing))
    if faults:
        raise InvalidArgument(*faults)
    return from_wire(values(listing, *given))


def _read(field: FieldDescriptor, given: Any, at: str) -> Any:
    """`given`, of JSON, as the constructor of a message takes it."""
    if not field.is_repeated:
        return _read_one(field, given, at)
    if not isinstance(given, list):
        raise _Fault(at, "must be a list")
    return [_read_one(field, item, f"{at}[{place}]") for place, item in enumerate(given)]


def _read_one(field: FieldDescriptor, given: Any, at: str) -> Any:
    if field.enum_type is not None:
        numbers = numbers_of(field.enum_type)
        if given not in numbers or not numbers[given]:
            raise _Fault(
                at, f"must be one of: {', '.join(name for name in numbers if numbers[name])}"
            )
        return numbers[given]
    if field.message_type is not None:
        if not isinstance(given, dict):
            raise _Fault(at, "must be an object")
        known = field.message_type.fields_by_name
        for name in given:
            if name not in known:
                raise _Fault(f"{at}.{name}", "is no field of it")
        return {
            name: _read(known[name], value, f"{at}.{name}")
            for name, value in given.items()
            if value is not None
        }
    if field.type == FieldDescriptor.TYPE_STRING:
        if not isinstance(given, str):
            raise _Fault(at, "must be text")
        return given
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise _Fault(at, "must be a number")
    if field.type not in INTEGERS:
        return float(given)
    least, most = INTEGERS[field.type]
    if given != int(given) or not least <= given <= most:
        raise _Fault(at, "must be a whole number, and not so large")
    return int(given)


def _typed(name: str, cell: str) -> Any:
    """A cell of CSV as JSON would have it; what it is not is left to be told like in JSON."""
    field = _LISTING.get(name)
    if not cell or field is None:
        return cell or None
    if name == "media" and not cell.startswith("["):
        return [{"url": url, "kind": "photo"} for url in cell.split()]
    if field.is_repeated and name != "media":
        return [item.strip() for item in cell.split(";") if item.strip()]
    is_text = field.enum_type is not None or field.type == FieldDescriptor.TYPE_STRING
    return cell if is_text else _json(cell)


def _json(cell: str) -> Any:
    try:
        return orjson.loads(cell)
    except orjson.JSONDecodeError:
        return cell


def _unguarded(cell: str) -> str:
    return cell[1:] if cell.startswith(_FORMULA) else cell


def _check_text(given: Any) -> None:
    """Raises _Fault for text that is not UTF-8 or that Postgres can't hold."""
    for text in _texts(given):
        if "\x00" in text or (not text.isascii() and _readable(text) is None):
            raise _Fault("row", "must be UTF-8 without NUL")


def _texts(given: Any) -> Iterable[str]:
    if isinstance(given, str):
        yield given
    elif isinstance(given, dict | list):
        for item in given.values() if isinstance(given, dict) else given:
            yield from _texts(item)


def _readable(text: str) -> str | None:
    """`text`, as far as it can be stored."""
    try:
        return text.encode().replace(b"\x00", b"").decode()[:LONGEST_EXTERNAL_ID]
    except UnicodeEncodeError:
        return None


def _uuid(text: Any) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except (ValueError, TypeError, AttributeError) as error:
        raise _Fault("list_agent_id", "must be a UUID") from error
