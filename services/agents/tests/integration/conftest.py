"""The agents service in this process, an agent who may publish, the homes she lists, and offices."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from pydantic import SecretStr
from sqlalchemy import insert

from agents_service import clients
from agents_service.__main__ import wire
from agents_service.agents.models import agents as agents_table
from agents_service.alerts.repository import AlertRepository
from agents_service.alerts.service import AlertService
from agents_service.listings.models import listings
from agents_service.listings.repository import ListingRepository
from agents_service.settings import AgentsSettings
from chassis import sms
from chassis.ids import new_id
from chassis.rules import message_of
from chassis.sms import SmsSettings, open_sms
from devstack.testing_service import Running, RunService, Tokens
from devstack.testing_sms import Twilio
from propmubi.agents.v1 import listings_pb2 as pb
from propmubi.agents.v1 import offices_pb2
from propmubi.agents.v1.agents_pb2_grpc import AgentServiceStub
from propmubi.agents.v1.listings_pb2_grpc import ListingServiceStub
from propmubi.agents.v1.offices_pb2_grpc import OfficeServiceStub
from propmubi.auth.v1 import auth_pb2, consents_pb2
from propmubi.auth.v1.auth_pb2_grpc import (
    AuthServiceServicer,
    UserServiceServicer,
    add_AuthServiceServicer_to_server,
    add_UserServiceServicer_to_server,
)
from propmubi.auth.v1.consents_pb2_grpc import (
    ConsentServiceServicer,
    add_ConsentServiceServicer_to_server,
)

WAKAD = pb.Address(
    line="A-1203, Blue Ridge",
    subdivision_name="Wakad",
    city="Pune",
    state="Maharashtra",
    postal_code="411057",
)

MONDAY = datetime(2026, 11, 16, tzinfo=UTC)


def home(**changes: Any) -> pb.Listing:
    """A flat that has all that publishing needs."""
    fields: dict[str, Any] = {
        "listing_type": pb.LISTING_TYPE_SALE,
        "property_type": pb.PROPERTY_TYPE_APARTMENT,
        "list_price": 8_500_000,
        "bhk": 2,
        "carpet_area": 780,
        "address": WAKAD,
    }
    return pb.Listing(**{**fields, **changes})


def searching(request: Any, **asked: Any) -> Any:
    """A request of that class with each of `asked` where it belongs, as the query of a GET has them all by name."""
    parts: dict[str, dict[str, Any]] = {"filters": {}, "news": {}}
    for name in [*asked]:
        for part, given in parts.items():
            if name in message_of(request.DESCRIPTOR.fields_by_name[part]).fields_by_name:
                given[name] = asked.pop(name)
    return request(**parts, **asked)


def row(number: int, agent_id: uuid.UUID, **changes: Any) -> dict[str, Any]:
    """An active flat; the higher its number the newer and dearer."""
    return {
        "id": new_id(),
        "list_agent_id": agent_id,
        "listing_type": "sale",
        "property_type": "apartment",
        "standard_status": "active",
        "list_price": 1_000_000 * (number + 1),
        "bhk": 1 + number % 4,
        "carpet_area": 400 + 100 * number,
        "subdivision_name": ("Wakad", "Baner", "Hinjewadi")[number % 3],
        "city": "Pune",
        "state": "Maharashtra",
        "postal_code": f"41105{number % 3}",
        "latitude": 18.5 + number / 100,
        "longitude": 73.7 + number / 100,
        "on_market_date": MONDAY + timedelta(minutes=number),
        **changes,
    }


@pytest_asyncio.fixture
async def fill(agents: Running, asha: Any) -> Any:
    """Puts rows into the table, all of one set of columns."""

    async def put(*rows: dict[str, Any]) -> list[str]:
        async with agents.database.transaction() as tx:
            for _, alike in groupby(rows, dict.keys):
                await tx.execute(insert(listings), [*alike])
        return [str(each["id"]) for each in rows]

    return put


async def found(stub: Any, **asked: Any) -> list[str]:
    """The ids of all that is found, over all pages."""
    request, ids = searching(pb.ListListingsRequest, **asked), []
    while True:
        page = await stub.ListListings(request)
        ids += [listing.id for listing in page.listings]
        if not page.next_page_token:
            return ids
        request.page_token = page.next_page_token


@dataclass(frozen=True, slots=True)
class Lister:
    """An agent, and her stub of the ListingService."""

    agent_id: uuid.UUID
    office_id: uuid.UUID | None
    token: str
    listings: Any

    async def draft(self, **changes: Any) -> pb.Listing:
        request = pb.CreateListingRequest(listing=home(**changes))
        listing: pb.Listing = await self.listings.CreateListing(request)
        return listing

    async def move(self, listing: pb.Listing, status: str, **closing: Any) -> pb.Listing:
        request = pb.SetListingStatusRequest(
            listing_id=listing.id,
            standard_status=pb.StandardStatus.Value(f"STANDARD_STATUS_{status.upper()}"),
            **closing,
        )
        moved: pb.Listing = await self.listings.SetListingStatus(request)
        return moved

    async def publish(self, **changes: Any) -> pb.Listing:
        return await self.move(await self.draft(**changes), "active")


MakeLister = Callable[..., Awaitable[Lister]]


# Of all who are not said to have another.
PHONE = "+919876543210"


class People(UserServiceServicer, AuthServiceServicer, ConsentServiceServicer):
    """Stands in for auth, on a real socket: who signs in with which phone, by her token, and who may be reached."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens
        self.phones: dict[str, str] = {}
        # By user, those who agreed to alerts by SMS.
        self.reachable: dict[str, str] = {}
        self.away = False

    async def IssueServiceToken(self, request: Any, context: Any) -> Any:  # noqa: N802
        return auth_pb2.IssueServiceTokenResponse(
            access_token=self.tokens.service(request.service_id), expires_in=600
        )

    async def BatchGetReachable(self, request: Any, context: Any) -> Any:  # noqa: N802
        if self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        assert request.purpose == consents_pb2.CONSENT_PURPOSE_ALERTS
        assert request.channel == consents_pb2.CONSENT_CHANNEL_SMS
        return consents_pb2.BatchGetReachableResponse(
            people=[
                consents_pb2.Reachable(user_id=user_id, phone=self.reachable[user_id])
                for user_id in request.user_ids
                if user_id in self.reachable
            ]
        )

    async def GetMe(self, request: Any, context: Any) -> auth_pb2.User:  # noqa: N802
        if self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        bearer = dict(context.invocation_metadata())["authorization"]
        return auth_pb2.User(phone=self.phones.get(bearer.removeprefix("Bearer "), PHONE))


