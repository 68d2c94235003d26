"""The SQL of imports and exports."""

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

import orjson
from sqlalchemy import (
    ColumnElement,
    and_,
    any_,
    bindparam,
    case,
    cast,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.types import Text, Uuid

from agents_service.listing_files.domain import ExternalName, Import, ImportStatus, Piece, RowError
from agents_service.listing_files.models import import_errors, import_pieces, imports
from agents_service.listings.domain import Listing, StandardStatus
from agents_service.listings.messages import SAID
from agents_service.listings.models import account_of, listings, live, price_dropped_at, quoted
from agents_service.listings.search import COLUMNS
from chassis.database import Database, Transaction
from chassis.errors import Conflict, NotFound

_COLUMNS: Final = tuple(imports.c[field.name] for field in fields(Import))
_GET = select(*_COLUMNS).where(imports.c.id == bindparam("id"))
_ERRORS = (
    select(*(import_errors.c[name] for name in RowError._fields))
    .where(
        import_errors.c.import_id == bindparam("id"), import_errors.c.position > bindparam("after")
    )
    .order_by(import_errors.c.position)
    .limit(bindparam("limit"))
)


def _export(owner: ColumnElement[Any]) -> Any:
    return (
        select(listings.c.external_id, *COLUMNS)
        .where(owner == bindparam("owner"), listings.c.id > bindparam("after"))
        .order_by(listings.c.id)
        .limit(bindparam("limit"))
    )


_OF_AGENT, _OF_OFFICE = _export(listings.c.list_agent_id), _export(listings.c.list_office_id)
_KNOWN = (
    select(listings.c.external_id, *COLUMNS)
    .where(
        listings.c.list_agent_id == any_(bindparam("agent_ids", type_=ARRAY(Uuid))),
        listings.c.external_id
        == any_(bindparam("external_ids", type_=ARRAY(listings.c.external_id.type))),
    )
    .order_by(listings.c.id)
    .with_for_update()
)
_ADDED: Final = ("id", "list_agent_id", "list_office_id", "standard_status", *SAID)
# One parameter for all rows, whatever their number; Postgres itself knows the types of the columns.
_rows = func.jsonb_populate_recordset(
    literal_column("null::listings"), cast(bindparam("rows", type_=Text), JSONB)
).table_valued("external_id", *_ADDED, name="wanted")
_is_active = _rows.c.standard_status == quoted(StandardStatus.ACTIVE)
# Those that are live from the first, but for one whose home is live in its account already.
_ADD = (
    upsert(listings)
    .from_select(
        [*(column.name for column in _rows.c), "on_market_date", "original_list_price"],
        select(*_rows.c, case((_is_active, func.now())), case((_is_active, _rows.c.list_price))),
    )
    .on_conflict_do_nothing(
        index_elements=[listings.c.same_unit, account_of(listings), listings.c.listing_type],
        index_where=live(listings),
    )
    .returning(*COLUMNS)
)
_CHANGE = (
    update(listings)
    .where(listings.c.id == _rows.c.id)
    .values(
        **{name: _rows.c[name] for name in SAID},
        price_dropped_at=price_dropped_at(_rows.c.list_price),
        version=listings.c.version + 1,
        updated_at=func.now(),
    )
    .returning(*COLUMNS)
)
_mine, _other = listings.alias("mine"), listings.alias("other")
_ids = bindparam("ids", type_=ARRAY(Uuid))
# Of listings that are to become live: those whose home is live in their account, or is once those before them are.
_TAKEN = select(_mine.c.id).where(
    _mine.c.id == any_(_ids),
    select(_other.c.id)
    .where(
        _other.c.same_unit == _mine.c.same_unit,
        _other.c.listing_type == _mine.c.listing_type,
        account_of(_other) == account_of(_mine),
        or_(
            and_(live(_other), _other.c.id != _mine.c.id),
            and_(_other.c.id == any_(_ids), _other.c.id < _mine.c.id),
        ),
    )
    .exists(),
)


class ListingFileRepository:
    """Imports in Postgres, and listings in bulk."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, import_id: uuid.UUID) -> Import:
        """The import; raises NotFound."""
        row = await self._database.fetch_one(_GET, {"id": import_id})
        if row is None:
            raise not_found()
        return _import(row)

    async def errors(self, import_id: uuid.UUID, *, after: int, limit: int) -> list[RowError]:
        """A page of the import's errors, beginning after the position `after`."""
        rows = await self._database.fetch(
            _ERRORS, {"id": import_id, "after": after, "limit": limit}
        )
        return [RowError._make(row) for row in rows]

    async def export(
        self,
        *,
        agent_id: uuid.UUID | None,
        office_id: uuid.UUID | None,
        after: uuid.UUID,
        limit: int,
    ) -> list[tuple[str | None, Listing]]:
        """A page of the listings of the office or else of the agent, with their external ids, in order of ids."""
        statement = _OF_AGENT if office_id is None else _OF_OFFICE
        rows = await self._database.fetch(
            statement, {"owner": office_id or agent_id, "after": after, "limit": limit}
        )
        return [(row[0], Listing._make(tuple(row)[1:])) for row in rows]

    async def alone(self, tx: Transaction, whose: str) -> None:
        """Until the transaction ends nobody else gets past this for `whose` files or listings."""
        await tx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(whose, 0))))

    async def locked(self, tx: Transaction, import_id: uuid.UUID) -> Import | None:
        """The import, if there is one, locked until the transaction ends."""
        found = await tx.execute(_GET.with_for_update(), {"id": import_id})
        row = found.mappings().first()
        return None if row is None else _import(row)

    async def add(self, tx: Transaction, **columns: Any) -> Import:
        """A new import, in place of one whose file did not arrive; raises Conflict while another one is read."""
        await tx.execute(
            delete(imports).where(
                imports.c.created_by == columns["created_by"],
                imports.c.status == ImportStatus.RECEIVING,
            )
        )
        added = await tx.execute(
            upsert(imports)
            .values(status=ImportStatus.RECEIVING, **columns)
            .on_conflict_do_nothing()
            .returning(*_COLUMNS)
        )
        row = added.mappings().first()
        if row is None:
            raise Conflict("An import of yours is under way: wait until it is done.")
        return _import(row)

    async def digest(self, tx: Transaction, import_id: uuid.UUID, number: int) -> bytes | None:
        """Of the piece that was received as the `number`th."""
        found = await tx.execute(
            select(import_pieces.c.digest).where(
                import_pieces.c.import_id == import_id, import_pieces.c.number == number
            )
        )
        digest: bytes | None = found.scalar()
        return digest

    async def add_piece(self, tx: Transaction, job: Import, piece: Piece) -> Import:
        await tx.execute(
            insert(import_pieces).values(
                import_id=job.id, number=piece.number, digest=piece.digest, content=piece.content
            )
        )
        return await self.change(
            tx,
            job,
            pieces=job.pieces + 1,
            size=job.size + len(piece.content),
            status=ImportStatus.RUNNING if piece.last else job.status,
        )

    async def change(self, tx: Transaction, job: Import, **changes: Any) -> Import:
        """Write `changes` to `job`, which is locked."""
        changed = await tx.execute(
            update(imports).where(imports.c.id == job.id).values(**changes).returning(*_COLUMNS)
        )
        return _import(changed.mappings().one())

    async def locked_running(self, tx: Transaction) -> Import | None:
        """An import whose rows are to be read, if there is one, locked; none that others have locked. That of which
        least was read comes first, so that small files don't wait for large ones.
        """
        found = await tx.execute(
            select(*_COLUMNS)
            .where(imports.c.status == ImportStatus.RUNNING)
            .order_by(imports.c.pieces_read, imports.c.created_at)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        row = found.mappings().first()
        return None if row is None else _import(row)

    async def content(self, tx: Transaction, job: Import) -> bytes:
        """The next piece of `job` to be read."""
        found = await tx.execute(
            select(import_pieces.c.content).where(
                import_pieces.c.import_id == job.id, import_pieces.c.number == job.pieces_read
            )
        )
        content: bytes = found.scalar_one()
        return content

    async def forget_content(self, tx: Transaction, job: Import) -> None:
        """Let go of the piece of `job` that was read; it is known by its digest from now on."""
        await tx.execute(
            update(import_pieces)
            .where(import_pieces.c.import_id == job.id, import_pieces.c.number == job.pieces_read)
            .values(content=None)
        )

    async def note(self, tx: Transaction, job: Import, errors: Sequence[Mapping[str, Any]]) -> None:
        if errors:
            await tx.execute(
                insert(import_errors), [{"import_id": job.id, **error} for error in errors]
            )

    async def forget(self, tx: Transaction) -> int:
        """Delete imports that are over for a week, and those whose file stopped arriving an hour ago; how many."""
        age = func.now() - imports.c.created_at
        gone = await tx.execute(
            delete(imports)
            .where(
                (imports.c.status == ImportStatus.RECEIVING) & (age > text("interval '1 hour'"))
                | imports.c.status.in_((ImportStatus.DONE, ImportStatus.FAILED))
                & (age > text("interval '7 days'"))
            )
            .returning(imports.c.id)
        )
        return len(gone.all())

    async def known(
        self, tx: Transaction, agent_ids: Collection[uuid.UUID], external_ids: Collection[str]
    ) -> dict[ExternalName, Listing]:
        """The listings of these agents by these external ids, locked."""
        rows = await tx.run(_KNOWN, {"agent_ids": [*agent_ids], "external_ids": [*external_ids]})
        known = [(row[0], Listing._make(tuple(row)[1:])) for row in rows]
        return {
            ExternalName(listing.list_agent_id, external_id): listing
            for external_id, listing in known
        }

    async def store(
        self, tx: Transaction, wanted: Iterable[tuple[str | None, Listing]]
    ) -> dict[uuid.UUID, Listing]:
        """New listings, drafts or on offer from the first, with their external ids; by id, those left out whose homes
        are live in their accounts.
        """
        rows = [
            {"external_id": external_id, **{name: getattr(listing, name) for name in _ADDED}}
            for external_id, listing in wanted
        ]
        added = map(Listing._make, await tx.run(_ADD, {"rows": _json(rows)}))
        return {listing.id: listing for listing in added}

    async def rewrite(self, tx: Transaction, wanted: Sequence[Listing]) -> list[Listing]:
        """Have listings, which are locked, say what `wanted` says; what became of them, in its order."""
        rows = [
            {"id": listing.id, **{name: getattr(listing, name) for name in SAID}}
            for listing in wanted
        ]
        changed = map(Listing._make, await tx.run(_CHANGE, {"rows": _json(rows)}))
        by_id = {listing.id: listing for listing in changed}
        return [by_id[listing.id] for listing in wanted]

    async def taken(self, tx: Transaction, listing_ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
        """Those of the listings that can't be live, because their home is."""
        return {row[0] for row in await tx.run(_TAKEN, {"ids": [*listing_ids]})}


def not_found() -> NotFound:
    return NotFound("There is no such import.")


def gone() -> NotFound:
    return NotFound(
        "There is no such upload any more: another file of yours took its place. Send this one again from its beginning."
    )


def _import(row: Any) -> Import:
    return Import(**{**row, "status": ImportStatus(row["status"])})


def _json(rows: Sequence[Mapping[str, Any]]) -> str:
    # Media are JSON already. Most of what there is to say of a home is not said.
    said = [
        {name: value for name, value in row.items() if value is not None}
        | {"media": orjson.Fragment(row["media"])}
        for row in rows
    ]
    return orjson.dumps(said, default=str).decode()
