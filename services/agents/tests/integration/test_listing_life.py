"""The life of a listing beyond what people do by hand: clock, lapsed projects, listing again, one home listed twice."""

import asyncio
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text

from agents_service.agents.repository import AgentRepository
from agents_service.agents.service import AgentService
from agents_service.listings.domain import Mover, StandardStatus
from agents_service.listings.repository import ListingRepository
from agents_service.listings.service import ListingService
from chassis.database import Transaction
from chassis.errors import (
    AlreadyExists,
    Conflict,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
)
from chassis.ids import new_id
from chassis.india import today
from chassis.timers import sweep
from devstack.testing_service import Running, Tokens
from propmubi.agents.v1 import listings_pb2 as pb
from propmubi.agents.v1.listings_pb2_grpc import ListingServiceStub
from propmubi.projects.v1.events_pb2 import ProjectLapsed
from services.agents.tests.integration.conftest import WAKAD, Lister, MakeLister
from services.agents.tests.integration.test_listings import get, history, names, patch
from services.agents.tests.integration.test_units import Unit, status_of
from services.agents.tests.unit.test_listing_domain import BY_ITSELF, expected

YESTERDAY = today() - timedelta(days=1)
FLAT = pb.Address(building_name="Tower A", unit_number="A-1203")
FLAT.MergeFrom(WAKAD)


async def put(agents: Running, what: str, **values: Any) -> None:
    """What no call does, such as letting time pass."""
    async with agents.database.transaction() as tx:
        await tx.execute(text(f"update {what}"), values)


async def swept(
    agents: Running, some: Callable[[ListingService], Callable[[Transaction], Awaitable[int]]]
) -> None:
    """Two replicas sweep at once."""
    database = agents.database
    work = some(ListingService(ListingRepository(database), AgentRepository(database)))
    await asyncio.gather(sweep(database, work)(), sweep(database, work)())


def closing(status: str) -> dict[str, Any]:
    return {"close_price": 1, "close_date": "2026-01-31"} if status == "closed" else {}


async def test_every_move_from_every_status_by_every_role_is_as_the_domain_has_it(
    agents: Running, tokens: Tokens, asha: Lister, make_lister: MakeLister
) -> None:
    listing = await asha.draft()
    colleague, other = await make_lister(office_id=asha.office_id), await make_lister()
    own, broker, *strangers = (
        Lister(asha.agent_id, None, token or "", ListingServiceStub(agents.caller(token)))
        for token in (
            asha.token,
            tokens.person("office_admin", office_id=asha.office_id),
            colleague.token,
            other.token,
            tokens.person("office_admin", office_id=new_id()),
            tokens.agent(office_id=asha.office_id),
            tokens.person(),
            tokens.builder(),
            tokens.admin(),
            tokens.service("crm"),
            None,
        )
    )
    refusals: Counter[type[Exception]] = Counter()
    for before in StandardStatus:
        for after in StandardStatus:
            for mover, role in ((own, Mover.AGENT), (broker, Mover.OFFICE_ADMIN)):
                await put(
                    agents,
                    "listings set standard_status = :status, on_market_date = now() where id = :id",
                    status=before,
                    id=uuid.UUID(listing.id),
                )
                if mover is own:
                    answers = await asyncio.gather(
                        *(each.move(listing, after, **closing(after)) for each in strangers),
                        return_exceptions=True,
                    )
                    refusals.update(map(type, answers))
                refused = expected(before, after, role)
                if refused is None:
                    await mover.move(listing, after, **closing(after))
                else:
                    with pytest.raises(refused):
                        await mover.move(listing, after, **closing(after))
                is_now = before if refused else after
                assert await status_of(asha, listing) == is_now, (before, after, role)
    assert refusals == {NotFound: 400, PermissionDenied: 400, Unauthenticated: 100}


