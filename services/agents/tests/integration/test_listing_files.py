"""Listings in files: pieces in any number, rows good and bad, sent again, by whom, and out again."""

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from sqlalchemy import text

from agents_service.agents.repository import AgentRepository
from agents_service.listing_files.domain import Unreadable
from agents_service.listing_files.repository import ListingFileRepository
from agents_service.listing_files.rows import CSV, LONGEST_REST, csv_records, cut
from agents_service.listing_files.service import MOST_ATTEMPTS, ListingFileService
from agents_service.listing_files.timers import ImportTimers
from agents_service.listings.repository import ListingRepository
from chassis.errors import Conflict, InvalidArgument, NotFound, PermissionDenied
from chassis.ids import new_id
from devstack.testing_service import Running, Tokens
from propmubi.agents.v1 import listing_files_pb2 as pb
from propmubi.agents.v1 import listings_pb2
from propmubi.agents.v1.listing_files_pb2_grpc import ListingFileServiceStub
from services.agents.tests.integration.conftest import Lister, MakeLister
from services.agents.tests.integration.test_listings import history, names

JSON_LINES = "application/jsonl"


def row(external_id: str, **changes: Any) -> dict[str, Any]:
    fields = {
        "external_id": external_id,
        "listing_type": "sale",
        "property_type": "apartment",
        "list_price": 8_500_000,
        "bhk": 2,
        "carpet_area": 780,
        "address": {
            "line": "A-1203, Blue Ridge",
            "subdivision_name": "Wakad",
            "city": "Pune",
            "state": "Maharashtra",
            "postal_code": "411057",
        },
        **changes,
    }
    return {name: value for name, value in fields.items() if value is not ...}


def json_lines(*rows: Any) -> bytes:
    return b"".join(orjson.dumps(each) + b"\n" for each in rows)


class Sender:
    """Sends files as the gateway does, and has them read."""

    def __init__(self, agents: Running, token: str) -> None:
        self.stub: Any = ListingFileServiceStub(agents.caller(token))
        database = agents.database
        service = ListingFileService(
            ListingFileRepository(database), ListingRepository(database), AgentRepository(database)
        )
        self._read = ImportTimers(database, service).read_all

    async def send(
        self,
        content: bytes,
        content_type: str = JSON_LINES,
        *,
        size: int = 1 << 20,
        upload_id: str = "",
    ) -> pb.ListingImport:
        upload_id = upload_id or str(uuid.uuid4())
        answer, self.trailers = pb.ListingImport(), dict[str, str]()
        for number, (piece, last) in enumerate(pieces(content, size)):
            answer = await self.stub.ImportListings(
                pb.ImportListingsRequest(
                    upload_id=upload_id,
                    number=number,
                    content=piece,
                    last=last,
                    content_type=content_type,
                ),
                trailers=self.trailers,
            )
        return answer

    async def done(self, sent: pb.ListingImport) -> pb.ListingImport:
        """What became of a file that two replicas read, and the service's own timer perhaps."""
        request = pb.GetListingImportRequest(import_id=sent.id)
        async with asyncio.timeout(30):
            while True:
                await asyncio.gather(self._read(), self._read())
                found: pb.ListingImport = await self.stub.GetListingImport(request)
                if found.status not in (pb.IMPORT_STATUS_RECEIVING, pb.IMPORT_STATUS_RUNNING):
                    return found
                await asyncio.sleep(0.02)

    async def imported(self, content: bytes, content_type: str = JSON_LINES) -> pb.ListingImport:
        return await self.done(await self.send(content, content_type))

    async def errors(self, job: pb.ListingImport) -> list[tuple[int, str, str]]:
        request = pb.ListListingImportErrorsRequest(import_id=job.id, page_size=100)
        found = (await self.stub.ListListingImportErrors(request)).errors
        return [(each.row, each.external_id, each.field) for each in found]

    async def export(self) -> dict[str, listings_pb2.Listing]:
        request, found = pb.ExportListingsRequest(page_size=2), {}
        while True:
            page = await self.stub.ExportListings(request)
            found.update({listing.external_id: listing for listing in page.listings})
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token


def pieces(content: bytes, size: int) -> Iterator[tuple[bytes, bool]]:
    for start in range(0, max(len(content), 1), size):
        yield content[start : start + size], start + size >= len(content)


def counts(job: pb.ListingImport) -> tuple[int, int, int, int, int]:
    return job.rows, job.created, job.updated, job.unchanged, job.failed


@pytest.fixture
def asha_sends(agents: Running, asha: Lister) -> Sender:
    return Sender(agents, asha.token)


