"""An import of listings, and the pieces of its file."""

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

from chassis.errors import Conflict, InvalidArgument, Violation

# Of a file's own words, as they are told to its sender.
LONGEST_WORDS: Final = 100


class ImportStatus(StrEnum):
    RECEIVING = "receiving"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """A file of listings, from its first piece to its last row."""

    id: uuid.UUID
    created_by: str
    agent_id: uuid.UUID
    # The office that its sender administers: its agents' listings are hers to import.
    office_id: uuid.UUID | None
    content_type: str
    status: ImportStatus
    failure: str | None
    pieces: int
    size: int
    # How many pieces were read, and what is left of them: the beginning of a row.
    pieces_read: int
    rest: bytes
    # The names in the first line of a CSV file, once it was read.
    header: list[str] | None
    attempts: int
    rows: int
    created: int
    updated: int
    unchanged: int
    failed: int
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A piece of a file, `number` from 0 on."""

    number: int
    content: bytes
    digest: bytes
    last: bool


class ExternalName(NamedTuple):
    """What one system calls a listing, for one agent: others may call theirs the same."""

    list_agent_id: uuid.UUID
    external_id: str | None


class Row(NamedTuple):
    """A row as it was read: the columns that it sets, or what is wrong with it."""

    number: int
    external_id: str | None
    list_agent_id: uuid.UUID | None = None
    standard_status: str | None = None
    columns: dict[str, Any] = {}  # noqa: RUF012  Never changed.
    # The price and the day, where it is to be closed.
    closing: dict[str, Any] = {}  # noqa: RUF012  The same.
    faults: tuple[Violation, ...] = ()

    def name(self, importer: uuid.UUID) -> ExternalName:
        """Whose listing it is of, the `importer`'s unless given, and which."""
        return ExternalName(self.list_agent_id or importer, self.external_id)


class RowError(NamedTuple):
    """Something wrong with a row."""

    position: int
    row: int
    external_id: str | None
    field: str | None
    message: str


@dataclass(slots=True)
class Outcome:
    """What became of some rows."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    # The rows with errors, and the errors.
    failed: set[int] = field(default_factory=set)
    errors: list[dict[str, Any]] = field(default_factory=list)

    def refuse(self, row: Row, field: str | None, message: str) -> None:
        self.failed.add(row.number)
        self.errors.append(
            {
                "row": row.number,
                "external_id": row.external_id and storable(row.external_id),
                "field": field and storable(field),
                "message": message,
            }
        )


def storable(text: str) -> str:
    """The beginning of words of a file's, without what Postgres can't hold."""
    return text[:LONGEST_WORDS].replace("\0", "").encode(errors="replace").decode()


class Unreadable(Exception):
    """The file as a whole can't be read; the message says why."""


def check_next(job: Import, piece: Piece) -> None:
    """Raises unless `piece` is the one that `job` waits for."""
    if job.status is not ImportStatus.RECEIVING:
        raise other_file()
    if piece.number != job.pieces:
        raise Conflict(f"Piece {job.pieces} of the file is awaited, not {piece.number}.")


def other_file() -> InvalidArgument:
    return InvalidArgument(
        Violation("Idempotency-Key", "was used for another file: take a new one"),
        reason="IDEMPOTENCY_KEY_REUSED",
    )