async def test_what_happens_moves_listings_from_every_status_as_the_domain_has_it(
    agents: Running, asha: Lister
) -> None:
    """The clock, their unit, the suspension of their agent and the lapse of their project."""
    unit_id, project_id = new_id(), new_id()
    drafts = {
        status: await asha.draft(
            unit_id=str(unit_id),
            project_id=str(project_id),
            possession_status=pb.POSSESSION_STATUS_READY_TO_MOVE,
        )
        for status in StandardStatus
    }
    database = agents.database
    service = ListingService(ListingRepository(database), AgentRepository(database))
    target = StandardStatus
    happenings: list[tuple[Mover, StandardStatus, Callable[[Transaction], Awaitable[object]]]] = [
        (Mover.CLOCK, target.ACTIVE, service.open_due),
        (Mover.CLOCK, target.EXPIRED, service.expire),
        (
            Mover.SUSPENSION,
            target.WITHDRAWN,
            lambda tx: service.leave_market(tx, asha.agent_id, "x", "x"),
        ),
        (Mover.LAPSE, target.WITHDRAWN, lambda tx: service.leave_with_project(tx, project_id, "x")),
        *(
            (Mover.UNIT, to, partial(service.follow_unit, unit_id=unit_id, status=to, reason="x"))
            for to in (target.HOLD, target.PENDING, target.ACTIVE)
        ),
    ]
    assert {(mover, to) for mover, to, _ in happenings} == {
        (mover, to) for mover, moves in BY_ITSELF.items() for _, to in moves
    }
    for mover, to, happens in happenings:
        for status, draft in drafts.items():
            await put(
                agents,
                # Each is another office's, of which it is the only one of the home.
                "listings set standard_status = :status, moved_by_unit = true, on_market_date = now(),"
                " list_office_id = gen_random_uuid(), activation_date = current_date - 1, expiration_date = :ends"
                " where id = :id",
                status=status,
                ends=YESTERDAY if to is target.EXPIRED else None,
                id=uuid.UUID(draft.id),
            )
        async with database.transaction() as tx:
            await happens(tx)
        for status, draft in drafts.items():
            moves = (status, to) in BY_ITSELF[mover]
            assert await status_of(asha, draft) == (to if moves else status), (mover, status, to)


async def test_what_comes_soon_becomes_active_on_its_day_and_once(
    agents: Running, asha: Lister
) -> None:
    soon = await asha.move(await asha.draft(activation_date=today().isoformat()), "coming_soon")
    later = await asha.move(
        await asha.draft(activation_date=(today() + timedelta(days=1)).isoformat()), "coming_soon"
    )
    await swept(agents, lambda listings: listings.open_due)
    active = await get(asha.listings, soon)
    assert active.standard_status == pb.STANDARD_STATUS_ACTIVE
    assert active.HasField("on_market_date")
    assert (await get(asha.listings, later)).standard_status == pb.STANDARD_STATUS_COMING_SOON
    assert await names(agents, soon.id) == [
        "listing.status_changed",
        "listing.status_changed",
        "listing.published",
    ]


async def test_what_can_not_be_published_on_its_day_waits_for_somebody_to_see_to_it(
    agents: Running, asha: Lister
) -> None:
    draft = await asha.draft(activation_date=today().isoformat())
    soon = await asha.move(draft, "coming_soon")
    await asha.listings.UpdateListing(patch(soon, list_price=None))
    await swept(agents, lambda listings: listings.open_due)
    waiting = await get(asha.listings, soon)
    assert waiting.standard_status == pb.STANDARD_STATUS_COMING_SOON
    assert not waiting.HasField("activation_date")
    [noted] = await agents.database.fetch(
        text("select reason from listing_history where field = 'activation_date'")
    )
    assert "needs to be published" in noted["reason"]


