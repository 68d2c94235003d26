"""What can be done with files of listings, and by whom."""

import asyncio
import uuid
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from datetime import UTC, datetime
from itertools import count
from operator import itemgetter
from typing import Any

from agents_service.agents.domain import Agent
from agents_service.agents.repository import AgentRepository
from agents_service.listing_files.domain import (
    ExternalName,
    Import,
    ImportStatus,
    Outcome,
    Piece,
    Row,
    RowError,
    Unreadable,
    check_next,
    other_file,
)
from agents_service.listing_files.repository import ListingFileRepository, gone, not_found
from agents_service.listing_files.rows import CSV, csv_records, csv_row, cut, header_of, json_rows
from agents_service.listings import history
from agents_service.listings.domain import (
    LIVE,
    Listing,
    Mover,
    StandardStatus,
    changes_of,
    check_changeable,
    check_close,
    check_consistent,
    check_move,
    check_publishable,
)
from agents_service.listings.events import publish_change, publish_move
from agents_service.listings.history import NOTHING_YET
from agents_service.listings.repository import ListingRepository
from agents_service.listings.service import ANNOUNCED, check_seller
from chassis.context import current_call
from chassis.database import Transaction
from chassis.errors import DomainError, NotFound, PermissionDenied
from chassis.identity import Principal
from chassis.ids import new_id
from chassis.india import today

# Rows that are written together: enough to save round trips, few enough that nobody waits long for the event loop.
WAVE = 200
# Rows that are read before others get a turn.
TURN = 10
# A piece that ends the process each time is given up.
MOST_ATTEMPTS = 5
REASON = "import"
_TAKEN = ("standard_status", "Your office has a live listing of this home.")
_BEFORE_ALL = uuid.UUID(int=0)
_EMPTY = NOTHING_YET._replace(standard_status=StandardStatus.INCOMPLETE, amenities=[], media="[]")


