"""Cross-origin requests: exact origins and nothing else."""

import pytest

from gateway.tests.conftest import Peer, Running

ALLOWED = "http://localhost:3005"
OTHERS = ["http://localhost:3007", "https://localhost:3005", "http://localhost:3005.evil.example", "null", "*", "http://LOCALHOST:3005"]  # fmt: skip


def cors(headers: object) -> set[str]:
    return {name for name in headers if name.startswith("access-control-")}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/agents", 200),
        ("GET", "/v1/nothing", 404),
        ("DELETE", "/v1/agents", 405),
        ("GET", "/v1/users/me", 401),
        ("POST", "/v1/auth/otp", 422),
        ("GET", "/openapi.json", 200),
    ],
)
async def test_answers_and_errors_are_for_allowed_origins(
    gateway: Running, method: str, path: str, status: int
) -> None:
    response = await gateway.client.request(method, path, headers={"origin": ALLOWED})
    assert response.status_code == status
    assert response.headers["access-control-allow-origin"] == ALLOWED
    assert response.headers["access-control-allow-credentials"] == "true"
    assert "ETag" in response.headers["access-control-expose-headers"]
    assert "Origin" in response.headers["vary"]


@pytest.mark.parametrize("origin", OTHERS)
async def test_other_origins_get_the_answer_without_leave(gateway: Running, origin: str) -> None:
    response = await gateway.client.get("/v1/agents", headers={"origin": origin})
    assert response.status_code == 200
    assert not cors(response.headers)
    assert "Origin" in response.headers["vary"]


async def test_without_an_origin_nothing_is_said(gateway: Running) -> None:
    assert not cors((await gateway.client.get("/v1/agents")).headers)


@pytest.mark.parametrize("path", ["/v1/agents", "/v1/nothing"])
async def test_a_preflight_is_answered_at_the_edge(gateway: Running, peer: Peer, path: str) -> None:
    response = await gateway.client.options(
        path,
        headers={
            "origin": ALLOWED,
            "access-control-request-method": "PATCH",
            "access-control-request-headers": "authorization,if-match,idempotency-key,x-correlation-id",
        },
    )
    assert response.status_code == 204
    assert response.headers["access-control-allow-origin"] == ALLOWED
    assert response.headers["access-control-allow-methods"] == "GET, POST, PUT, PATCH, DELETE"
    allowed = response.headers["access-control-allow-headers"].lower()
    for name in (
        "authorization",
        "content-type",
        "if-match",
        "if-none-match",
        "idempotency-key",
        "x-use-cookie",
    ):
        assert name in allowed
    assert "Origin" in response.headers["vary"]
    assert peer.calls == 0


@pytest.mark.parametrize("origin", OTHERS)
async def test_a_preflight_of_another_origin_gets_no_leave(gateway: Running, origin: str) -> None:
    response = await gateway.client.options(
        "/v1/agents", headers={"origin": origin, "access-control-request-method": "GET"}
    )
    assert response.status_code == 204
    assert not cors(response.headers)