async def test_a_mandate_that_ran_out_ends_its_listing_once(agents: Running, asha: Lister) -> None:
    expiring = [await asha.publish(expiration_date=today().isoformat()) for _ in range(3)]
    await asha.move(expiring[1], "withdrawn")
    await asha.move(expiring[2], "pending")
    await swept(agents, lambda listings: listings.expire)
    assert (await get(asha.listings, expiring[0])).standard_status == pb.STANDARD_STATUS_ACTIVE
    await put(agents, "listings set expiration_date = :day", day=YESTERDAY)
    await swept(agents, lambda listings: listings.expire)
    assert [(await get(asha.listings, each)).standard_status for each in expiring] == [
        pb.STANDARD_STATUS_EXPIRED,
        pb.STANDARD_STATUS_EXPIRED,
        pb.STANDARD_STATUS_PENDING,
    ]
    assert (await names(agents, expiring[0].id))[2:] == ["listing.status_changed"]
    assert (await history(asha.listings, expiring[0]))[0] == (
        "standard_status",
        "active",
        "expired",
    )


async def test_an_expired_listing_is_listed_again_once_and_its_days_go_on(
    agents: Running, asha: Lister, broker: Any, make_lister: MakeLister
) -> None:
    old = await asha.publish(amenities=["lift"], expiration_date=today().isoformat(), address=FLAT)
    request = pb.RelistListingRequest(listing_id=old.id)
    with pytest.raises(Conflict):
        await asha.listings.RelistListing(request)
    await put(
        agents,
        "listings set standard_status = 'expired', on_market_date = now() - interval '40 days',"
        " off_market_date = now() - interval '10 days'",
    )
    with pytest.raises(NotFound):
        await (await make_lister()).listings.RelistListing(request)
    answers = await asyncio.gather(
        *(stub.RelistListing(request) for stub in [asha.listings, broker] * 5),
        return_exceptions=True,
    )
    assert sum(isinstance(answer, AlreadyExists) for answer in answers) == 9
    [new] = [answer for answer in answers if isinstance(answer, pb.Listing)]
    assert new.relist_of == old.id
    assert new.standard_status == pb.STANDARD_STATUS_INCOMPLETE
    assert (new.address, list(new.amenities)) == (FLAT, ["lift"])
    assert new.list_price == old.list_price
    assert not new.HasField("expiration_date")
    assert new.cumulative_days_on_market == 30
    await asha.move(new, "active")
    await put(
        agents,
        "listings set on_market_date = now() - interval '5 days' where relist_of is not null",
    )
    active = await get(asha.listings, new)
    assert (active.days_on_market, active.cumulative_days_on_market) == (5, 35)


