"""Who may call: tokens that are absent, wrong, expired or not enough."""

import time
import uuid
from typing import Any

import jwt
import pytest

from devstack.testing_service import Tokens
from gateway.tests.conftest import AGENT, Peer, Running, bearer

ID = "01935b0e-7f1c-7b1e-9a51-0c2f6f3a9c11"


async def test_a_protected_route_without_a_token_is_401(gateway: Running, peer: Peer) -> None:
    response = await gateway.client.get("/v1/users/me")
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == 'Bearer realm="propmubi"'
    assert response.json()["error"]["code"] == "UNAUTHORIZED"
    assert peer.calls == 0


def wrong(tokens: Tokens) -> dict[str, str]:
    claims = {"sub": str(uuid.uuid4()), "roles": ["admin"]}
    good = tokens.sign(claims)
    head, payload, signature = good.split(".")
    return {
        "nonsense": "Bearer nonsense",
        "no token": "Bearer",
        "scheme": "Basic YTpi",
        "bare": good,
        "expired": f"Bearer {tokens.sign({**claims, 'exp': int(time.time()) - 60})}",
        "issuer": f"Bearer {tokens.sign({**claims, 'iss': 'somebody'})}",
        "audience": f"Bearer {tokens.sign({**claims, 'aud': 'somebody'})}",
        "type": f"Bearer {tokens.sign(claims, headers={'typ': 'JWT'})}",
        "kid": f"Bearer {tokens.sign(claims, headers={'kid': 'other'})}",
        "signature": f"Bearer {head}.{payload}.{signature[:-4]}AAAA",
        "unsigned": f"Bearer {jwt.encode(claims, '', algorithm='none')}",
        "another key": f"Bearer {Tokens().sign(claims)}",
        "endless": f"Bearer {'x' * 9000}",
    }


@pytest.mark.parametrize("name", list(wrong(Tokens())))
@pytest.mark.parametrize("path", ["/v1/users/me", f"/v1/agents/{ID}"])
async def test_a_wrong_token_is_401_on_public_routes_too(
    gateway: Running, peer: Peer, tokens: Tokens, name: str, path: str
) -> None:
    response = await gateway.client.get(path, headers={"authorization": wrong(tokens)[name]})
    assert response.status_code == 401
    assert 'error="invalid_token"' in response.headers["www-authenticate"]
    assert peer.calls == 0


async def test_an_absent_role_is_403(gateway: Running, peer: Peer, tokens: Tokens) -> None:
    for token in (tokens.person(), tokens.agent()):
        response = await gateway.client.post(f"/v1/agents/{ID}/verify", headers=bearer(token))
        assert response.status_code == 403
        assert response.json()["error"]["code"] == "FORBIDDEN"
    assert peer.calls == 0
    response = await gateway.client.post(f"/v1/agents/{ID}/verify", headers=bearer(tokens.admin()))
    assert response.status_code == 200


@pytest.mark.parametrize("path", ["/v1/users/me", f"/v1/agents/{ID}"])
async def test_a_services_token_is_good_for_nothing_here(
    gateway: Running, peer: Peer, tokens: Tokens, path: str
) -> None:
    response = await gateway.client.get(path, headers=bearer(tokens.service("crm")))
    assert response.status_code == 401
    assert peer.calls == 0


async def test_the_scheme_is_read_in_any_case(gateway: Running, tokens: Tokens) -> None:
    response = await gateway.client.get(
        "/v1/users/me", headers={"authorization": f"bearer  {tokens.person()}"}
    )
    assert response.status_code == 200


async def test_access_is_decided_before_the_body_is_read(gateway: Running, peer: Peer) -> None:
    response: Any = await gateway.client.post("/v1/agents", json={**AGENT, "nonsense": 1})
    assert response.status_code == 401
    assert peer.calls == 0
