"""What can be done with listings, and by whom."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from agents_service.agents.domain import Agent
from agents_service.agents.repository import AgentRepository
from agents_service.listings.domain import (
    NOT_OVER,
    PUBLIC,
    Change,
    Duplicate,
    Listing,
    Mover,
    Owner,
    StandardStatus,
    changes_of,
    check_changeable,
    check_close,
    check_consistent,
    check_move,
    check_publishable,
    check_relistable,
    sources,
)
from agents_service.listings.events import publish_change, publish_move
from agents_service.listings.messages import SAID
from agents_service.listings.repository import ListingRepository, not_found
from chassis.database import Transaction
from chassis.errors import (
    Conflict,
    PermissionDenied,
    check_version,
)
from chassis.identity import Principal
from chassis.india import today

# The clock and the peers that move listings, as histories name them.
CLOCK = "clock"
PROJECTS = "service:projects"
BATCH = 200
# What an owner and her agent agree on anew when a home is listed again.
_OF_THE_MANDATE = ("listing_contract_date", "expiration_date", "activation_date")
ANNOUNCED = (StandardStatus.COMING_SOON, StandardStatus.ACTIVE)
# Where a listing goes when its unit does; it is left alone where people brought it.
_MOVED_BY_PEOPLE_ALONE = (StandardStatus.HOLD, StandardStatus.PENDING)


class ListingService:
    """The use cases of listings. Each write takes the transaction that its caller opened."""

    def __init__(self, listings: ListingRepository, agents: AgentRepository) -> None:
        self._listings = listings
        self._agents = agents

    async def create(
        self, tx: Transaction, caller: Principal, columns: Mapping[str, Any]
    ) -> Listing:
        """A draft of the caller's own."""
        if caller.agent_id is None:
            raise PermissionDenied("Only an agent may list a home.")
        check_consistent({**dict.fromkeys(Listing._fields), **columns}, columns, today())
        agent = await self._agents.kept(tx, caller.agent_id)
        ownership = {
            "list_agent_id": agent.id,
            "list_office_id": agent.office_id,
            "standard_status": StandardStatus.INCOMPLETE,
        }
        return await self._listings.add(tx, {**columns, **ownership}, caller.subject)

    async def get(self, caller: Principal | None, listing_id: uuid.UUID) -> Listing:
        """The listing, if `caller` may see it; raises NotFound."""
        listing = await self._listings.get(listing_id)
        if not listing.is_public and not _sees_all_of(caller, listing):
            raise not_found()
        return listing

    async def public(self, listing_ids: Sequence[uuid.UUID]) -> list[Listing]:
        """Those of the listings that everybody may see, in no particular order."""
        return await self._listings.those_in([*PUBLIC], listing_ids)

    async def owners(self, listing_ids: Sequence[uuid.UUID]) -> list[Owner]:
        """Who is to get enquiries about those of the listings that exist, in no particular order."""
        return await self._listings.owners(listing_ids)

    async def history(
        self,
        caller: Principal | None,
        listing_id: uuid.UUID,
        *,
        before: uuid.UUID | None,
        limit: int,
    ) -> list[Change]:
        """A page of the history of a listing that `caller` may see; raises NotFound."""
        listing, changes = await self._listings.history(listing_id, before=before, limit=limit)
        if not listing.is_public and not _sees_all_of(caller, listing):
            raise not_found()
        return changes

    async def update(
        self,
        tx: Transaction,
        caller: Principal,
        listing_id: uuid.UUID,
        columns: Mapping[str, Any],
        expected_version: int | None,
    ) -> Listing:
        """Change a listing of the caller's, and tell the other services what changed."""
        before, _ = await self._own(tx, caller, listing_id, expected_version)
        changes = changes_of(before, columns)
        if not changes:
            return before
        wanted = before._replace(**changes)
        check_changeable(before, wanted)
        check_consistent(wanted._asdict(), changes, today())
        [after] = await self._listings.change(tx, [before], changes, caller.subject)
        publish_change(tx, before, after, changes)
        return after

    async def delete(
        self,
        tx: Transaction,
        caller: Principal,
        listing_id: uuid.UUID,
        expected_version: int | None,
    ) -> None:
        """Delete a draft of the caller's; raises Conflict for what was published."""
        listing, _ = await self._own(tx, caller, listing_id, expected_version)
        if listing.standard_status != StandardStatus.INCOMPLETE:
            raise Conflict(
                f"Only an incomplete listing can be deleted; this one is {listing.standard_status}."
            )
        await self._listings.delete(tx, listing)

    async def set_status(
        self,
        tx: Transaction,
        caller: Principal,
        listing_id: uuid.UUID,
        status: str,
        *,
        close_price: int | None,
        close_date: date | None,
    ) -> Listing:
        """Move a listing of the caller's."""
        check_close(status, close_price, close_date, today())
        # The agent before the listing, as her suspension takes them, so that the two can't wait for each other.
        agent = (
            await self._agents.kept(tx, await self._listings.agent_of(tx, listing_id))
            if status in ANNOUNCED
            else None
        )
        listing, movers = await self._own(tx, caller, listing_id)
        check_move(listing.standard_status, status, movers)
        if agent is not None:
            check_seller(agent, today())
        if status == StandardStatus.ACTIVE:
            check_publishable(listing, today())
        closing = (
            {"close_price": close_price, "close_date": close_date}
            if status == StandardStatus.CLOSED
            else {}
        )
        [after] = await self._listings.move(tx, [listing], status, caller.subject, closing=closing)
        publish_move(tx, listing, after)
        return after

    async def relist(self, tx: Transaction, caller: Principal, listing_id: uuid.UUID) -> Listing:
        """A draft that lists the caller's expired or canceled listing again; raises AlreadyExists for a second one."""
        agent = await self._agents.kept(tx, await self._listings.agent_of(tx, listing_id))
        old, movers = await self._own(tx, caller, listing_id)
        check_relistable(old)
        if Mover.AGENT not in movers and agent.office_id != old.list_office_id:
            raise Conflict("Its agent has left your office: list the home anew.")
        again = {name: getattr(old, name) for name in SAID if name not in _OF_THE_MANDATE}
        return await self._listings.add(
            tx,
            {
                **again,
                "list_agent_id": agent.id,
                "list_office_id": agent.office_id,
                "standard_status": StandardStatus.INCOMPLETE,
                "relist_of": old.id,
                "earlier_days_on_market": old.cumulative_days_on_market(datetime.now(UTC)) or 0,
            },
            caller.subject,
        )

    async def duplicates(self, caller: Principal, listing_id: uuid.UUID) -> list[Duplicate]:
        """What may be the same home as a listing that `caller` sees all of; raises NotFound."""
        if not _sees_all_of(caller, await self._listings.get(listing_id)):
            raise not_found()
        return await self._listings.duplicates(listing_id)

    async def open_due(self, tx: Transaction) -> int:
        """Make active what was to become so by today; how many were looked at, BATCH at most.

        What can't be published stays as it is, and its history says why; it becomes active when somebody sees to it.
        """
        day = today()
        due = await self._listings.due(tx, day, BATCH)
        agents = await self._agents.kept_all(tx, {agent_id for _, agent_id in due})
        found = await self._listings.locked_due(tx, [listing_id for listing_id, _ in due], day)
        ready = []
        for listing in found:
            obstacle = _obstacle(listing, agents[listing.list_agent_id], day)
            if obstacle is None:
                ready.append(listing)
                continue
            changes = {"activation_date": None}
            [after] = await self._listings.change(tx, [listing], changes, CLOCK, obstacle.message)
            publish_change(tx, listing, after, changes)
        await self._move(tx, ready, StandardStatus.ACTIVE, CLOCK, "activation_date")
        return len(found)

    async def expire(self, tx: Transaction) -> int:
        """End listings whose mandate ran out; how many, BATCH at most."""
        found = await self._listings.locked_past_mandate(tx, today(), BATCH)
        await self._move(tx, found, StandardStatus.EXPIRED, CLOCK, "expiration_date")
        return len(found)

    async def leave_market(
        self, tx: Transaction, agent_id: uuid.UUID, changed_by: str, reason: str
    ) -> bool:
        """Withdraw what an agent who may not sell any more has on the market or on hold, BATCH at most; whether that
        may not have been all.
        """
        target = StandardStatus.WITHDRAWN
        found = await self._listings.locked_of_agent(
            tx, agent_id, sources(target, Mover.SUSPENSION), BATCH
        )
        await self._move(tx, found, target, changed_by, reason)
        return len(found) == BATCH

    async def leave_with_project(self, tx: Transaction, project_id: uuid.UUID, reason: str) -> None:
        """Withdraw the listings of a project whose registration ran out."""
        target = StandardStatus.WITHDRAWN
        found = await self._listings.locked_of_project(tx, project_id, sources(target, Mover.LAPSE))
        await self._move(tx, found, target, PROJECTS, reason)

    async def follow_agent(
        self, tx: Transaction, agent_id: uuid.UUID, office_id: uuid.UUID | None, changed_by: str
    ) -> None:
        """Take what an agent lists, and is not over, into the office that she belongs to now, if any.

        What the office has on the market already is withdrawn: it has one live listing of a home.
        """
        if office_id is not None:
            beside = await self._listings.locked_beside(tx, agent_id, office_id)
            await self._move(
                tx, beside, StandardStatus.WITHDRAWN, changed_by, "agent.office_changed"
            )
        found = await self._listings.locked_of_agent(tx, agent_id, NOT_OVER)
        if found:
            changes = {"list_office_id": office_id}
            changed = await self._listings.change(tx, found, changes, changed_by)
            for before, after in zip(found, changed, strict=True):
                publish_change(tx, before, after, changes)

    async def follow_unit(
        self, tx: Transaction, unit_id: uuid.UUID, status: StandardStatus, reason: str
    ) -> None:
        """Bring the listings of a unit to `status`, but those that people put on hold or made pending."""
        found = [
            listing
            for listing in await self._listings.locked_on_unit(
                tx, unit_id, sources(status, Mover.UNIT)
            )
            if listing.moved_by_unit or listing.standard_status not in _MOVED_BY_PEOPLE_ALONE
        ]
        await self._move(
            tx, found, status, PROJECTS, reason, by_unit=status != StandardStatus.ACTIVE
        )

    async def _move(
        self,
        tx: Transaction,
        found: Sequence[Listing],
        status: StandardStatus,
        changed_by: str,
        reason: str,
        *,
        by_unit: bool = False,
    ) -> None:
        """Move listings, which are locked, and tell the other services."""
        if found:
            moved = await self._listings.move(
                tx, found, status, changed_by, reason, by_unit=by_unit
            )
            for before, after in zip(found, moved, strict=True):
                publish_move(tx, before, after)

    async def _own(
        self,
        tx: Transaction,
        caller: Principal,
        listing_id: uuid.UUID,
        expected_version: int | None = None,
    ) -> tuple[Listing, frozenset[Mover]]:
        """The listing, locked, and what the caller is to it; raises NotFound when that is nothing."""
        listing = await self._listings.locked(tx, listing_id)
        movers = _movers(caller, listing)
        if not movers:
            raise not_found()
        check_version(expected_version, listing.version)
        return listing, movers


