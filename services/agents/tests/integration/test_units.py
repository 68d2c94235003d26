"""A unit's listings follow the unit: projects' events through a real stream, in order and once each."""

import asyncio
import uuid
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from sqlalchemy import select

from agents_service.listings.models import listing_history
from chassis.ids import new_id
from chassis.redis import stream_of
from chassis.tables import inbox
from devstack.testing_service import Running
from propmubi.agents.v1 import listings_pb2 as pb
from propmubi.common.v1.event_pb2 import Event
from propmubi.projects.v1.events_pb2 import UnitBooked, UnitHeld, UnitReleased

SECONDS = 10.0


class Unit:
    """A unit of a project, to which things happen."""

    def __init__(self, agents: Running) -> None:
        self.id = new_id()
        self._agents = agents
        self._sequence = 0

    async def tell(self, payload: Message) -> None:
        """Publish `payload` about this unit, twice as a relay may, and wait until it was applied."""
        self._sequence += 1
        event = Event(
            id=str(new_id()),
            aggregate_id=str(self.id),
            sequence=self._sequence,
            payload=AnyMessage(),
        )
        event.payload.Pack(payload)
        for _ in range(2):
            await self._agents.service.redis.xadd(
                stream_of("projects"), {"event": event.SerializeToString()}
            )
        async with asyncio.timeout(SECONDS):
            while not await self._applied():  # noqa: ASYNC110  The inbox alone tells.
                await asyncio.sleep(0.02)

    async def _applied(self) -> bool:
        query = select(inbox.c.sequence).where(inbox.c.aggregate_id == self.id)
        row = await self._agents.database.fetch_one(query)
        return row is not None and row["sequence"] == self._sequence

    async def held(self) -> None:
        await self.tell(UnitHeld(unit_id=str(self.id)))

    async def booked(self) -> None:
        await self.tell(UnitBooked(unit_id=str(self.id)))

    async def released(self) -> None:
        await self.tell(UnitReleased(unit_id=str(self.id)))


async def status_of(asha: Any, listing: pb.Listing) -> str:
    found = await asha.listings.GetListing(pb.GetListingRequest(listing_id=listing.id))
    return pb.StandardStatus.Name(found.standard_status).removeprefix("STANDARD_STATUS_").lower()


def of(unit: Unit) -> dict[str, Any]:
    return {
        "unit_id": str(unit.id),
        "possession_status": pb.POSSESSION_STATUS_READY_TO_MOVE,
    }


async def test_a_listing_is_held_booked_and_released_with_its_unit(
    agents: Running, asha: Any
) -> None:
    unit = Unit(agents)
    listing = await asha.publish(**of(unit))
    elsewhere = await asha.publish(**of(Unit(agents)))
    await unit.held()
    assert await status_of(asha, listing) == "hold"
    await unit.released()
    assert await status_of(asha, listing) == "active"
    await unit.held()
    await unit.booked()
    assert await status_of(asha, listing) == "pending"
    await unit.released()
    assert await status_of(asha, listing) == "active"
    assert (await status_of(asha, elsewhere)) == "active"
    rows = await agents.database.fetch(moves_of(listing))
    assert [tuple(row) for row in rows][2:] == [
        ("hold", "service:projects", "unit.held"),
        ("active", "service:projects", "unit.released"),
        ("hold", "service:projects", "unit.held"),
        ("pending", "service:projects", "unit.booked"),
        ("active", "service:projects", "unit.released"),
    ]


async def test_what_people_put_on_hold_stays_so(agents: Running, asha: Any) -> None:
    unit = Unit(agents)
    draft = await asha.draft(**of(unit))
    held = await asha.move(await asha.publish(**of(unit)), "hold")
    for happens in (unit.held, unit.booked, unit.released):
        await happens()
        assert await status_of(asha, held) == "hold"
        assert await status_of(asha, draft) == "incomplete"


async def test_who_takes_a_held_listing_back_keeps_it(agents: Running, asha: Any) -> None:
    unit = Unit(agents)
    listing = await asha.publish(**of(unit))
    await unit.held()
    await asha.move(listing, "withdrawn")
    await unit.released()
    assert await status_of(asha, listing) == "withdrawn"


def moves_of(listing: pb.Listing) -> Any:
    return (
        select(listing_history.c.to_value, listing_history.c.changed_by, listing_history.c.reason)
        .where(
            listing_history.c.listing_id == uuid.UUID(listing.id),
            listing_history.c.field == "standard_status",
        )
        .order_by(listing_history.c.id)
    )