async def test_an_office_has_one_live_listing_of_a_home_whoever_is_first(
    agents: Running, asha: Lister, make_lister: MakeLister
) -> None:
    colleague, other = await make_lister(office_id=asha.office_id), await make_lister()
    unit_id = str(new_id())
    fields = {"unit_id": unit_id, "possession_status": pb.POSSESSION_STATUS_READY_TO_MOVE}
    drafts = [await lister.draft(**fields) for lister in [asha, colleague] * 10]
    answers = await asyncio.gather(
        *(
            lister.move(draft, "active")
            for lister, draft in zip([asha, colleague] * 10, drafts, strict=True)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(answer, AlreadyExists) for answer in answers) == 19
    [live] = [answer for answer in answers if isinstance(answer, pb.Listing)]
    await other.publish(**fields)
    await asha.publish(**fields, listing_type=pb.LISTING_TYPE_RENT)
    owner = asha if live.list_agent_id == str(asha.agent_id) else colleague
    await owner.move(live, "withdrawn")
    await asha.publish(**fields)
    with pytest.raises(AlreadyExists):
        await owner.move(live, "active")


async def test_who_enters_an_office_leaves_off_the_market_what_it_has_there(
    agents: Running, asha: Lister, make_lister: MakeLister
) -> None:
    ravi = await make_lister()
    await asha.publish(address=FLAT)
    twice, once = await ravi.publish(address=FLAT), await ravi.publish()
    database = agents.database
    repository = AgentRepository(database)
    members = AgentService(repository, ListingService(ListingRepository(database), repository))
    async with database.transaction() as tx:
        agent = await repository.locked(tx, ravi.agent_id)
        await members.set_office(tx, agent, asha.office_id, "test")
    for listing, status in ((twice, "WITHDRAWN"), (once, "ACTIVE")):
        found = await get(ravi.listings, listing)
        assert found.list_office_id == str(asha.office_id)
        assert found.standard_status == pb.StandardStatus.Value(f"STANDARD_STATUS_{status}")


async def test_an_office_is_shown_what_may_be_the_same_home_in_others(
    agents: Running, tokens: Tokens, asha: Lister, broker: Any, make_lister: MakeLister
) -> None:
    other, third = await make_lister(office_id=new_id()), await make_lister()
    written = pb.Address(building_name="TOWER  a", unit_number="a 1203")
    written.MergeFrom(WAKAD)
    same = await other.publish(address=written, list_price=9_000_000)
    alike = await third.publish(floor=12)
    await third.publish(floor=11)
    await third.draft(floor=12)
    mine = await asha.draft(address=FLAT, floor=12)
    request = pb.ListDuplicatesRequest(listing_id=mine.id)
    admin = ListingServiceStub(agents.caller(tokens.admin()))
    mine_shows, *others_show = [
        (await stub.ListDuplicates(request)).duplicates for stub in (asha.listings, broker, admin)
    ]
    assert others_show == [mine_shows] * 2
    assert [(each.listing_id, each.grounds) for each in mine_shows] == [
        (same.id, pb.DUPLICATE_GROUNDS_SAME_UNIT),
        (alike.id, pb.DUPLICATE_GROUNDS_ALIKE),
    ]
    [first, _] = mine_shows
    assert (first.list_price, first.list_office_id) == (9_000_000, str(other.office_id))
    with pytest.raises(NotFound):
        await third.listings.ListDuplicates(request)


async def test_the_listings_of_a_lapsed_project_leave_the_market(
    agents: Running, asha: Lister
) -> None:
    project = Unit(agents)
    fields = {
        "project_id": str(project.id),
        "possession_status": pb.POSSESSION_STATUS_READY_TO_MOVE,
    }
    active, draft = await asha.publish(**fields), await asha.draft(**fields)
    elsewhere = await asha.publish()
    await project.tell(ProjectLapsed(project_id=str(project.id), builder_id=str(new_id())))
    assert (await get(asha.listings, active)).standard_status == pb.STANDARD_STATUS_WITHDRAWN
    assert (await get(asha.listings, draft)).standard_status == pb.STANDARD_STATUS_INCOMPLETE
    assert (await get(asha.listings, elsewhere)).standard_status == pb.STANDARD_STATUS_ACTIVE
    assert (await names(agents, active.id))[2:] == ["listing.status_changed"]


async def test_the_end_of_a_registration_is_told_before_and_takes_listings_off_the_market(
    agents: Running, make_lister: MakeLister
) -> None:
    soon = await make_lister(rera_valid_to=today() + timedelta(days=29))
    listing = await soon.publish()
    database = agents.database
    repository = AgentRepository(database)
    service = AgentService(repository, ListingService(ListingRepository(database), repository))

    async def watched() -> list[str]:
        for work in (service.warn, service.end_registrations):
            await asyncio.gather(*(sweep(database, work)() for _ in range(2)))
        return await names(agents, str(soon.agent_id))

    warned = ["agent.registration_expiring"]
    assert await watched() == warned
    assert await watched() == warned
    assert (await get(soon.listings, listing)).standard_status == pb.STANDARD_STATUS_ACTIVE
    await put(agents, "agents set rera_valid_to = :day", day=YESTERDAY)
    assert await watched() == warned * 2
    assert await watched() == warned * 2
    assert (await get(soon.listings, listing)).standard_status == pb.STANDARD_STATUS_WITHDRAWN


async def test_a_day_to_become_active_on_is_not_past(asha: Lister) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await asha.draft(activation_date=YESTERDAY.isoformat())
    assert [each.field for each in refused.value.violations] == ["listing.activation_date"]