@pytest.fixture
def people(tokens: Tokens) -> People:
    return People(tokens)  # type: ignore[abstract]  # Nobody changes an account here.


@pytest_asyncio.fixture
async def agents(run_service: RunService, people: People, tmp_path: Path) -> AsyncIterator[Running]:
    server = grpc.aio.server()
    add_UserServiceServicer_to_server(people, server)
    add_AuthServiceServicer_to_server(people, server)
    add_ConsentServiceServicer_to_server(people, server)
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    settings = SmsSettings.model_construct(
        sms_provider="file", sms_outbox_file=tmp_path / "sms.jsonl", sms_timeout_seconds=5.0
    )
    async with (
        open_sms(settings) as provider,
        run_service(
            "agents",
            partial(wire, sms=provider),
            AgentsSettings,
            auth_target=target,
            sms_provider="file",
            # Tests of alerts send them themselves.
            notify_every_seconds=3600,
        ) as running,
    ):
        yield running
    await server.stop(None)


@pytest.fixture
def public(agents: Running) -> Any:
    """The ListingService as somebody who is not signed in has it."""
    return ListingServiceStub(agents.caller())


@pytest.fixture
def make_lister(agents: Running, tokens: Tokens) -> MakeLister:
    async def make(**changes: Any) -> Lister:
        fields: dict[str, Any] = {
            "id": new_id(),
            "user_id": new_id(),
            "member_full_name": "Asha Kulkarni",
            "member_mobile_phone": PHONE,
            "rera_agent_no": "A52100012345",
            "rera_state": "Maharashtra",
            "rera_valid_to": date(2090, 3, 31),
            "verification_status": "well_formed",
            "languages": [],
            "service_areas": [],
            "status": "active",
            **changes,
        }
        async with agents.database.transaction() as tx:
            await tx.execute(insert(agents_table).values(fields))
        token = tokens.agent(fields["id"], user_id=fields["user_id"])
        office_id = fields.get("office_id")
        stub = ListingServiceStub(agents.caller(token))
        return Lister(fields["id"], office_id, token, stub)

    return make


@pytest_asyncio.fixture
async def asha(make_lister: MakeLister) -> Lister:
    """An active agent of an office."""
    return await make_lister(office_id=new_id())


@pytest.fixture
def broker(agents: Running, tokens: Tokens, asha: Lister) -> Any:
    """The ListingService as the admin of Asha's office has it."""
    token = tokens.person("office_admin", office_id=asha.office_id)
    return ListingServiceStub(agents.caller(token))


@dataclass(frozen=True, slots=True)
class Brokerage:
    """A verified office, and the stubs of its admin."""

    office: offices_pb2.Office
    founder: Lister
    token: str
    offices: Any
    agents: Any


MakeBrokerage = Callable[[], Awaitable[Brokerage]]


def office(**changes: Any) -> offices_pb2.CreateOfficeRequest:
    fields = {"office_name": " Kulkarni  Homes ", "city": "Pune", **changes}
    return offices_pb2.CreateOfficeRequest(office=offices_pb2.Office(**fields))


@pytest.fixture
def offices(agents: Running) -> Callable[..., Any]:
    return lambda token, **metadata: OfficeServiceStub(agents.caller(token, **metadata))


@pytest.fixture
def admin(agents: Running, tokens: Tokens) -> Any:
    return OfficeServiceStub(agents.caller(tokens.admin()))


@pytest.fixture
def make_brokerage(
    agents: Running, tokens: Tokens, make_lister: MakeLister, admin: Any
) -> MakeBrokerage:
    async def make() -> Brokerage:
        founder = await make_lister()
        founded = await OfficeServiceStub(agents.caller(founder.token)).CreateOffice(office())
        verified = await admin.VerifyOffice(offices_pb2.VerifyOfficeRequest(office_id=founded.id))
        token = tokens.person(
            "agent", "office_admin", agent_id=founder.agent_id, office_id=founded.id
        )
        caller = agents.caller(token)
        return Brokerage(
            verified, founder, token, OfficeServiceStub(caller), AgentServiceStub(caller)
        )

    return make


@pytest_asyncio.fixture
async def alerts(
    agents: Running, people: People, twilio: Twilio, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[AlertService]:
    """Alerts that are sent by Twilio's real client, three a day, to those whom auth, on a real socket, says."""
    monkeypatch.setattr(sms, "PAUSES", (0.0, 0.0))
    given = {**twilio.settings, "twilio_auth_token": SecretStr("token")}
    settings = SmsSettings.model_construct(sms_timeout_seconds=5.0, **given)
    service = agents.service
    channel = service.channel(service.settings.auth_target, auth_pb2.DESCRIPTOR)
    async with open_sms(settings) as provider:
        yield AlertService(
            AlertRepository(agents.database),
            ListingRepository(agents.database),
            clients.People(channel, service.own_token),
            provider,
            most_a_day=3,
        )
