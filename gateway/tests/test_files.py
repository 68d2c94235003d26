"""Bodies and answers that are files: cut into pieces, repeated, refused; paged, written as CSV and JSON Lines."""

import asyncio
import csv
import io
import uuid
from typing import Any, cast

import grpc
import orjson
import pytest

from auth_service.access_tokens import LIFETIME_SECONDS
from devstack.testing_service import Tokens
from gateway import files
from gateway.contract import load_contract
from gateway.errors import EdgeError
from gateway.exchange import Exchange
from gateway.files import PIECE_BYTES
from gateway.tests.conftest import Peer, Running, bearer
from propmubi.agents.v1 import listing_files_pb2 as pb
from propmubi.agents.v1 import listings_pb2
from propmubi.options.v1.options_pb2 import Upload

IMPORT, EXPORT = "/v1/listings/import", "/v1/listings/export"
CSV = {"content-type": "text/csv"}


class Received:
    """An agents service that takes pieces, and fails as it is told."""

    def __init__(self, peer: Peer) -> None:
        self.pieces: list[pb.ImportListingsRequest] = []
        self.failures: list[grpc.StatusCode] = []
        peer.replies["ImportListings"] = self.take

    async def take(self, request: Any, context: Any) -> pb.ListingImport:
        if self.failures:
            await context.abort(self.failures.pop(0), "as the test has it")
        self.pieces.append(request)
        return pb.ListingImport(id=request.upload_id, status=pb.IMPORT_STATUS_RUNNING)

    @property
    def content(self) -> bytes:
        return b"".join(piece.content for piece in self.pieces)


@pytest.fixture
def received(peer: Peer) -> Received:
    return Received(peer)


@pytest.fixture
def agent(tokens: Tokens) -> dict[str, str]:
    return bearer(tokens.agent())


async def test_a_file_is_handed_on_in_numbered_pieces(
    gateway: Running, received: Received, agent: dict[str, str]
) -> None:
    content = bytes(range(256)) * 6000  # Beyond what other bodies may have.
    answer = await gateway.client.post(IMPORT, content=content, headers=agent | CSV)
    assert answer.status_code == 202
    assert answer.json()["status"] == "running"
    assert received.content == content
    assert {piece.upload_id for piece in received.pieces} == {answer.json()["id"]}
    assert [piece.number for piece in received.pieces] == [0, 1, 2]
    assert [piece.last for piece in received.pieces] == [False, False, True]
    assert max(len(piece.content) for piece in received.pieces) == PIECE_BYTES
    empty = await gateway.client.post(IMPORT, content=b"", headers=agent | CSV)
    assert empty.status_code == 202
    assert received.pieces[-1].last


async def test_one_key_of_one_caller_is_one_upload(
    gateway: Running, received: Received, tokens: Tokens, agent: dict[str, str]
) -> None:
    named = CSV | {"idempotency-key": "monday"}
    for who in (agent, agent, bearer(tokens.agent())):
        await gateway.client.post(IMPORT, content=b"a", headers=who | named)
    mine, again, other = (piece.upload_id for piece in received.pieces)
    assert mine == again != other
    assert str(uuid.UUID(mine)) == mine


