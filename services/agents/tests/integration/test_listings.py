"""Listings over a real socket: their life from draft to closed, who sees and moves them, and what others are told."""

import asyncio
import uuid
from datetime import date
from itertools import pairwise
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.field_mask_pb2 import FieldMask
from sqlalchemy import select, text
from sqlalchemy.exc import ProgrammingError

from chassis import tables
from chassis.errors import (
    Conflict,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
)
from chassis.ids import new_id
from devstack.testing_service import Running, Tokens
from propmubi.agents.v1 import agents_pb2
from propmubi.agents.v1 import listings_pb2 as pb
from propmubi.agents.v1.agents_pb2_grpc import AgentServiceStub
from propmubi.agents.v1.events_pb2 import (
    ListingPriceChanged,
    ListingPublished,
    ListingStatusChanged,
)
from propmubi.agents.v1.listings_pb2_grpc import ListingServiceStub
from services.agents.tests.integration.conftest import Lister
from services.agents.tests.unit.test_listing_domain import BY_PEOPLE


async def events(agents: Running, listing_id: str) -> list[tuple[str, AnyMessage]]:
    query = (
        select(tables.outbox.c.name, tables.outbox.c.payload)
        .where(tables.outbox.c.aggregate_id == uuid.UUID(listing_id))
        .order_by(tables.outbox.c.sequence)
    )
    rows = await agents.database.fetch(query)
    return [(row["name"], AnyMessage.FromString(row["payload"])) for row in rows]


def name_of(status: "pb.StandardStatus.ValueType") -> str:
    return pb.StandardStatus.Name(status).removeprefix("STANDARD_STATUS_").lower()


async def names(agents: Running, listing_id: str) -> list[str]:
    return [name for name, _ in await events(agents, listing_id)]


async def get(stub: Any, listing: pb.Listing) -> pb.Listing:
    found: pb.Listing = await stub.GetListing(pb.GetListingRequest(listing_id=listing.id))
    return found


async def history(stub: Any, listing: pb.Listing) -> list[tuple[str, str, str]]:
    answer = await stub.ListListingHistory(
        pb.ListListingHistoryRequest(listing_id=listing.id, page_size=100)
    )
    return [(change.field, change.from_value, change.to_value) for change in answer.changes]


def patch(listing: pb.Listing, version: int | None = None, /, **changes: Any) -> Any:
    """A change of the fields named; None clears one."""
    given = {name: value for name, value in changes.items() if value is not None}
    return pb.UpdateListingRequest(
        listing_id=listing.id,
        listing=pb.Listing(**given),
        update_mask=FieldMask(paths=list(changes)),
        expected_version=version,
    )


async def test_from_a_draft_to_a_closed_sale(agents: Running, asha: Any, public: Any) -> None:
    draft = await asha.draft(media=[pb.Media(url="https://m.in/1.jpg", kind=pb.MEDIA_KIND_PHOTO)])
    assert draft.standard_status == pb.STANDARD_STATUS_INCOMPLETE
    assert draft.listing_number == "PM-000001"
    assert draft.list_agent_id == str(asha.agent_id)
    assert draft.list_office_id == str(asha.office_id)
    assert not draft.HasField("on_market_date")
    with pytest.raises(NotFound):
        await get(public, draft)
    active = await asha.move(draft, "active")
    assert (active.version, active.original_list_price) == (2, 8_500_000)
    assert active.days_on_market == 0
    assert await get(public, active) == active
    assert active.media == draft.media
    assert active.address == draft.address
    cheaper = await asha.listings.UpdateListing(patch(active, list_price=8_000_000))
    assert (cheaper.list_price, cheaper.original_list_price) == (8_000_000, 8_500_000)
    await asha.move(active, "pending")
    with pytest.raises(InvalidArgument) as refused:
        await asha.move(active, "closed")
    assert {v.field for v in refused.value.violations} == {"close_price", "close_date"}
    closed = await asha.move(active, "closed", close_price=7_900_000, close_date="2026-01-31")
    assert (closed.close_price, closed.close_date) == (7_900_000, "2026-01-31")
    with pytest.raises(NotFound):
        await get(public, active)
    assert await history(asha.listings, active) == [
        ("standard_status", "pending", "closed"),
        ("standard_status", "active", "pending"),
        ("list_price", "8500000", "8000000"),
        ("standard_status", "incomplete", "active"),
        ("list_price", "", "8500000"),
        ("standard_status", "", "incomplete"),
    ]
    told = await events(agents, active.id)
    assert [name for name, _ in told] == [
        "listing.status_changed",
        "listing.published",
        "listing.price_changed",
        "listing.status_changed",
        "listing.status_changed",
    ]
    published, price_changed = ListingPublished(), ListingPriceChanged()
    assert told[1][1].Unpack(published)
    assert published.listing == active
    assert told[2][1].Unpack(price_changed)
    assert (price_changed.from_price, price_changed.listing) == (8_500_000, cheaper)