@pytest.mark.parametrize("size", [97, 1000, 1 << 20])
async def test_rows_become_listings_however_the_file_is_cut(
    agents: Running, asha: Lister, asha_sends: Sender, size: int
) -> None:
    content = json_lines(
        row("one", standard_status="active"),
        row("two", amenities=["Lift"], public_remarks='Said "hello"\nand went'),
        row("three", standard_status="coming_soon"),
    )
    sent = await asha_sends.send(content, size=size)
    assert (sent.status, sent.size) == (pb.IMPORT_STATUS_RUNNING, len(content))
    job = await asha_sends.done(sent)
    assert job.status == pb.IMPORT_STATUS_DONE
    assert counts(job) == (3, 3, 0, 0, 0)
    found = await asha_sends.export()
    assert [listing.standard_status for listing in found.values()] == [3, 1, 2]
    assert found["two"].public_remarks == 'Said "hello"\nand went'
    assert found["two"].amenities == ["lift"]
    one = found["one"]
    assert (one.list_agent_id, one.list_office_id) == (str(asha.agent_id), str(asha.office_id))
    assert await names(agents, one.id) == ["listing.status_changed", "listing.published"]
    assert await history(asha.listings, one) == [
        ("standard_status", "incomplete", "active"),
        ("list_price", "", "8500000"),
        ("standard_status", "", "incomplete"),
    ]


async def test_a_file_that_is_sent_again_changes_what_changed_in_it(
    agents: Running, asha: Lister, asha_sends: Sender
) -> None:
    rows = [row("one", standard_status="active"), row("two"), row("three")]
    await asha_sends.imported(json_lines(*rows))
    rows[0] |= {"list_price": 8_000_000, "floor": 3}
    rows[2]["standard_status"] = "active"
    again = await asha_sends.imported(json_lines(*rows))
    assert counts(again) == (3, 0, 1, 2, 0)
    found = await asha_sends.export()
    assert (found["one"].list_price, found["one"].floor) == (8_000_000, 3)
    assert found["three"].standard_status == listings_pb2.STANDARD_STATUS_ACTIVE
    assert (await names(agents, found["one"].id))[2:] == [
        "listing.price_changed",
        "listing.updated",
    ]
    assert counts(await asha_sends.imported(json_lines(*rows))) == (3, 0, 0, 3, 0)
    # Absent stays, null clears; the same id twice is one change after the other.
    one = {"external_id": "one", "listing_type": "sale", "property_type": "apartment"}
    job = await asha_sends.imported(json_lines({**one, "floor": 4}, {**one, "floor": None}))
    assert counts(job) == (2, 0, 2, 0, 0)
    found = await asha_sends.export()
    assert (found["one"].HasField("floor"), found["one"].list_price) == (False, 8_000_000)


async def test_each_bad_row_is_told_and_the_others_are_stored(
    asha: Lister, asha_sends: Sender
) -> None:
    content = b"".join(
        [
            json_lines(row("good")),
            b"{not json\n[1]\n",
            json_lines(
                row("", list_price=1),
                row("unknown field", colour="red"),
                row("two faults", list_price=0, bhk=0.3),
                row("bad enum", listing_type="lease"),
                row("no type", property_type=...),
                row("areas", built_up_area=700),
                row("not hers", list_agent_id=str(new_id())),
                row("text for a number", list_price="85 lakh"),
                row("no price", list_price=None, standard_status="active"),
                row("closed", standard_status="closed"),
                row("nul\x00", bio=1),
                row("blank", address={**row("x")["address"], "city": " \u200b "}),
                row("too large", list_price=1e30),
                row("nested", address={"city": {"deep": 1}}),
            ),
            b"\xff\xfe\n",
        ]
    )
    job = await asha_sends.imported(content)
    assert counts(job) == (18, 3, 0, 0, 17)
    assert await asha_sends.errors(job) == [
        (2, "", "row"),
        (3, "", "row"),
        (4, "", "external_id"),
        (5, "unknown field", "colour"),
        (6, "two faults", "list_price"),
        (6, "two faults", "bhk"),
        (7, "bad enum", "listing_type"),
        (8, "no type", "property_type"),
        (9, "areas", "built_up_area"),
        (10, "not hers", "list_agent_id"),
        (11, "text for a number", "list_price"),
        (12, "no price", "list_price"),
        (13, "closed", "close_price"),
        (13, "closed", "close_date"),
        (14, "nul", "external_id"),
        (14, "nul", "bio"),
        (15, "blank", "address.city"),
        (16, "too large", "list_price"),
        (17, "nested", "address.city"),
        (17, "nested", "address.subdivision_name"),
        (17, "nested", "address.state"),
        (17, "nested", "address.postal_code"),
        (18, "", "row"),
    ]
    found = await asha_sends.export()
    assert set(found) == {"good", "no price", "closed"}
    assert found["no price"].standard_status == listings_pb2.STANDARD_STATUS_INCOMPLETE


