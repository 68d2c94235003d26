"""What the edge refuses, what it tells of the refusals and faults of services, and nothing more."""

import asyncio
from typing import Any

import grpc
import pytest

from chassis import errors as domain
from devstack.testing_service import Tokens
from gateway.tests.conftest import AGENT, Peer, RunGateway, Running, bearer, error_of, raising, utf8

ID = "01935b0e-7f1c-7b1e-9a51-0c2f6f3a9c11"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/agents/",
        "/v1//agents",
        "//v1/agents",
        "/v2/agents",
        "/metrics",
        "/openapi.json/",
    ],
)
async def test_unknown_paths_are_404(gateway: Running, path: str) -> None:
    # Built by hand: a client would tidy the path.
    answer = await gateway.raw(
        f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode()
    )
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b'"code":"RESOURCE_NOT_FOUND"' in answer
    assert f'"path":"{path}"'.encode() in answer


async def test_an_offer_of_web_sockets_is_answered_by_http_and_nobody_is_warned(
    gateway: Running, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await gateway.raw(
        b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert [record for record in caplog.records if "uvicorn" in record.name] == []


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/agents", "GET, HEAD, POST"),
        ("PUT", f"/v1/agents/{ID}", "GET, HEAD, PATCH"),
        ("GET", "/v1/auth/otp", "POST"),
        ("OPTIONS", "/v1/auth/otp", "POST"),
        ("POST", "/healthz", "GET"),
    ],
)
async def test_the_wrong_method_is_405(
    gateway: Running, method: str, path: str, allowed: str
) -> None:
    response = await gateway.client.request(method, path)
    assert response.status_code == 405
    assert response.headers["allow"] == allowed
    assert error_of(response)["code"] == "METHOD_NOT_ALLOWED"


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"{", 422, None),
        (b"[]", 422, None),
        (b"\xff\xfe", 422, None),
        (b'{"phone": 5}', 422, "phone"),
        (b"{}", 422, "phone"),
        (b'{"phone": "nonsense"}', 422, "phone"),
        (b'{"phone": "+919876543210", "more": 1}', 422, "more"),
        (b'{"phone": "' + b"9" * 500_000 + b'"}', 422, "phone"),
    ],
)
async def test_a_bad_body_is_422_and_reaches_nobody(
    gateway: Running, peer: Peer, body: bytes, status: int, field: str | None
) -> None:
    response = await gateway.client.post(
        "/v1/auth/otp", content=body, headers={"content-type": "application/json"}
    )
    assert response.status_code == status
    error = error_of(response)
    assert error["code"] == "VALIDATION_ERROR"
    if field is not None:
        assert [detail["field"] for detail in error["details"]] == [field]
    assert peer.calls == 0


async def test_a_bad_parameter_of_the_gateways_own_page_is_422(gateway: Running) -> None:
    answer = await gateway.client.get("/readyz?peers=%3Cscript%3E")
    assert answer.status_code == 422
    [fault] = error_of(answer)["details"]
    assert fault["field"] == "peers"
    assert "script" not in answer.text


async def test_another_content_type_is_415(gateway: Running) -> None:
    response = await gateway.client.post("/v1/auth/otp", data={"phone": "+919876543210"})
    assert response.status_code == 415
    assert error_of(response)["code"] == "UNSUPPORTED_MEDIA_TYPE"
    for coding, expected in (("gzip", 415), ("identity", 422)):
        headers = {"content-encoding": coding}
        response = await gateway.client.post("/v1/auth/otp", json={}, headers=headers)
        assert response.status_code == expected


