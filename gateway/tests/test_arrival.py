"""Requests that are too large, too slow, or no HTTP at all, on raw sockets."""

import asyncio
import contextlib

import pytest

from gateway.tests.conftest import Peer, Running

HEAD = b"POST /v1/auth/otp HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
MIB = 1 << 20


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):  # The other side was first.
        await writer.wait_closed()


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("exchange", "protocol"):
        monkeypatch.setattr(f"gateway.{module}.ARRIVAL_SECONDS", 0.3)


async def test_a_declared_body_over_the_limit_is_413(gateway: Running, peer: Peer) -> None:
    answer = await gateway.raw(HEAD + b"content-length: %d\r\n\r\n" % (MIB + 1))
    assert status(answer) == 413
    assert b'"code":"PAYLOAD_TOO_LARGE"' in answer
    assert peer.calls == 0


async def test_an_undeclared_body_over_the_limit_is_413(gateway: Running, peer: Peer) -> None:
    chunk = b"%x\r\n%s\r\n" % (64 << 10, b"x" * (64 << 10))
    answer = await gateway.raw(
        HEAD + b"transfer-encoding: chunked\r\n\r\n" + chunk * 17 + b"0\r\n\r\n"
    )
    assert status(answer) == 413
    assert peer.calls == 0


async def test_an_endless_body_is_cut_off(gateway: Running) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(HEAD + b"transfer-encoding: chunked\r\n\r\n")

    async def send_on() -> None:
        while True:
            writer.write(b"%x\r\n%s\r\n" % (64 << 10, b"x" * (64 << 10)))
            await writer.drain()
            await asyncio.sleep(0.005)

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(send_on(), 8)
    await closed(writer)


async def test_a_body_of_the_greatest_size_is_read(gateway: Running) -> None:
    response = await gateway.client.post(
        "/v1/auth/otp", content=b" " * MIB, headers={"content-type": "application/json"}
    )
    assert response.status_code == 422


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /v1/agents HTTP/1.1\r\nhost: x\r\nx-much: " + b"x" * (17 << 10) + b"\r\n\r\n",
        b"GET /v1/agents HTTP/1.1\r\nhost: x\r\n" + b"x-many: 1234567890\r\n" * 1200 + b"\r\n",
        b"GET /v1/agents?q=" + b"x" * (17 << 10) + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /v1/" + b"x" * (17 << 10) + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
)
async def test_a_head_over_the_limit_is_431(gateway: Running, request_: bytes) -> None:
    with pytest.raises(TimeoutError):  # The connection stays good.
        async with asyncio.timeout(0.5):
            await gateway.raw(request_)
    answer = await gateway.raw(
        request_.replace(b"host: x\r\n", b"host: x\r\nconnection: close\r\n")
    )
    assert status(answer) == 431
    assert b'"code":"HEADERS_TOO_LARGE"' in answer


async def test_an_address_that_no_parser_takes_apart_is_too_large_as_well(gateway: Running) -> None:
    answer = await gateway.raw(b"GET /v1/" + b"x" * (66 << 10) + b" HTTP/1.1\r\nhost: x\r\n\r\n")
    assert status(answer) == 431
    assert b'"code":"HEADERS_TOO_LARGE"' in answer


async def test_an_endless_head_is_cut_off(gateway: Running) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"GET /v1/agents HTTP/1.1\r\nhost: x\r\nx-endless: ")
    for _ in range(10):
        writer.write(b"x" * 4096)
        await writer.drain()
        await asyncio.sleep(0.01)
    answer = await asyncio.wait_for(reader.read(), 2)
    await closed(writer)
    assert status(answer) == 431
    assert b'"correlation_id"' in answer


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize(
    "part",
    [
        b"GET /v1/agents HTTP/1.1\r\nhost:",
        HEAD + b"content-length: 30\r\n\r\n{",
        HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\n{}",
    ],
)
async def test_a_request_that_does_not_arrive_is_408(gateway: Running, part: bytes) -> None:
    answer = await gateway.raw(part)
    assert status(answer) == 408
    assert b'"code":"REQUEST_TIMEOUT"' in answer