async def test_publishing_names_all_that_is_missing(agents: Running, asha: Any) -> None:
    draft = await asha.listings.CreateListing(
        pb.CreateListingRequest(
            listing=pb.Listing(
                listing_type=pb.LISTING_TYPE_SALE,
                property_type=pb.PROPERTY_TYPE_APARTMENT,
                possession_status=pb.POSSESSION_STATUS_UNDER_CONSTRUCTION,
            )
        )
    )
    with pytest.raises(Conflict) as refused:
        await asha.move(draft, "active")
    assert refused.value.reason == "LISTING_INCOMPLETE"
    assert {violation.field for violation in refused.value.violations} == {
        "list_price",
        "carpet_area",
        "address",
        "rera_project_no",
    }
    assert await names(agents, draft.id) == []
    assert (await get(asha.listings, draft)).version == 1


@pytest.mark.parametrize(
    "changes", [{"status": "suspended"}, {"rera_valid_to": date(2020, 1, 1)}], ids=str
)
async def test_only_an_active_agent_in_date_publishes(
    make_lister: Any, changes: dict[str, Any]
) -> None:
    lister = await make_lister(**changes)
    draft = await lister.draft()
    for status in ("active", "coming_soon"):
        with pytest.raises(Conflict) as refused:
            await lister.move(draft, status)
        assert refused.value.reason == "AGENT_NOT_ACTIVE"


async def test_an_illegal_move_names_both_statuses(asha: Any) -> None:
    with pytest.raises(Conflict) as refused:
        await asha.move(await asha.draft(), "pending")
    assert refused.value.reason == "ILLEGAL_TRANSITION"
    assert refused.value.message == "A listing can't go from incomplete to pending."


async def test_the_offices_admin_does_what_its_agent_may_and_cancels(
    asha: Any, broker: Any, make_lister: Any, agents: Running, tokens: Tokens
) -> None:
    listing = await asha.publish()
    with pytest.raises(PermissionDenied):
        await asha.move(listing, "canceled")
    stranger = await make_lister(office_id=new_id())
    elsewhere = ListingServiceStub(
        agents.caller(tokens.person("office_admin", office_id=stranger.office_id))
    )
    cancel = pb.SetListingStatusRequest(
        listing_id=listing.id, standard_status=pb.STANDARD_STATUS_CANCELED
    )
    for stub in (stranger.listings, elsewhere):
        with pytest.raises(NotFound):
            await stub.SetListingStatus(cancel)
        with pytest.raises(NotFound):
            await stub.UpdateListing(patch(listing, bhk=3))
    changed = await broker.UpdateListing(patch(listing, bhk=3))
    assert changed.bhk == 3
    canceled = await broker.SetListingStatus(cancel)
    assert canceled.standard_status == pb.STANDARD_STATUS_CANCELED


async def test_what_is_not_public_is_seen_by_its_agent_her_office_and_administrators(
    agents: Running, tokens: Tokens, asha: Any, broker: Any, make_lister: Any, public: Any
) -> None:
    draft = await asha.draft()
    stranger = (await make_lister()).listings
    admin = ListingServiceStub(agents.caller(tokens.admin()))
    for stub in (asha.listings, broker, admin):
        assert await get(stub, draft) == draft
        assert await history(stub, draft)
    for stub in (public, stranger):
        with pytest.raises(NotFound):
            await get(stub, draft)
        with pytest.raises(NotFound):
            await history(stub, draft)
    with pytest.raises(NotFound):
        await public.GetListing(pb.GetListingRequest(listing_id=str(new_id())))