async def test_csv_names_its_fields_in_the_first_line(asha: Lister, asha_sends: Sender) -> None:
    content = (
        b"\xef\xbb\xbfexternal_id,version,listing_type,property_type,list_price,bhk,address.line,"
        b"address.subdivision_name,address.city,address.state,address.postal_code,amenities,media,public_remarks\r\n"
        b'a,9,sale,apartment,8500000,2.5,"A-1203, ""Blue"" Ridge",Wakad,Pune,Maharashtra,411057,'
        b'Lift; gym,https://m.in/1.jpg https://m.in/2.jpg,"\'=two\r\nlines"\r\n'
        b"b,,rent,villa,,,,,,,,,,\r\n"
        b"c,,rent,villa,x\r\n"
    )
    for size in (11, 1 << 20):
        job = await asha_sends.done(await asha_sends.send(content, CSV, size=size))
        assert job.status == pb.IMPORT_STATUS_DONE, job.failure
        assert (job.rows, job.failed) == (3, 1)
        assert await asha_sends.errors(job) == [(3, "", "row")]
    a = (await asha_sends.export())["a"]
    assert (a.list_price, a.bhk, list(a.amenities)) == (8_500_000, 2.5, ["lift", "gym"])
    assert [medium.url for medium in a.media] == ["https://m.in/1.jpg", "https://m.in/2.jpg"]
    assert a.address.line == 'A-1203, "Blue" Ridge'
    assert a.public_remarks == "=two\r\nlines"


@pytest.mark.parametrize(
    ("content", "failure"),
    [
        (b"external_id,colour\na,red\n", "no fields named: colour"),
        (b"listing_type\nsale\n", "does not name external_id"),
        (b"external_id,external_id\na,b\n", "twice"),
        (b'external_id,bio"x\n', "no fields named"),
        (b'external_id\n"a"b\n', "not CSV"),
    ],
)
async def test_a_file_that_makes_no_sense_fails_whole(
    asha_sends: Sender, content: bytes, failure: str
) -> None:
    job = await asha_sends.imported(content, CSV)
    assert job.status == pb.IMPORT_STATUS_FAILED
    assert failure in job.failure


def test_a_row_without_end_is_not_kept() -> None:
    with pytest.raises(Unreadable):
        cut(b"x" * (LONGEST_REST + 1), JSON_LINES, first=True, last=False)
    with pytest.raises(Unreadable):
        cut(b'"' + b"x\n" * LONGEST_REST, CSV, first=True, last=False)
    assert cut(b'a,"b\nc"\nd,"', CSV, first=True, last=False) == (b'a,"b\nc"\n', b'd,"')
    assert list(csv_records(b'a,"b\nc"\n\n')) == [["a", "b\nc"]]


async def test_a_piece_that_is_sent_again_is_the_same_piece_or_refused(asha_sends: Sender) -> None:
    upload_id, content = str(uuid.uuid4()), json_lines(*(row(str(n)) for n in range(4)))
    first = await asha_sends.send(content, size=300, upload_id=upload_id)
    assert "idempotency-replayed" not in asha_sends.trailers
    again = await asha_sends.send(content, size=300, upload_id=upload_id)
    assert again == first
    assert asha_sends.trailers["idempotency-replayed"] == "true"
    assert counts(await asha_sends.done(first))[:2] == (4, 4)
    assert (await asha_sends.send(content, size=300, upload_id=upload_id)).created == 4
    with pytest.raises(InvalidArgument) as refused:
        await asha_sends.send(b" " + content, size=300, upload_id=upload_id)
    assert refused.value.reason == "IDEMPOTENCY_KEY_REUSED"
    with pytest.raises(InvalidArgument):
        await asha_sends.send(content + b"{}\n", size=len(content), upload_id=upload_id)
    out_of_order = pb.ImportListingsRequest(
        upload_id=str(uuid.uuid4()), number=1, content_type=JSON_LINES
    )
    with pytest.raises(NotFound):
        await asha_sends.stub.ImportListings(out_of_order)


