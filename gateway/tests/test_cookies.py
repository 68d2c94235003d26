"""Refresh tokens that a browser has in a cookie: only where it says so, and only for pages of allowed origins."""

import uuid
from http.cookies import SimpleCookie
from typing import Any

import httpx
import pytest

from devstack.testing_service import Tokens
from gateway.tests.conftest import Peer, RunGateway, Running, bearer
from propmubi.auth.v1 import auth_pb2

PAGE = "http://localhost:3005"
TOKEN = "a-refresh-token-of-some-length"
VERIFY = {"challenge_id": str(uuid.uuid4()), "code": "123456"}
ASKED = {"origin": PAGE, "x-use-cookie": "refresh_token"}
FORGET = "refresh_token=; Max-Age=0; Path=/; HttpOnly; SameSite=Strict"


def holding(token: str, name: str = "refresh_token") -> dict[str, str]:
    return {**ASKED, "cookie": f"theme=dark; {name}={token}; more=x"}


async def post(gateway: Running, path: str, headers: dict[str, str], **sent: Any) -> httpx.Response:
    # A client of its own each time: this one must not keep cookies as a browser would.
    async with httpx.AsyncClient(base_url=gateway.client.base_url) as client:
        return await client.post(path, headers=headers, **sent)


async def test_a_token_is_in_the_cookie_and_not_in_the_body(gateway: Running) -> None:
    answer = await post(gateway, "/v1/auth/otp/verify", ASKED, json=VERIFY)
    assert answer.status_code == 200
    assert (answer.json()["access_token"], answer.json()["refresh_token"]) == ("a", "")
    assert answer.headers.get_list("set-cookie") == [
        "refresh_token=r; Max-Age=1209600; Path=/; HttpOnly; SameSite=Strict"
    ]
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("environment", ["staging", "production"])
async def test_outside_development_the_cookie_is_bound_to_the_host_and_to_tls(
    run_gateway: RunGateway, environment: str
) -> None:
    async with run_gateway(environment=environment, gateway_host="127.0.0.1") as gateway:
        answer = await post(gateway, "/v1/auth/otp/verify", ASKED, json=VERIFY)
        (cookie,) = answer.headers.get_list("set-cookie")
        assert (
            cookie
            == "__Host-refresh_token=r; Max-Age=1209600; Path=/; Secure; HttpOnly; SameSite=Strict"
        )
        held = SimpleCookie(cookie)["__Host-refresh_token"]
        assert (held["secure"], held["httponly"], held["domain"]) == (True, True, "")
        refreshed = await post(gateway, "/v1/auth/refresh", holding(TOKEN, "__Host-refresh_token"))
        assert refreshed.status_code == 200
        # What another host, or plain HTTP, could have set is not believed.
        unbound = await post(gateway, "/v1/auth/refresh", holding(TOKEN))
        assert unbound.status_code == 401


@pytest.mark.parametrize(
    "sent", [{}, {"json": {}}, {"content": b"{}", "headers": {"content-type": "application/json"}}]
)
async def test_refreshing_takes_the_token_from_the_cookie(
    gateway: Running, sent: dict[str, Any]
) -> None:
    headers = {**holding(TOKEN), **sent.pop("headers", {})}
    answer = await post(gateway, "/v1/auth/refresh", headers, **sent)
    assert answer.status_code == 200
    assert f"refresh_token={TOKEN}+1;" in answer.headers["set-cookie"]
    assert answer.json()["refresh_token"] == ""


async def test_a_token_in_the_body_moves_into_a_cookie(gateway: Running) -> None:
    other = "another-token-that-the-body-gives"
    answer = await post(gateway, "/v1/auth/refresh", holding(TOKEN), json={"refresh_token": other})
    assert f"refresh_token={other}+1;" in answer.headers["set-cookie"]


async def test_a_cookie_that_nobody_asks_for_is_nothing(gateway: Running, peer: Peer) -> None:
    """What a foreign page can have a browser send: the cookie, and no header of ours."""
    for headers in (
        {"cookie": f"refresh_token={TOKEN}"},
        {"origin": PAGE, "cookie": f"refresh_token={TOKEN}"},
    ):
        answer = await post(gateway, "/v1/auth/refresh", headers, json={})
        assert answer.status_code == 422
        assert "set-cookie" not in answer.headers
    answer = await post(gateway, "/v1/auth/otp/verify", {"origin": PAGE}, json=VERIFY)
    assert answer.json()["refresh_token"] == "r"
    assert "set-cookie" not in answer.headers
    assert peer.calls == 1