async def test_a_piece_that_got_no_answer_is_repeated(
    gateway: Running,
    received: Received,
    agent: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(files, "AGAIN_AFTER_SECONDS", (0, 0))
    received.failures = [grpc.StatusCode.UNAVAILABLE] * 2
    answer = await gateway.client.post(IMPORT, content=b"abc", headers=agent | CSV)
    assert answer.status_code == 202, answer.text
    assert received.content == b"abc"
    received.failures = [grpc.StatusCode.UNAVAILABLE] * 3
    answer = await gateway.client.post(IMPORT, content=b"abc", headers=agent | CSV)
    assert answer.status_code == 503


async def test_a_file_whose_token_ends_on_the_way_is_the_same_one_when_sent_again_with_a_new_token(
    gateway: Running, received: Received, peer: Peer, tokens: Tokens
) -> None:
    async def expires(request: Any, context: Any) -> Any:
        if len(received.pieces) == 1:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "expired")
        return await received.take(request, context)

    user_id, agent_id = uuid.uuid4(), uuid.uuid4()
    content = b"a" * 2 * PIECE_BYTES

    async def send() -> Any:
        who = bearer(tokens.agent(agent_id, user_id=user_id))
        named = CSV | {"idempotency-key": "monday"}
        return await gateway.client.post(IMPORT, content=content, headers=who | named)

    peer.replies["ImportListings"] = expires
    refused = await send()
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "UNAUTHORIZED")
    peer.replies["ImportListings"] = received.take
    again = await send()
    assert again.status_code == 202
    assert [piece.number for piece in received.pieces] == [0, 0, 1]
    assert {piece.upload_id for piece in received.pieces} == {again.json()["id"]}


def test_a_new_token_lives_as_long_as_the_longest_transfer() -> None:
    lasts = [each.upload.max_seconds for each in load_contract().operations if each.upload]
    assert max(*lasts, files.DOWNLOAD_SECONDS) <= LIFETIME_SECONDS


async def test_a_refused_file_is_refused_in_the_envelope(
    gateway: Running, received: Received, tokens: Tokens, agent: dict[str, str]
) -> None:
    post = gateway.client.post
    assert (await post(IMPORT, content=b"a", headers=CSV)).status_code == 401
    buyer = bearer(tokens.person())
    assert (await post(IMPORT, content=b"a", headers=buyer | CSV)).status_code == 403
    as_json = await post(IMPORT, json={}, headers=agent)
    assert as_json.json()["error"]["code"] == "UNSUPPORTED_MEDIA_TYPE"
    packed = await post(IMPORT, content=b"a", headers=agent | CSV | {"content-encoding": "gzip"})
    assert (packed.status_code, received.pieces) == (415, [])
    unknown = await post(f"{IMPORT}?dry_run=1", content=b"a", headers=agent | CSV)
    assert unknown.status_code == 422
    received.failures = [grpc.StatusCode.INVALID_ARGUMENT]
    content = b"x" * (3 * PIECE_BYTES)
    assert (await post(IMPORT, content=content, headers=agent | CSV)).status_code == 422
    # Elsewhere, and beyond the greatest file, too large is too large.
    large = await post("/v1/agents", content=content, headers=agent | CSV)
    assert large.status_code == 413
    head = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: text/csv\r\ncontent-length: %d\r\n"
    head += b"authorization: %b\r\n\r\n" % agent["authorization"].encode()
    assert b" 413 " in (await gateway.raw(head % (IMPORT.encode(), 257 << 20)))[:20]


async def test_a_sender_who_hangs_up_has_sent_no_file(
    gateway: Running, received: Received, agent: dict[str, str]
) -> None:
    head = f"POST {IMPORT} HTTP/1.1\r\nhost: x\r\ncontent-type: text/csv\r\ncontent-length: {3 * PIECE_BYTES}\r\n"
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(f"{head}authorization: {agent['authorization']}\r\n\r\n".encode())
    writer.write(b"x" * (2 * PIECE_BYTES))
    async with asyncio.timeout(10):
        while not received.pieces:  # noqa: ASYNC110  The other side tells nobody.
            await asyncio.sleep(0.01)
    writer.close()
    await writer.wait_closed()
    assert (await gateway.client.post(IMPORT, content=b"a", headers=agent | CSV)).is_success
    *abandoned, whole = received.pieces
    assert (whole.content, whole.last) == (b"a", True)
    assert not any(piece.last for piece in abandoned)


def test_lines_are_written_as_the_csv_module_writes_them() -> None:
    cells = ["", "plain", 'a "word"', "a,b", "a\r\nb", "a\nb", " x ", "'=1", "पुणे"]
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    assert files._line(cells) == text.getvalue().encode()