class ListingFileService:
    """The use cases of imports and exports. Each write takes the transaction that its caller opened."""

    def __init__(
        self,
        files: ListingFileRepository,
        listings: ListingRepository,
        agents: AgentRepository,
    ) -> None:
        self._files = files
        self._listings = listings
        self._agents = agents

    async def receive(
        self,
        tx: Transaction,
        caller: Principal,
        import_id: uuid.UUID,
        content_type: str,
        piece: Piece,
    ) -> Import:
        """Take a piece of a file; one that was taken before is the same piece, or another file's."""
        if caller.agent_id is None:
            raise PermissionDenied("Only an agent may import listings.")
        if piece.number == 0:
            # The same file may be sent twice at once.
            await self._files.alone(tx, caller.subject)
        job = await self._files.locked(tx, import_id)
        if job is None:
            if piece.number:
                raise gone()
            job = await self._files.add(
                tx,
                id=import_id,
                created_by=caller.subject,
                agent_id=caller.agent_id,
                office_id=caller.administered_office_id,
                content_type=content_type,
            )
        if job.created_by != caller.subject:
            raise not_found()
        if piece.number < job.pieces:
            if await self._files.digest(tx, job.id, piece.number) != piece.digest:
                raise other_file()
            current_call().trailers.append(("idempotency-replayed", "true"))
            return job
        check_next(job, piece)
        return await self._files.add_piece(tx, job, piece)

    async def get(self, caller: Principal, import_id: uuid.UUID) -> Import:
        """An import of the caller's own or her office's; raises NotFound."""
        job = await self._files.get(import_id)
        office_id = caller.administered_office_id
        if job.created_by != caller.subject and (office_id is None or office_id != job.office_id):
            raise not_found()
        return job

    async def errors(
        self, caller: Principal, import_id: uuid.UUID, *, after: int, limit: int
    ) -> list[RowError]:
        """A page of what was wrong with the rows of an import of the caller's."""
        await self.get(caller, import_id)
        return await self._files.errors(import_id, after=after, limit=limit)

    async def export(
        self, caller: Principal, *, after: uuid.UUID | None, limit: int
    ) -> list[tuple[str | None, Listing]]:
        """A page of the listings of the office the caller administers, or else of her own, with their external ids."""
        office_id = caller.administered_office_id
        if office_id is None and caller.agent_id is None:
            raise PermissionDenied("Only an agent has listings to export.")
        return await self._files.export(
            agent_id=caller.agent_id, office_id=office_id, after=after or _BEFORE_ALL, limit=limit
        )

    async def begin(self, tx: Transaction) -> uuid.UUID | None:
        """The import whose next piece is to be read, if there is one. One that was begun too often has failed."""
        job = await self._files.locked_running(tx)
        if job is None:
            return None
        if job.attempts >= MOST_ATTEMPTS:
            await self._fail(tx, job, "Its rows can't be read just now: send the file again later.")
        else:
            await self._files.change(tx, job, attempts=job.attempts + 1)
        return job.id

    async def read(self, tx: Transaction, import_id: uuid.UUID) -> None:
        """Read the next piece of an import, and do what its rows say."""
        job = await self._files.locked(tx, import_id)
        if job is None or job.status is not ImportStatus.RUNNING:
            return
        content = job.rest + await self._files.content(tx, job)
        last = job.pieces_read == job.pieces - 1
        header, number, outcome = job.header, job.rows, Outcome()
        try:
            whole, rest = cut(content, job.content_type, first=job.pieces_read == 0, last=last)
            if job.content_type == CSV:
                records = csv_records(whole)
                if header is None and (names := next(records, None)) is not None:
                    header = header_of(names)
                rows = _csv_rows(records, header or [], number)
            else:
                rows = json_rows(whole, number + 1)
            async for wave in _ahead(_waves(rows, job.agent_id)):
                number = wave[-1].number
                await self._apply(tx, job, wave, outcome)
        except Unreadable as error:
            await self._add_up(tx, job, outcome, rows=number)
            await self._fail(tx, job, str(error))
            return
        await self._add_up(tx, job, outcome, rows=number, rest=rest, header=header, attempts=0)
        await self._files.forget_content(tx, job)
        ended = {"status": ImportStatus.DONE, "finished_at": datetime.now(UTC)} if last else {}
        await self._files.change(tx, job, pieces_read=job.pieces_read + 1, **ended)

    async def forget(self, tx: Transaction) -> int:
        """Forget imports that are long over, or whose files never arrived; how many."""
        return await self._files.forget(tx)

    async def _fail(self, tx: Transaction, job: Import, failure: str) -> None:
        await self._files.change(
            tx, job, status=ImportStatus.FAILED, failure=failure, finished_at=datetime.now(UTC)
        )

    async def _add_up(self, tx: Transaction, job: Import, outcome: Outcome, **changes: Any) -> None:
        await self._files.note(tx, job, sorted(outcome.errors, key=itemgetter("row")))
        await self._files.change(
            tx,
            job,
            created=job.created + outcome.created,
            updated=job.updated + outcome.updated,
            unchanged=job.unchanged + outcome.unchanged,
            failed=job.failed + len(outcome.failed),
            **changes,
        )

    async def _apply(
        self, tx: Transaction, job: Import, rows: Sequence[Row], outcome: Outcome
    ) -> None:
        """Do what rows of different external ids say."""
        for row in rows:
            for fault in row.faults:
                outcome.refuse(row, fault.field, fault.message)
        agents = await self._agents_of(tx, job)
        sound = [row for row in rows if not row.faults and _is_of(row, job, agents, outcome)]
        if not sound:
            return
        agent_ids, external_ids = zip(*(row.name(job.agent_id) for row in sound), strict=True)
        known = await self._files.known(tx, {*agent_ids}, {*external_ids})
        new, old = [], []
        for row in sound:
            listing = known.get(row.name(job.agent_id))
            try:
                if listing is None:
                    new.append((row, _draft(row, agents[row.name(job.agent_id).list_agent_id])))
                else:
                    old.append((row, listing, _rewritten(row, listing)))
            except DomainError as error:
                _refuse(outcome, row, error)
        # What leaves the market makes room.
        kept = await self._rewrite(tx, job, old, outcome)
        await self._move(tx, job, kept, agents, outcome)
        await self._add(tx, job, new, agents, outcome)

    async def _agents_of(self, tx: Transaction, job: Import) -> Mapping[uuid.UUID, Agent]:
        """The agents whose listings the import may draft and change, who stay as they are."""
        own = await self._agents.kept_all(tx, [job.agent_id])
        # Whoever else imports for the office might be about to store the same rows.
        await self._files.alone(tx, str(own[job.agent_id].office_id or job.agent_id))
        if job.office_id is None or own[job.agent_id].office_id != job.office_id:
            return own
        return await self._agents.kept_of_office(tx, job.office_id)

    async def _add(
        self,
        tx: Transaction,
        job: Import,
        new: Sequence[tuple[Row, Listing]],
        agents: Mapping[uuid.UUID, Agent],
        outcome: Outcome,
    ) -> None:
        """Store drafts, those to be offered as such at once; one that can't be offered stays a draft."""
        if not new:
            return
        wanted = [
            (
                (row.external_id, draft._replace(standard_status=row.standard_status))
                if row.standard_status and _may_move(row, draft, agents, job, outcome)
                else (row.external_id, draft)
            )
            for row, draft in new
        ]
        added = await self._files.store(tx, wanted)
        taken = [(row, draft) for row, draft in new if draft.id not in added]
        if taken:
            for row, _ in taken:
                outcome.refuse(row, *_TAKEN)
            added |= await self._files.store(tx, [(row.external_id, draft) for row, draft in taken])
        outcome.created += len(new)
        became = [(draft, added[draft.id]) for _, draft in new]
        await history.note_new(tx, became, job.created_by, REASON)
        for draft, listing in became:
            if listing.standard_status != draft.standard_status:
                publish_move(tx, draft, listing)

    async def _rewrite(
        self,
        tx: Transaction,
        job: Import,
        old: Sequence[tuple[Row, Listing, dict[str, Any]]],
        outcome: Outcome,
    ) -> list[tuple[Row, Listing]]:
        changed = [each for each in old if each[2]]
        kept = [(row, listing) for row, listing, changes in old if not changes]
        outcome.unchanged += len(kept)
        if not changed:
            return kept
        wanted = [listing._replace(**changes) for _, listing, changes in changed]
        rewritten = await self._files.rewrite(tx, wanted)
        outcome.updated += len(rewritten)
        became = [
            (before, after, changes)
            for (_, before, changes), after in zip(changed, rewritten, strict=True)
        ]
        await history.note(tx, became, job.created_by, REASON)
        for before, after, changes in became:
            publish_change(tx, before, after, changes)
        return kept + [(row, after) for (row, _, _), after in zip(changed, rewritten, strict=True)]

    async def _move(
        self,
        tx: Transaction,
        job: Import,
        stored: Sequence[tuple[Row, Listing]],
        agents: Mapping[uuid.UUID, Agent],
        outcome: Outcome,
    ) -> None:
        """Move listings to the statuses that their rows name; one that can't be moved stays where it is."""
        wanted: dict[tuple[Any, ...], list[tuple[Row, Listing]]] = {}
        for row, listing in stored:
            if _may_move(row, listing, agents, job, outcome):
                key = (row.standard_status, *row.closing.items())
                wanted.setdefault(key, []).append((row, listing))
        for (status, *closing), moving in wanted.items():
            taken: Collection[uuid.UUID] = ()
            if status in LIVE:
                taken = await self._files.taken(tx, [listing.id for _, listing in moving])
            for row, listing in moving:
                if listing.id in taken:
                    outcome.refuse(row, *_TAKEN)
            before = [listing for _, listing in moving if listing.id not in taken]
            if before:
                after = await self._listings.move(
                    tx, before, status, job.created_by, REASON, closing=dict(closing)
                )
                for was, became in zip(before, after, strict=True):
                    publish_move(tx, was, became)