def check_seller(agent: Agent, day: date) -> None:
    """Raises Conflict unless `agent` may publish."""
    if agent.withdrawal is not None:
        raise Conflict(
            "The listings of its agent are leaving the market just now: try again in a minute.",
            reason="AGENT_NOT_ACTIVE",
        )
    if not agent.may_sell_on(day):
        raise Conflict(
            "The listing's agent is not active, or her RERA registration is not in date.",
            reason="AGENT_NOT_ACTIVE",
        )


def _obstacle(listing: Listing, agent: Agent, day: date) -> Conflict | None:
    """Why `listing` can't be published, if so."""
    try:
        check_seller(agent, day)
        check_publishable(listing, day)
    except Conflict as error:
        return error
    return None


def _movers(caller: Principal, listing: Listing) -> frozenset[Mover]:
    is_agent = "agent" in caller.roles and caller.agent_id == listing.list_agent_id
    office_id = caller.administered_office_id
    is_broker = office_id is not None and office_id == listing.list_office_id
    return frozenset(
        mover
        for mover, applies in ((Mover.AGENT, is_agent), (Mover.OFFICE_ADMIN, is_broker))
        if applies
    )


def _sees_all_of(caller: Principal | None, listing: Listing) -> bool:
    return caller is not None and (caller.is_admin or bool(_movers(caller, listing)))
