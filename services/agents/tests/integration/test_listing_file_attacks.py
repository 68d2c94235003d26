"""Files that are broken, sent twice at once, cut off and read by processes that die: nothing is lost or done twice."""

import asyncio
import uuid
from typing import Any

import pytest
from sqlalchemy import delete, insert, text

from agents_service.listing_files.models import imports
from agents_service.listing_files.repository import ListingFileRepository
from agents_service.listing_files.rows import CSV, LONGEST_ROW
from chassis.errors import AlreadyExists, DomainError
from chassis.ids import new_id
from devstack.testing_service import Running, Tokens
from propmubi.agents.v1 import listing_files_pb2 as pb
from propmubi.agents.v1 import listings_pb2
from services.agents.tests.integration.conftest import Lister, MakeLister
from services.agents.tests.integration.test_listing_files import (
    JSON_LINES,
    Sender,
    asha_sends,
    counts,
    json_lines,
    row,
)
from services.agents.tests.integration.test_listings import history, names

__all__ = ["asha_sends"]
HEAD = b"external_id,listing_type,property_type,public_remarks\n"


class Death(Exception):
    """As kill -9 has it."""


async def rows_of(agents: Running, query: str) -> list[tuple[Any, ...]]:
    async with agents.database.transaction() as tx:
        return [tuple(each) for each in await tx.execute(text(query))]


async def check_each_once(agents: Running, count: int) -> None:
    """`count` listings were published, and each was drafted, noted and told of once."""
    [found] = await rows_of(
        agents,
        "select (select count(*) from listings where standard_status = 'active'),"
        " (select count(distinct external_id) from listings),"
        " (select count(*) from listing_history where field = 'standard_status'),"
        " (select count(*) from outbox where name = 'listing.published'),"
        " (select count(*) from outbox where name = 'listing.status_changed')",
    )
    assert found == (count, count, 2 * count, count, count)


async def test_what_is_no_file_of_rows_fails_or_is_empty(asha_sends: Sender) -> None:
    whole: list[tuple[bytes, str, str]] = [
        (b"", CSV, ""),
        (b"", JSON_LINES, ""),
        (b"\xef\xbb\xbf", CSV, ""),
        (HEAD, CSV, ""),
        (b"\n\r\n \n", JSON_LINES, ""),
        ("external_id\n1\n".encode("utf-16"), CSV, "no fields named"),
        (b"external_id,\xff\x00\n", CSV, "no fields named"),
        (b"external_id," + b"x" * 700_000, CSV, "no fields named"),
        (HEAD + b'a,sale,villa,"never closed\n', CSV, "not CSV"),
        (b"x" * (1 << 20) + b"\n", JSON_LINES, "longer than 512 KiB"),
    ]
    for content, content_type, failure in whole:
        job = await asha_sends.done(await asha_sends.send(content, content_type, size=512 << 10))
        assert (job.status == pb.IMPORT_STATUS_FAILED) == bool(failure), content[:50]
        assert failure in job.failure
        assert (job.rows, await asha_sends.errors(job)) == (0, [])


async def test_bytes_that_are_no_text_are_faults_of_their_rows(asha_sends: Sender) -> None:
    good = b'"first\r\nsecond, ""quoted"""'
    content = b"\r\n".join(
        [
            HEAD.strip(),
            b"good,sale,villa," + good,
            b"latin,sale,villa,caf\xe9",
            b"nul,sale,villa,a\0b",
            b"\0,sale,villa,x",
            b"too long,sale,villa," + b"x" * LONGEST_ROW,
            "पुणे,sale,villa,घर".encode(),
        ]
    )
    for size in (700, 1 << 20):
        job = await asha_sends.done(await asha_sends.send(content, CSV, size=size))
        assert (job.rows, job.failed) == (6, 4), job.failure
        assert await asha_sends.errors(job) == [
            (2, "", "row"),
            (3, "nul", "public_remarks"),
            (4, "", "external_id"),
            (5, "", "row"),
        ]
    found = await asha_sends.export()
    assert set(found) == {"good", "पुणे"}
    assert found["good"].public_remarks == 'first\r\nsecond, "quoted"'