@pytest.mark.usefixtures("hurry")
async def test_a_connection_that_says_nothing_is_closed(gateway: Running) -> None:
    assert await gateway.raw(b"") == b""


@pytest.mark.usefixtures("hurry")
async def test_a_kept_connection_may_pause(gateway: Running) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    for _ in range(2):
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await reader.readuntil(b"alive")).startswith((b"HTTP/1.1 200", b'"}HTTP/1.1 200'))
        await asyncio.sleep(0.5)
    await closed(writer)


@pytest.mark.parametrize(
    "nonsense",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET /v1/agents HTTP/9.9\r\n\r\n",
        b"GET  HTTP/1.1\r\n\r\n",
        b"GET /v1/agents HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /v1/agents HTTP/1.1\r\nhost: x\r\nbad name: 1\r\n\r\n",
        b"CONNECT x:443 HTTP/1.1\r\nhost: x\r\n\r\n",
        HEAD + b"content-length: 1\r\ncontent-length: 2\r\n\r\n{}",
        HEAD + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"content-length: -1\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_no_http_is_400(gateway: Running, nonsense: bytes) -> None:
    answer = await gateway.raw(nonsense)
    assert status(answer) == 400
    assert b'"error":{"code":"VALIDATION_ERROR"' in answer
    assert (await gateway.client.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    "target",
    [
        b"/v1/agents/%ff",
        b"/v1/agents/%c3%28",
        b"/v1/agents/\xff\xfe",
        b"/v1/agents/a%2Fb",
        b"/v1/agents/%00",
        b"/v1/agents/%",
        b"/v1/agents/%zz",
        b"/v1/agents/..%2f..%2fetc",
        b"/v1/agents/../agents",
        b"/v1/agents?%ff=%ff",
        b"/v1/agents?page_size=%00",
        b"/v1/agents?&&&==&=",
        b"/v1/agents?" + b"page_size=1&" * 1000,
        b"http://x/v1/nothing",
        b"http://x",
        b"*",
        b"?",
    ],
)
async def test_odd_targets_never_break_it(gateway: Running, target: bytes) -> None:
    for method in (b"GET", b"HEAD", b"OPTIONS", b"DELETE", b"TRACE"):
        answer = await gateway.raw(
            b"%b %b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" % (method, target)
        )
        assert 400 <= status(answer) < 500, (method, answer)
        if method != b"HEAD":
            assert b'{"error":{"code":' in answer


async def test_pipelined_requests_are_answered_in_turn(gateway: Running) -> None:
    get = b"GET /v1/agents HTTP/1.1\r\nhost: x\r\n\r\n"
    last = b"GET /v1/nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    answer = await gateway.raw(get * 3 + last)
    assert answer.count(b"HTTP/1.1 200") == 3
    assert answer.count(b"HTTP/1.1 404") == 1


async def test_a_body_with_a_get_is_ignored(gateway: Running) -> None:
    answer = await gateway.raw(
        b"GET /v1/agents HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello"
    )
    assert status(answer) == 200


async def test_a_body_in_two_pieces_is_whole(gateway: Running) -> None:
    body = b'{"phone": "+919876543210"}'
    answer = await gateway.raw(
        HEAD + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body[:9],
        then=body[9:],
    )
    assert status(answer) == 202


async def test_continue_is_sent_when_asked_for(gateway: Running) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    body = b'{"phone": "+919876543210"}'
    writer.write(HEAD + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(body))
    assert (await reader.readline()).startswith(b"HTTP/1.1 100")
    await reader.readline()
    writer.write(body)
    assert (await reader.readline()).startswith(b"HTTP/1.1 202")
    await closed(writer)