@pytest.mark.parametrize(
    "origin",
    ["http://localhost:3007", "https://localhost:3005", "http://LOCALHOST:3005", "null", "", None],
)
async def test_other_origins_get_and_use_no_cookie(
    gateway: Running, peer: Peer, origin: str | None
) -> None:
    headers = holding(TOKEN)
    del headers["origin"]
    if origin is not None:
        headers["origin"] = origin
    for path, body in (("/v1/auth/otp/verify", VERIFY), ("/v1/auth/refresh", {})):
        answer = await post(gateway, path, headers, json=body)
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "FORBIDDEN"
        assert "set-cookie" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers
    assert peer.calls == 0


async def test_a_cookie_of_another_name_is_422(gateway: Running, peer: Peer) -> None:
    for name in ("access_token", "", "refresh_token, access_token"):
        headers = {**ASKED, "x-use-cookie": name}
        answer = await post(gateway, "/v1/auth/otp/verify", headers, json=VERIFY)
        assert answer.status_code == 422
        (detail,) = answer.json()["error"]["details"]
        assert detail == {"field": "X-Use-Cookie", "message": "must be refresh_token"}
    assert peer.calls == 0


async def test_without_the_cookie_one_is_not_signed_in(gateway: Running, peer: Peer) -> None:
    for headers in (ASKED, {**ASKED, "cookie": "theme=dark; other_refresh_token=x"}):
        answer = await post(gateway, "/v1/auth/refresh", headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == 'Bearer realm="propmubi"'
    assert peer.calls == 0


@pytest.mark.parametrize("body", [b"[]", b"{", b"nonsense", b'"text"'])
async def test_a_body_that_is_none_is_refused_as_ever(gateway: Running, body: bytes) -> None:
    headers = {**holding(TOKEN), "content-type": "application/json"}
    answer = await post(gateway, "/v1/auth/refresh", headers, content=body)
    assert answer.status_code == 422


@pytest.mark.parametrize("cookie", ["short", "x" * 201, '"quoted"; DROP', "%00%00", ""])
async def test_a_cookie_that_is_no_token_is_as_good_as_none(
    gateway: Running, peer: Peer, cookie: str
) -> None:
    answer = await post(gateway, "/v1/auth/refresh", holding(cookie))
    assert answer.status_code == 401
    assert peer.calls == 0


async def test_signing_out_forgets_the_cookie_where_there_is_one(
    gateway: Running, tokens: Tokens
) -> None:
    token = bearer(tokens.person())
    answer = await post(gateway, "/v1/auth/logout", {**ASKED, **token}, json={})
    assert (answer.status_code, answer.headers.get_list("set-cookie")) == (204, [FORGET])
    answer = await post(gateway, "/v1/auth/logout", token, json={})
    assert (answer.status_code, answer.headers.get_list("set-cookie")) == (204, [])


async def test_a_refusal_sets_no_cookie(gateway: Running, peer: Peer) -> None:
    async def refuse(_request: Any, _context: Any) -> Any:
        return auth_pb2.TokenResponse()

    peer.replies["VerifyOtp"] = refuse
    answer = await post(gateway, "/v1/auth/otp/verify", ASKED, json=VERIFY)
    assert answer.headers.get_list("set-cookie") == []
    answer = await post(gateway, "/v1/auth/logout", ASKED, json={})
    assert (answer.status_code, answer.headers.get_list("set-cookie")) == (401, [])


async def test_where_no_field_has_a_cookie_the_header_says_nothing(gateway: Running) -> None:
    answer = await gateway.client.get("/v1/agents", headers={"x-use-cookie": "refresh_token"})
    assert answer.status_code == 200


async def test_a_browser_may_ask_with_credentials(gateway: Running) -> None:
    asked = {
        "origin": PAGE,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,x-use-cookie",
    }
    answer = await gateway.client.options("/v1/auth/refresh", headers=asked)
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "X-Use-Cookie" in answer.headers["access-control-allow-headers"]