async def test_a_file_of_unknown_length_is_counted_as_it_comes() -> None:
    class Endless:
        async def receive(self) -> dict[str, Any]:
            return {"type": "http.request", "body": b"x" * PIECE_BYTES, "more_body": True}

    endless = cast("Exchange", Endless())
    cut = files._pieces(endless, Upload(max_bytes=3 * PIECE_BYTES))
    assert [len((await anext(cut))[0]) for _ in range(2)] == [PIECE_BYTES] * 2
    with pytest.raises(EdgeError) as refused:
        await anext(cut)
    assert refused.value.status == 413


async def export(request: Any, _context: Any) -> Any:
    number = int(request.page_token or 0)
    listing = listings_pb2.Listing(
        id=f"listing-{number}",
        list_price=number,
        public_remarks='=HYPERLINK("x")' if number else "plain, said",
        amenities=["lift", "gym"],
        address=listings_pb2.Address(city="Pune", unit_number="+1"),
        media=[listings_pb2.Media(url="https://m.in/1.jpg", kind=listings_pb2.MEDIA_KIND_PHOTO)],
    )
    token = str(number + 1) if number < 2 else ""
    return pb.ExportListingsResponse(listings=[listing], next_page_token=token)


async def test_a_list_goes_out_as_csv_that_no_spreadsheet_runs(
    gateway: Running, peer: Peer, agent: dict[str, str]
) -> None:
    peer.replies["ExportListings"] = export
    answer = await gateway.client.get(EXPORT, headers=agent)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="listings.csv"'
    assert answer.headers["cache-control"] == "no-store"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["id"] for row in rows] == ["listing-0", "listing-1", "listing-2"]
    assert [row["public_remarks"] for row in rows[:2]] == ["plain, said", '\'=HYPERLINK("x")']
    assert (rows[1]["address.city"], rows[1]["address.unit_number"]) == ("Pune", "'+1")
    assert rows[1]["amenities"] == "lift;gym"
    assert orjson.loads(rows[1]["media"]) == [{"url": "https://m.in/1.jpg", "kind": "photo"}]
    assert rows[1]["bhk"] == ""


async def test_a_list_goes_out_as_json_lines(
    gateway: Running, peer: Peer, agent: dict[str, str]
) -> None:
    peer.replies["ExportListings"] = export
    accept = {"accept": "application/jsonl"}
    answer = await gateway.client.get(EXPORT, headers=agent | accept)
    assert answer.headers["content-type"] == "application/jsonl"
    lines = [orjson.loads(line) for line in answer.content.splitlines()]
    assert [line["id"] for line in lines] == ["listing-0", "listing-1", "listing-2"]


@pytest.mark.parametrize(
    ("code", "status"),
    [(grpc.StatusCode.PERMISSION_DENIED, 403), (grpc.StatusCode.UNAUTHENTICATED, 401)],
)
async def test_an_export_that_fails_says_so_before_it_begins_and_breaks_off_after(
    gateway: Running,
    peer: Peer,
    agent: dict[str, str],
    code: grpc.StatusCode,
    status: int,
) -> None:
    async def fails(request: Any, context: Any) -> Any:
        if request.page_token == failing:
            await context.abort(code, "as the test has it")
        return await export(request, context)

    peer.replies["ExportListings"] = fails
    failing = ""
    assert (await gateway.client.get(EXPORT, headers=agent)).status_code == status
    assert (await gateway.client.get(EXPORT)).status_code == 401
    paged = await gateway.client.get(f"{EXPORT}?page_size=5", headers=agent)
    assert paged.status_code == 422
    failing = "1"
    head = f"GET {EXPORT} HTTP/1.1\r\nhost: x\r\nauthorization: {agent['authorization']}\r\n\r\n"
    broken = await gateway.raw(head.encode())
    assert b"listing-0" in broken
    assert not broken.endswith(b"0\r\n\r\n")