async def test_fifty_moves_at_once_leave_a_legal_history_and_lose_no_event(
    agents: Running, asha: Any, broker: Any
) -> None:
    """Her agent and the admin of her office at once; each moves from a version, and no two from the same one."""
    listing = await asha.publish()
    office = Lister(asha.agent_id, asha.office_id, "", broker)
    targets = ["pending", "active", "hold", "active_under_contract", "withdrawn"] * 5
    answers = await asyncio.gather(
        *(mover.move(listing, target) for target in targets for mover in (asha, office)),
        return_exceptions=True,
    )
    moved = [answer for answer in answers if isinstance(answer, pb.Listing)]
    assert len(answers) == 50
    assert all(isinstance(answer, (pb.Listing, Conflict)) for answer in answers)
    assert sorted(answer.version for answer in moved) == list(range(3, 3 + len(moved)))
    changes = [
        (before, after)
        for field, before, after in reversed(await history(asha.listings, listing))
        if field == "standard_status"
    ]
    _drafted, _published, *later = changes
    for (_, after), (before, _) in pairwise(changes):
        assert after == before
    for before, after in later:
        assert after in BY_PEOPLE[before].split()
    by_version = sorted(moved, key=lambda answer: int(answer.version))
    assert [name_of(answer.standard_status) for answer in by_version] == [to for _, to in later]
    told = []
    for name, payload in await events(agents, listing.id):
        if name == "listing.status_changed":
            event = ListingStatusChanged()
            payload.Unpack(event)
            told.append((name_of(event.from_status), name_of(event.to_status)))
        else:
            assert (name, told[-1][1]) == ("listing.published", "active")
    assert told == changes[1:]


async def test_suspending_an_agent_takes_her_listings_off_the_market(
    agents: Running, tokens: Tokens, asha: Any, make_lister: Any, public: Any
) -> None:
    draft = await asha.draft()
    on_market = [await asha.publish() for _ in range(3)]
    await asha.move(on_market[0], "pending")
    await asha.move(on_market[1], "hold")
    other = await (await make_lister()).publish()
    admin = AgentServiceStub(agents.caller(tokens.admin()))
    await admin.SuspendAgent(
        agents_pb2.SuspendAgentRequest(agent_id=str(asha.agent_id), reason="complaint")
    )
    for listing in on_market:
        withdrawn = await get(asha.listings, listing)
        assert withdrawn.standard_status == pb.STANDARD_STATUS_WITHDRAWN
        assert (await names(agents, listing.id))[-1] == "listing.status_changed"
    assert await get(asha.listings, draft) == draft
    assert await get(public, other) == other
    with pytest.raises(Conflict):
        await asha.move(on_market[2], "active")
    await admin.ReinstateAgent(agents_pb2.ReinstateAgentRequest(agent_id=str(asha.agent_id)))
    await asha.move(on_market[2], "active")


async def test_suspending_and_publishing_at_once_leave_nothing_on_the_market(
    agents: Running, tokens: Tokens, asha: Any
) -> None:
    drafts = [await asha.draft() for _ in range(8)]
    admin = AgentServiceStub(agents.caller(tokens.admin()))
    suspension = agents_pb2.SuspendAgentRequest(agent_id=str(asha.agent_id), reason="complaint")
    answers = await asyncio.gather(
        *(asha.move(draft, "active") for draft in drafts[:4]),
        admin.SuspendAgent(suspension),
        *(asha.move(draft, "active") for draft in drafts[4:]),
        return_exceptions=True,
    )
    refused = [answer for answer in answers if isinstance(answer, Exception)]
    assert all(isinstance(answer, Conflict) for answer in refused)
    for draft in drafts:
        assert (await get(asha.listings, draft)).standard_status in {
            pb.STANDARD_STATUS_INCOMPLETE,
            pb.STANDARD_STATUS_WITHDRAWN,
        }