async def test_json_that_is_no_listing_is_a_fault_of_its_row(asha_sends: Sender) -> None:
    lines = [
        b'{"external_id": "a\\u0000", "b\\u0000": 1}',
        b'{"external_id": "\\ud800"}',
        b"[" * 2_000 + b"]" * 2_000,
        b'{"external_id": "types", "listing_type": [], "standard_status": {}, "list_agent_id": 1}',
        b'{"external_id": 5, "x": "' + b"y" * LONGEST_ROW + b'"}',
        b'{"external_id": "' + b"e" * 5_000 + b'", "' + b"f" * 5_000 + b'": 1}',
        b"null",
    ]
    job = await asha_sends.imported(b"\n".join(lines))
    assert counts(job) == (7, 0, 0, 0, 7)
    assert await asha_sends.errors(job) == [
        (1, "a", "external_id"),
        (1, "a", "b"),
        (1, "a", "listing_type"),
        (1, "a", "property_type"),
        (2, "", "row"),
        (3, "", "row"),
        (4, "types", "standard_status"),
        (4, "types", "listing_type"),
        (4, "types", "property_type"),
        (4, "types", "list_agent_id"),
        (5, "", "row"),
        (6, "e" * 100, "external_id"),
        (6, "e" * 100, "f" * 100),
        (6, "e" * 100, "listing_type"),
        (6, "e" * 100, "property_type"),
        (7, "", "row"),
    ]


async def test_one_file_sent_many_times_at_once_is_one_import(
    agents: Running, asha_sends: Sender
) -> None:
    content = json_lines(*(row(str(number), standard_status="active") for number in range(20)))
    upload_id = str(uuid.uuid4())
    sent = await asyncio.gather(
        *(asha_sends.send(content, size=900, upload_id=upload_id) for _ in range(12))
    )
    assert {(job.id, job.size) for job in sent} == {(upload_id, len(content))}
    assert counts(await asha_sends.done(sent[0])) == (20, 20, 0, 0, 0)
    await check_each_once(agents, 20)


async def test_a_file_that_another_took_the_place_of_says_so(asha_sends: Sender) -> None:
    """Of two files sent at once by one person, one arrives."""
    contents = [json_lines(*(row(f"{each}-{n}") for n in range(9))) for each in "ab"]
    sent = await asyncio.gather(
        *(asha_sends.send(content, size=500) for content in contents), return_exceptions=True
    )
    arrived = [job for job in sent if isinstance(job, pb.ListingImport)]
    assert len(arrived) == 1
    [refused] = [job for job in sent if isinstance(job, DomainError)]
    assert "of yours" in refused.message
    assert counts(await asha_sends.done(arrived[0]))[:2] == (9, 9)


async def test_rows_that_two_files_of_an_office_share_are_stored_once(
    agents: Running, tokens: Tokens, asha: Lister, asha_sends: Sender, make_lister: MakeLister
) -> None:
    boss = await make_lister(office_id=asha.office_id)
    token = tokens.person("agent", "office_admin", agent_id=boss.agent_id, office_id=asha.office_id)
    broker = Sender(agents, token)
    rows = [
        row(f"{number}", list_agent_id=str(asha.agent_id), standard_status="active")
        for number in range(120)
    ]
    mine, hers = await asyncio.gather(
        asha_sends.send(json_lines(*rows), size=9_000),
        broker.send(json_lines(*reversed(rows)), size=9_000),
    )
    mine, hers = await asyncio.gather(asha_sends.done(mine), broker.done(hers))
    assert mine.failed == hers.failed == 0
    assert mine.created + hers.created == 120
    await check_each_once(agents, 120)


async def test_two_offices_may_offer_the_same_homes_at_once(
    agents: Running, asha_sends: Sender, make_lister: MakeLister
) -> None:
    other = Sender(agents, (await make_lister(office_id=new_id())).token)
    rows = [
        row(str(number), unit_id=str(uuid.UUID(int=number)), possession_status="ready_to_move",
            standard_status="active")
        for number in range(40)
    ]  # fmt: skip
    sent = await asyncio.gather(*(who.send(json_lines(*rows)) for who in (asha_sends, other)))
    for who, job in zip((asha_sends, other), sent, strict=True):
        assert counts(await who.done(job)) == (40, 40, 0, 0, 0)


async def test_a_home_is_live_once_whoever_publishes_it_meanwhile(
    agents: Running, asha: Lister, asha_sends: Sender
) -> None:
    homes = [{"unit_id": str(new_id()), "possession_status": "ready_to_move"} for _ in range(10)]
    ready = listings_pb2.POSSESSION_STATUS_READY_TO_MOVE
    drafts = [await asha.draft(unit_id=home["unit_id"], possession_status=ready) for home in homes]
    content = json_lines(
        *(row(str(n), standard_status="active", **home) for n, home in enumerate(homes))
    )
    sent = await asha_sends.send(content)
    reading = asyncio.create_task(asha_sends.done(sent))
    moved = await asyncio.gather(
        *(asha.move(draft, "active") for draft in drafts), return_exceptions=True
    )
    lost = sum(isinstance(each, AlreadyExists) for each in moved)
    assert counts(await reading) == (10, 10, 0, 0, 10 - lost)
    live = "select same_unit from listings where standard_status = 'active' group by 1"
    assert len(await rows_of(agents, live)) == 10
    assert len(await rows_of(agents, f"{live} having count(*) > 1")) == 0