@pytest.mark.parametrize("key", ["", "k" * 256, "two words", "\u043a\u043b\u044e\u0447"])
async def test_a_bad_idempotency_key_is_422(gateway: Running, tokens: Tokens, key: str) -> None:
    response = await gateway.client.post(
        "/v1/agents",
        json=AGENT,
        headers=utf8(**bearer(tokens.person()), **{"idempotency-key": key}),
    )
    assert response.status_code == 422
    assert error_of(response)["details"][0]["field"] == "Idempotency-Key"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (domain.InvalidArgument(domain.Violation("bio", "is rude")), 422, "VALIDATION_ERROR"),
        (domain.Unauthenticated("Who?", reason="OTP_INVALID"), 401, "OTP_INVALID"),
        (domain.PermissionDenied("Not you."), 403, "FORBIDDEN"),
        (domain.Conflict("Held.", reason="UNIT_NOT_AVAILABLE"), 409, "UNIT_NOT_AVAILABLE"),
        (domain.AlreadyExists("Twice."), 409, "ALREADY_EXISTS"),
        (domain.RateLimited("Slowly.", retry_after=7), 429, "RATE_LIMITED"),
        (domain.Unavailable("Later."), 503, "SERVICE_UNAVAILABLE"),
        (RuntimeError("secret words"), 500, "INTERNAL"),
    ],
)
async def test_what_a_service_answers_is_told(
    gateway: Running, peer: Peer, tokens: Tokens, error: Exception, status: int, code: str
) -> None:
    peer.replies["CreateAgent"] = raising(error)
    response = await gateway.client.post("/v1/agents", json=AGENT, headers=bearer(tokens.person()))
    assert response.status_code == status
    told = error_of(response)
    assert told["code"] == code
    assert "secret" not in response.text
    if isinstance(error, domain.InvalidArgument):
        assert told["details"] == [{"field": "bio", "message": "is rude"}]
    if status == 401:
        assert response.headers["www-authenticate"].startswith("Bearer ")
    if status == 429:
        assert response.headers["retry-after"] == "7"
    if status == 503:
        assert response.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (grpc.StatusCode.UNKNOWN, 502),
        (grpc.StatusCode.UNIMPLEMENTED, 501),
        (grpc.StatusCode.CANCELLED, 499),
        (grpc.StatusCode.DATA_LOSS, 500),
    ],
)
async def test_faults_of_a_service_say_nothing(
    gateway: Running, peer: Peer, code: grpc.StatusCode, status: int
) -> None:
    async def abort(_request: Any, context: Any) -> Any:
        await context.abort(code, "secret words")

    peer.replies["GetAgent"] = abort
    response = await gateway.client.get(f"/v1/agents/{ID}")
    assert response.status_code == status
    assert "secret" not in response.text
    error_of(response)


async def test_a_slow_service_is_504(
    gateway: Running, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(_request: Any, _context: Any) -> Any:
        await asyncio.sleep(30)

    peer.replies["GetAgent"] = slow
    monkeypatch.setattr("gateway.exchange.ANSWER_SECONDS", 0.9)
    response = await gateway.client.get(f"/v1/agents/{ID}")
    assert response.status_code == 504
    assert error_of(response)["code"] == "DEADLINE_EXCEEDED"


async def test_an_answer_that_hangs_in_the_gateway_is_504(
    gateway: Running, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(_request: Any, _context: Any) -> Any:
        await asyncio.sleep(30)

    peer.replies["GetAgent"] = slow
    monkeypatch.setattr("gateway.exchange.ANSWER_SECONDS", 0.3)
    monkeypatch.setattr("gateway.middleware.RESERVE_SECONDS", -30)
    response = await gateway.client.get(f"/v1/agents/{ID}")
    assert response.status_code == 504


async def test_a_fault_of_the_gateway_is_500_and_logged(
    gateway: Running, peer: Peer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gateway.routes._matches", lambda *_: 1 / 0)
    response = await gateway.client.get(
        f"/v1/agents/{ID}", headers={"x-correlation-id": "request-4711"}
    )
    assert response.status_code == 500
    assert error_of(response)["code"] == "INTERNAL"


async def test_a_service_that_is_away_is_503(run_gateway: RunGateway, peer: Peer) -> None:
    async with run_gateway() as gateway:
        peer.replies["GetAgent"] = raising(domain.Unavailable("Gone."))
        response = await gateway.client.get(f"/v1/agents/{ID}")
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