async def test_days_on_market_stop_when_it_leaves_the_market_and_go_on_when_it_is_back(
    agents: Running, asha: Any
) -> None:
    """RESO counts the days on which it is active or under contract."""

    async def ten_days_pass() -> None:
        past = "- interval '10 days 1 second'"
        moved = f"on_market_date = on_market_date {past}, off_market_date = off_market_date {past}"
        async with agents.database.transaction() as tx:
            await tx.execute(text(f"update listings set {moved}, version = version + 1"))

    async def counted() -> tuple[int, int]:
        listing = await get(asha.listings, draft)
        request = pb.ListListingsRequest(
            standard_status=[listing.standard_status],
            filters=pb.ListingFilters(list_agent_id=str(asha.agent_id)),
        )
        [shown] = (await asha.listings.ListListings(request)).listings
        return listing.days_on_market, shown.days_on_market

    draft, days = await asha.draft(), 0
    for status, passing in (
        ("coming_soon", 0),
        ("active", 10),
        ("active_under_contract", 10),
        ("pending", 0),
        ("active", 10),
        ("hold", 0),
        ("withdrawn", 0),
        ("active", 10),
        ("withdrawn", 0),
    ):
        await asha.move(draft, status)
        await ten_days_pass()
        days += passing
        assert await counted() == (days, days), status


async def test_services_ask_who_owns_listings(
    agents: Running, tokens: Tokens, asha: Any, public: Any
) -> None:
    crm = ListingServiceStub(agents.caller(tokens.service("crm")))
    draft, published = await asha.draft(), await asha.publish()
    request = pb.BatchGetListingOwnersRequest(
        listing_ids=[draft.id, published.id, draft.id, str(new_id())]
    )
    found = (await crm.BatchGetListingOwners(request)).owners
    owners = {owner.listing_id: owner for owner in found}
    assert len(found) == len(owners) == 2
    assert owners[published.id].public
    owner = owners[draft.id]
    assert not owner.public
    assert owner.agent_id == str(asha.agent_id)
    assert owner.office_id == str(asha.office_id)
    assert owner.agent_status == agents_pb2.AGENT_STATUS_ACTIVE
    assert owner.member_mobile_phone == "+919876543210"
    assert owner.summary == "2 BHK apartment for sale in Wakad, Pune"
    for listing_ids in ([], ["x"], [draft.id] * 65):
        with pytest.raises(InvalidArgument):
            await crm.BatchGetListingOwners(
                pb.BatchGetListingOwnersRequest(listing_ids=listing_ids)
            )
    with pytest.raises(Unauthenticated):
        await public.BatchGetListingOwners(request)
    with pytest.raises(PermissionDenied):
        await asha.listings.BatchGetListingOwners(request)


async def test_pages_of_history(asha: Any, public: Any) -> None:
    listing = await asha.publish()
    for price in range(1, 8):
        await asha.listings.UpdateListing(patch(listing, list_price=price))
    request = pb.ListListingHistoryRequest(listing_id=listing.id, page_size=4)
    seen: list[str] = []
    while True:
        page = await public.ListListingHistory(request)
        seen += [change.to_value for change in page.changes]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert seen == ["7", "6", "5", "4", "3", "2", "1", "active", "8500000", "incomplete"]


async def test_history_is_written_once_and_for_all(agents: Running, asha: Any) -> None:
    await asha.publish()
    for statement in ("update listing_history set reason = 'x'", "delete from listing_history"):
        with pytest.raises(ProgrammingError, match="permission denied"):
            async with agents.database.transaction() as tx:
                await tx.execute(text(statement))


async def test_a_buyer_drafts_nothing(agents: Running, tokens: Tokens) -> None:
    buyer = ListingServiceStub(agents.caller(tokens.person()))
    with pytest.raises(PermissionDenied):
        await buyer.CreateListing(pb.CreateListingRequest())


async def test_a_batch_holds_what_everybody_may_see_whoever_asks(asha: Any, public: Any) -> None:
    draft = await asha.draft()
    active = await asha.move(await asha.draft(), "active")
    request = pb.BatchGetListingsRequest(listing_ids=[active.id, draft.id, str(new_id())])
    for caller in (public, asha.listings):
        assert list((await caller.BatchGetListings(request)).listings) == [
            await get(public, active)
        ]