async def _ahead(waves: AsyncGenerator[list[Row]]) -> AsyncIterator[list[Row]]:
    """`waves`, of which the next is read while Postgres works on the one before."""
    async with aclosing(waves):
        coming = asyncio.ensure_future(anext(waves, None))
        try:
            while (wave := await coming) is not None:
                coming = asyncio.ensure_future(anext(waves, None))
                yield wave
        finally:
            coming.cancel()
            await asyncio.wait([coming])


async def _waves(rows: Iterable[Row], importer: uuid.UUID) -> AsyncGenerator[list[Row]]:
    """`rows` in lists of WAVE at most, none with a listing twice; others get a turn in between."""
    wave: list[Row] = []
    seen: set[ExternalName] = set()
    for place, row in enumerate(rows):
        if place % TURN == 0:
            await asyncio.sleep(0)
        name = row.name(importer)
        if len(wave) == WAVE or name in seen:
            yield wave
            wave, seen = [], set()
        wave.append(row)
        if row.external_id is not None:
            seen.add(name)
    if wave:
        yield wave


def _csv_rows(records: Iterable[list[str]], header: list[str], before: int) -> Iterable[Row]:
    return map(csv_row(header), count(before + 1), records)


def _is_of(row: Row, job: Import, agents: Mapping[uuid.UUID, Agent], outcome: Outcome) -> bool:
    """Whether the row's agent is one whom the import may act for."""
    if row.name(job.agent_id).list_agent_id in agents:
        return True
    outcome.refuse(row, "list_agent_id", "must be you, or an agent of the office you administer")
    return False


