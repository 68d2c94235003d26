"""Rows of files as listings: CSV and JSON Lines, piece by piece, held to the same rules as any draft."""

import csv
import io
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Final

import orjson
from google.protobuf.descriptor import FieldDescriptor

from agents_service.listing_files.domain import Row, Unreadable, storable
from agents_service.listing_files.fields import CLOSING, read, read_closing
from agents_service.listings.domain import StandardStatus
from agents_service.listings.messages import INPUT
from chassis.errors import InvalidArgument, Violation
from propmubi.agents.v1 import listings_pb2 as pb

CSV: Final = "text/csv"
# In bytes or characters: what is longer is a bad row, and what is as long as a piece of a file no file.
LONGEST_ROW: Final = 64 << 10
LONGEST_REST: Final = 512 << 10
LONGEST_EXTERNAL_ID: Final = 100
_BOM: Final = b"\xef\xbb\xbf"
_LISTING: Final = pb.Listing.DESCRIPTOR.fields_by_name
_ADDRESS: Final = pb.Address.DESCRIPTOR.fields_by_name
# What a row has besides the fields of a draft.
_OURS: Final = ("external_id", "list_agent_id", "standard_status", *CLOSING)
_COLUMNS: Final = frozenset(
    {*INPUT, *_OURS, *(f"address.{name}" for name in _ADDRESS)} - {"address"}
)
# What an export has and a server sets.
_PASSED_OVER: Final = frozenset(_LISTING) - _COLUMNS - {"address"}
_STATUSES: Final = [*StandardStatus]
# What an export puts an apostrophe before.
_FORMULA: Final = ("'=", "'+", "'-", "'@", "'\t", "'\r")
_NOT_TEXT: Final = "must be UTF-8 without the character U+0000"


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
    if len(rest) > LONGEST_REST:
        raise Unreadable(
            f"A row is longer than {LONGEST_REST >> 10} KiB; in CSV, quotes may not be closed."
        )
    return content[: end + 1], rest


def header_of(names: list[str]) -> list[str]:
    """The names in a file's first line; raises Unreadable for those that no row may have."""
    found = [name.strip() for name in names]
    unknown = [name for name in found if name not in _COLUMNS and name not in _PASSED_OVER]
    if unknown:
        raise Unreadable(f"There are no fields named: {storable(', '.join(unknown))}.")
    if len(set(found)) != len(found):
        raise Unreadable("The first line names a field twice.")
    if "external_id" not in found:
        raise Unreadable("The first line does not name external_id.")
    return found


def csv_records(content: bytes) -> Iterator[list[str]]:
    """The records of CSV that ends with a whole one, without empty lines; raises Unreadable."""
    # What is not UTF-8 is told of its row, once that is known.
    text = content.decode("utf-8", "surrogateescape")
    # How long a row may be is ours to say (LONGEST_ROW), and no more is read at once than a piece and a rest.
    csv.field_size_limit(sys.maxsize)
    try:
        yield from filter(None, csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise Unreadable(f"The file is not CSV: {error}.") from error


def csv_row(header: list[str]) -> Callable[[int, list[str]], Row]:
    """What makes a row of its number and the cells below `header`."""
    cells = [
        (place, name, _typed(name))
        for place, name in enumerate(header)
        if name not in _PASSED_OVER and not name.startswith("address.")
    ]
    address = [
        (place, name.removeprefix("address."))
        for place, name in enumerate(header)
        if name.startswith("address.")
    ]

    def row(number: int, record: list[str]) -> Row:
        if len(record) != len(header):
            message = f"has {len(record)} cells where the first line has {len(header)}"
            return Row(number, None, faults=(Violation("row", message),))
        whole = "".join(record)
        if len(whole) > LONGEST_ROW:
            return _too_long(number)
        if not whole.isascii() and not _is_utf8(whole):
            return Row(number, None, faults=(Violation("row", _NOT_TEXT),))
        given = {name: typed(_cell(record[place])) for place, name, typed in cells}
        if address:
            filled = {name: _cell(record[place]) or None for place, name in address}
            given["address"] = filled if any(filled.values()) else None
        return _row(number, given)

    return row


def json_rows(content: bytes, number: int) -> Iterator[Row]:
    """The rows of JSON Lines, the first of which is the `number`th."""
    for line in content.split(b"\n"):
        if line.strip():
            yield _json_row(number, line)
            number += 1


def _json_row(number: int, line: bytes) -> Row:
    if len(line) > LONGEST_ROW:
        return _too_long(number)
    try:
        given = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return Row(number, None, faults=(Violation("row", f"is not JSON: {error}"),))
    if not isinstance(given, dict):
        return Row(number, None, faults=(Violation("row", "is no JSON object"),))
    return _row(number, {name: given[name] for name in given if name not in _PASSED_OVER})


def _too_long(number: int) -> Row:
    message = f"is longer than {LONGEST_ROW >> 10} KiB"
    return Row(number, None, faults=(Violation("row", message),))


def _row(number: int, given: dict[str, Any]) -> Row:
    found: list[Violation] = []
    external_id, agent_id, status, *closing = (given.pop(name, None) for name in _OURS)
    if not (isinstance(external_id, str) and 0 < len(external_id) <= LONGEST_EXTERNAL_ID):
        message = f"is required: 1 to {LONGEST_EXTERNAL_ID} characters"
        found.append(Violation("external_id", message))
    elif "\0" in external_id:
        found.append(Violation("external_id", _NOT_TEXT))
    if status is not None and status not in _STATUSES:
        found.append(Violation("standard_status", f"must be one of: {', '.join(_STATUSES)}"))
    close = {}
    if status == StandardStatus.CLOSED:
        close = read_closing(dict(zip(CLOSING, closing, strict=True)), found)
    try:
        columns = read(given, found)
    except InvalidArgument as error:
        columns = {}
        found += [
            Violation(each.field.removeprefix("listing."), each.message)
            for each in error.violations
        ]
    return Row(
        number,
        external_id if isinstance(external_id, str) else None,
        _uuid(agent_id, found),
        status,
        columns,
        close,
        tuple(found),
    )


def _typed(name: str) -> Callable[[str], Any]:
    """How a cell of a column is read as JSON would have it; what it is not is left to be told like in JSON."""
    field = _LISTING[name]
    if name == "media":
        return _media
    if field.is_repeated:
        return _items
    if field.enum_type is not None or field.type == FieldDescriptor.TYPE_STRING:
        return _text
    return _json


def _text(cell: str) -> str | None:
    return cell or None


def _items(cell: str) -> Any:
    return [item.strip() for item in cell.split(";") if item.strip()] or None


def _media(cell: str) -> Any:
    if cell.startswith("["):
        return _json(cell)
    return [{"url": url, "kind": "photo"} for url in cell.split()] or None


def _json(cell: str) -> Any:
    if not cell:
        return None
    try:
        return orjson.loads(cell)
    except orjson.JSONDecodeError:
        return cell


def _cell(cell: str) -> str:
    cell = cell.strip()
    return cell[1:] if cell.startswith(_FORMULA) else cell


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _uuid(text: Any, found: list[Violation]) -> uuid.UUID | None:
    if text is None:
        return None
    try:
        return uuid.UUID(text)
    except (ValueError, TypeError, AttributeError):
        found.append(Violation("list_agent_id", "must be a UUID"))
        return None