async def test_a_file_whose_reader_dies_goes_on_where_it_was(
    agents: Running, asha_sends: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every second piece is read by somebody who dies after all its rows are written and before they are committed."""
    real, deaths = ListingFileRepository.forget_content, [0]

    async def dies(self: Any, tx: Any, job: Any) -> None:
        await real(self, tx, job)
        deaths[0] += 1
        if deaths[0] % 2:
            raise Death

    monkeypatch.setattr(ListingFileRepository, "forget_content", dies)
    content = json_lines(*(row(str(number), standard_status="active") for number in range(30)))
    sent = await asha_sends.send(content, size=3_000)
    job = pb.ListingImport()
    while job.status != pb.IMPORT_STATUS_DONE:
        try:
            job = await asha_sends.done(sent)
        except Death:
            continue
    assert counts(job) == (30, 30, 0, 0, 0)
    await check_each_once(agents, 30)


async def test_a_row_closes_what_is_pending_with_its_price_and_day(
    agents: Running, asha: Lister, asha_sends: Sender
) -> None:
    await asha_sends.imported(
        json_lines(*(row(name, standard_status="active") for name in ("sold", "other", "early")))
    )
    pending = [row(name, standard_status="pending") for name in ("sold", "other")]
    assert counts(await asha_sends.imported(json_lines(*pending))) == (2, 0, 0, 2, 0)
    closing = {"standard_status": "closed", "close_price": 8_100_000, "close_date": "2026-01-31"}
    sold = row("sold", **closing)
    job = await asha_sends.imported(
        json_lines(
            sold,
            row("other", **{**closing, "close_price": 0}),
            row("other", **{**closing, "close_date": "2099-01-31"}),
            row("other", **{**closing, "close_price": ...}),
            row("early", **closing),
            row("never seen", **closing),
        )
    )
    assert await asha_sends.errors(job) == [
        (2, "other", "close_price"),
        (3, "other", "close_date"),
        (4, "other", "close_price"),
        (5, "early", ""),
        (6, "never seen", ""),
    ]
    found = await asha_sends.export()
    assert (found["sold"].close_price, found["sold"].close_date) == (8_100_000, "2026-01-31")
    assert [found[name].standard_status for name in ("sold", "other", "early", "never seen")] == [
        listings_pb2.STANDARD_STATUS_CLOSED,
        listings_pb2.STANDARD_STATUS_PENDING,
        listings_pb2.STANDARD_STATUS_ACTIVE,
        listings_pb2.STANDARD_STATUS_INCOMPLETE,
    ]
    assert (await names(agents, found["sold"].id))[-1] == "listing.status_changed"
    assert (await history(asha.listings, found["sold"]))[0] == (
        "standard_status",
        "pending",
        "closed",
    )
    # What was exported may be sent again; what is over stays as it was.
    assert counts(await asha_sends.imported(json_lines(sold))) == (1, 0, 0, 1, 0)
    again = await asha_sends.imported(json_lines({**sold, "floor": 7}))
    assert counts(again) == (1, 0, 0, 0, 1)


async def test_a_price_that_falls_in_a_file_has_fallen_unless_nobody_saw_it(
    agents: Running, asha_sends: Sender
) -> None:
    seen = {"standard_status": "active"}
    drafts = row("draft"), row("at last"), row("unpriced", list_price=None)
    await asha_sends.imported(json_lines(row("cheaper", **seen), row("dearer", **seen), *drafts))
    cheap = {"list_price": 8_000_000}
    changed = row("cheaper", **cheap), row("dearer", list_price=9_000_000), row("unpriced")
    unseen = row("draft", **cheap), row("at last", **cheap, **seen)
    await asha_sends.imported(json_lines(*changed, *unseen))
    fell = "select external_id from listings where price_dropped_at is not null"
    assert await rows_of(agents, fell) == [("cheaper",)]


async def test_a_small_file_does_not_wait_for_a_large_one_to_end(agents: Running) -> None:
    async with agents.database.transaction() as tx:
        for pieces_read in (3, 1):
            columns = {"created_by": str(pieces_read), "agent_id": new_id(), "content_type": CSV}
            job = {"id": new_id(), "status": "running", "pieces": 9, "pieces_read": pieces_read}
            await tx.execute(insert(imports).values(**columns, **job))
        found = await ListingFileRepository(agents.database).locked_running(tx)
        assert found is not None
        assert found.pieces_read == 1
        # Nobody is to read them.
        await tx.execute(delete(imports))