def _draft(row: Row, agent: Agent) -> Listing:
    draft = _EMPTY._replace(
        id=new_id(), list_agent_id=agent.id, list_office_id=agent.office_id, **row.columns
    )
    check_consistent(draft._asdict(), row.columns, today())
    return draft


def _rewritten(row: Row, listing: Listing) -> dict[str, Any]:
    """What `row` changes of `listing`; raises what makes that impossible."""
    changes = changes_of(listing, row.columns)
    if changes:
        wanted = listing._replace(**changes)
        check_changeable(listing, wanted)
        check_consistent(wanted._asdict(), changes, today())
    return changes


def _may_move(
    row: Row, listing: Listing, agents: Mapping[uuid.UUID, Agent], job: Import, outcome: Outcome
) -> bool:
    """Whether `listing` is to be moved to where its row wants it; what is in the way is told."""
    if row.standard_status in (None, listing.standard_status):
        return False
    try:
        _check_move(row, listing, agents[listing.list_agent_id], job)
    except DomainError as error:
        _refuse(outcome, row, error)
        return False
    return True


def _check_move(row: Row, listing: Listing, agent: Agent, job: Import) -> None:
    status = row.standard_status or ""
    check_close(status, row.closing.get("close_price"), row.closing.get("close_date"), today())
    movers = {Mover.AGENT} if listing.list_agent_id == job.agent_id else set()
    if job.office_id is not None and listing.list_office_id == job.office_id:
        movers.add(Mover.OFFICE_ADMIN)
    if not movers:
        raise NotFound("The listing is not yours.")
    check_move(listing.standard_status, status, movers)
    if status in ANNOUNCED:
        check_seller(agent, today())
    if status == StandardStatus.ACTIVE:
        check_publishable(listing, today())


def _refuse(outcome: Outcome, row: Row, error: DomainError) -> None:
    if not error.violations:
        outcome.refuse(row, None, error.message)
    for violation in error.violations:
        outcome.refuse(row, violation.field.removeprefix("listing."), violation.message)