async def test_one_file_at_a_time_and_what_did_not_arrive_makes_room(
    agents: Running, asha_sends: Sender, make_lister: MakeLister
) -> None:
    half = pb.ImportListingsRequest(
        upload_id=str(uuid.uuid4()), number=0, content=b"{", content_type=JSON_LINES
    )
    await asha_sends.stub.ImportListings(half)
    running = await asha_sends.send(json_lines(row("a")))
    half.number = 1
    with pytest.raises(NotFound):
        await asha_sends.stub.ImportListings(half)
    with pytest.raises(Conflict):
        await asha_sends.send(json_lines(row("b")))
    other = Sender(agents, (await make_lister()).token)
    request = pb.GetListingImportRequest(import_id=running.id)
    with pytest.raises(NotFound):
        await other.stub.GetListingImport(request)
    half.upload_id = running.id
    with pytest.raises(NotFound):
        await other.stub.ImportListings(half)
    await asha_sends.done(running)
    await asha_sends.imported(json_lines(row("b")))
    assert set(await asha_sends.export()) == {"a", "b"}


async def test_the_offices_admin_imports_for_its_agents_and_exports_them(
    agents: Running, tokens: Tokens, asha: Lister, asha_sends: Sender, make_lister: MakeLister
) -> None:
    boss, stranger = await make_lister(office_id=asha.office_id), await make_lister()
    token = tokens.person("agent", "office_admin", agent_id=boss.agent_id, office_id=asha.office_id)
    broker = Sender(agents, token)
    content = json_lines(
        row("a", list_agent_id=str(asha.agent_id), standard_status="active"),
        row("b"),
        row("c", list_agent_id=str(stranger.agent_id)),
    )
    job = await broker.imported(content)
    assert counts(job) == (3, 2, 0, 0, 1)
    found = await broker.export()
    assert {name: listing.list_agent_id for name, listing in found.items()} == {
        "a": str(asha.agent_id),
        "b": str(boss.agent_id),
    }
    assert set(await asha_sends.export()) == {"a"}
    with pytest.raises(PermissionDenied):
        await Sender(agents, tokens.person()).send(content)


async def test_an_external_id_is_its_agents_own(
    agents: Running, tokens: Tokens, asha: Lister, asha_sends: Sender, make_lister: MakeLister
) -> None:
    boss = await make_lister(office_id=asha.office_id)
    token = tokens.person("agent", "office_admin", agent_id=boss.agent_id, office_id=asha.office_id)
    broker = Sender(agents, token)
    hers, his = {"list_agent_id": str(asha.agent_id)}, {"list_agent_id": str(boss.agent_id)}
    await asha_sends.imported(json_lines(row("1", list_price=8)))
    assert counts(await broker.imported(json_lines(row("1", list_price=1)))) == (1, 1, 0, 0, 0)

    async def prices() -> dict[str, int]:
        found = await broker.stub.ExportListings(pb.ExportListingsRequest())
        return {listing.list_agent_id: listing.list_price for listing in found.listings}

    assert await prices() == {str(asha.agent_id): 8, str(boss.agent_id): 1}
    # His own, whether he names himself or not, is one listing: the last row of it holds.
    rows = [row("1", list_price=2), row("1", list_price=9, **hers), row("1", list_price=3, **his)]
    assert counts(await broker.imported(json_lines(*rows))) == (3, 0, 3, 0, 0)
    assert await prices() == {str(asha.agent_id): 9, str(boss.agent_id): 3}


async def test_a_cell_that_is_too_long_is_a_fault_of_its_row_alone(asha_sends: Sender) -> None:
    cells = ("x" * 131_073, "y" * (LONGEST_REST + 1), "A flat.")
    rows = (f"{number},sale,apartment,{cell}\n" for number, cell in enumerate(cells))
    content = "external_id,listing_type,property_type,public_remarks\n" + "".join(rows)
    job = await asha_sends.imported(content.encode(), CSV)
    assert counts(job) == (3, 1, 0, 0, 2)
    assert await asha_sends.errors(job) == [(1, "", "row"), (2, "", "row")]


async def test_a_home_is_live_once_among_the_rows_too(asha_sends: Sender) -> None:
    unit = {
        "unit_id": str(new_id()),
        "possession_status": "ready_to_move",
        "standard_status": "active",
    }
    job = await asha_sends.imported(json_lines(row("a", **unit), row("b", **unit)))
    assert counts(job) == (2, 2, 0, 0, 1)
    assert await asha_sends.errors(job) == [(2, "b", "standard_status")]
    found = await asha_sends.export()
    assert [found[name].standard_status for name in "ab"] == [3, 1]


async def test_rows_that_end_the_process_each_time_are_given_up(
    agents: Running, asha_sends: Sender
) -> None:
    sent = await asha_sends.send(json_lines(row("a")))
    async with agents.database.transaction() as tx:
        await tx.execute(text("update imports set attempts = :most"), {"most": MOST_ATTEMPTS})
    job = await asha_sends.done(sent)
    assert job.status == pb.IMPORT_STATUS_FAILED
    assert not await asha_sends.export()
