"""Access tokens: only those that auth signed for us, in time and not revoked, say who somebody is."""

import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from chassis.errors import PermissionDenied, Unauthenticated
from chassis.identity import Principal
from chassis.revocations import Revocations
from chassis.verification import LONGEST_TOKEN, REMEMBERED, TokenVerifier
from devstack.testing_service import early_in_a_second
from propmubi.options.v1.options_pb2 import Caller

KEY = generate_private_key(SECP256R1())
PUBLIC_PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


class OneKey:
    """A key set of one."""

    def __init__(self) -> None:
        self.withdrawn = False

    def get(self, kid: str) -> EllipticCurvePublicKey | None:
        return KEY.public_key() if kid == "k1" and not self.withdrawn else None

    async def find(self, kid: str) -> EllipticCurvePublicKey | None:
        return self.get(kid)

    def renew(self) -> None: ...


def verifier(revocations: Revocations | None = None, keys: OneKey | None = None) -> TokenVerifier:
    return TokenVerifier(
        keys or OneKey(), revocations or Revocations(), issuer="propmubi-auth", audience="propmubi"
    )


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    standard = {
        "iss": "propmubi-auth",
        "aud": "propmubi",
        "sub": str(uuid.uuid4()),
        "sid": str(uuid.uuid4()),
        "roles": ["buyer"],
        "iat": now,
        "exp": now + 600,
        "jti": str(uuid.uuid4()),
    }
    return {name: value for name, value in {**standard, **changes}.items() if value is not ...}


def signed(payload: Mapping[str, Any] | None = None, **headers: Any) -> str:
    head = {"typ": "at+jwt", "kid": "k1", **headers}
    return jwt.encode(dict(payload or claims()), KEY, algorithm="ES256", headers=head)


def part(value: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def hs256_with_the_public_key() -> str:
    body = f"{part({'typ': 'at+jwt', 'alg': 'HS256', 'kid': 'k1'})}.{part(claims())}"
    mac = hmac.new(PUBLIC_PEM, body.encode(), hashlib.sha256).digest()
    return f"{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


async def test_a_good_token_says_who_calls() -> None:
    agent_id = uuid.uuid4()
    said = claims(roles=["buyer", "agent"], agent_id=str(agent_id))
    principal = await verifier().verify(signed(said))
    assert str(principal.user_id) == said["sub"]
    assert principal.session_id == said["sid"]
    assert principal.agent_id == agent_id
    assert principal.office_id is None
    assert principal.callers == {Caller.CALLER_ANYONE, Caller.CALLER_PERSON, Caller.CALLER_AGENT}


async def test_a_service_is_no_person() -> None:
    principal = await verifier().verify(
        signed(claims(sub="service:crm", roles=["service"], sid=...))
    )
    assert principal.callers == {Caller.CALLER_ANYONE, Caller.CALLER_SERVICE}
    with pytest.raises(PermissionDenied):
        _ = principal.user_id


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("", id="empty"),
        pytest.param("no.token", id="malformed"),
        pytest.param("é.é.é", id="not ascii"),
        pytest.param("x" * (LONGEST_TOKEN + 1), id="too long"),
        pytest.param(
            f"{part({'typ': 'at+jwt', 'alg': 'none', 'kid': 'k1'})}.{part(claims())}.",
            id="alg none",
        ),
        pytest.param(hs256_with_the_public_key(), id="HS256 with the public key"),
        pytest.param(signed(crit=["exp"]), id="crit"),
        pytest.param(signed(jku="https://attacker.example/jwks.json"), id="jku"),
        pytest.param(signed(jwk={"kty": "EC"}), id="jwk"),
        pytest.param(signed(x5u="https://attacker.example/cert"), id="x5u"),
        pytest.param(signed(typ="JWT"), id="typ"),
        pytest.param(signed(kid="k2"), id="unknown kid"),
        pytest.param(
            jwt.encode(
                claims(),
                generate_private_key(SECP256R1()),
                algorithm="ES256",
                headers={"typ": "at+jwt", "kid": "k1"},
            ),
            id="another key",
        ),
        pytest.param(signed(claims(iss="somebody")), id="issuer"),
        pytest.param(signed(claims(aud="another")), id="audience"),
        pytest.param(signed(claims(iss=...)), id="no issuer"),
        pytest.param(signed(claims(aud=...)), id="no audience"),
        pytest.param(signed(claims(exp=...)), id="no expiry"),
        pytest.param(signed(claims(iat=...)), id="no issue time"),
        pytest.param(signed(claims(jti=...)), id="no jti"),
        pytest.param(signed(claims(sub="nobody")), id="a person without an id"),
        pytest.param(signed(claims(roles="admin")), id="roles of another type"),
        pytest.param(signed(claims(agent_id="mine")), id="an id that is none"),
        pytest.param(signed(claims(iat=int(time.time()) + 600)), id="from the future"),
    ],
)
async def test_every_other_token_is_refused_alike(token: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        await verifier().verify(token)
    assert refused.value.reason == "UNAUTHORIZED"


async def test_a_signature_over_other_claims_is_refused() -> None:
    head, body, signature = signed().split(".")
    said = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    with pytest.raises(Unauthenticated):
        await verifier().verify(f"{head}.{part({**said, 'roles': ['admin']})}.{signature}")


async def test_leeway_is_thirty_seconds() -> None:
    now = await early_in_a_second()
    await verifier().verify(signed(claims(iat=now - 600, exp=now - 29)))
    with pytest.raises(Unauthenticated):
        await verifier().verify(signed(claims(iat=now - 600, exp=now - 31)))


async def test_what_a_withdrawn_key_signed_is_refused_although_it_is_remembered() -> None:
    keys = OneKey()
    known, token = verifier(keys=keys), signed()
    await known.verify(token)
    keys.withdrawn = True
    with pytest.raises(Unauthenticated):
        await known.verify(token)


async def test_a_remembered_token_still_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    known, token = verifier(), signed()
    await known.verify(token)
    later = time.time() + 631
    monkeypatch.setattr("chassis.verification.time.time", lambda: later)
    with pytest.raises(Unauthenticated):
        await known.verify(token)


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert REMEMBERED <= 100_000
    monkeypatch.setattr("chassis.verification.REMEMBERED", 3)
    known = verifier()
    for _ in range(10):
        await known.verify(signed())
    assert len(known._remembered) == 3


async def test_a_revoked_session_is_refused_and_another_is_not() -> None:
    revocations = Revocations()
    known = verifier(revocations)
    token, other = signed(), signed()
    revoked: Principal = await known.verify(token)
    revocations.revoke_session(revoked.session_id)
    with pytest.raises(Unauthenticated):
        await known.verify(token)
    await known.verify(other)


async def test_a_lost_role_refuses_tokens_from_before() -> None:
    revocations, user, now = Revocations(), str(uuid.uuid4()), int(time.time())
    known = verifier(revocations)
    before, after = signed(claims(sub=user, iat=now)), signed(claims(sub=user, iat=now + 1))
    revocations.revoke_user(user, issued_until=now)
    with pytest.raises(Unauthenticated):
        await known.verify(before)
    await known.verify(after)


def test_revocations_are_forgotten_when_their_tokens_are_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    revocations = Revocations()
    revocations.revoke_session("s")
    revocations.revoke_user("u", issued_until=0)
    later = time.time() + 901
    monkeypatch.setattr("chassis.revocations.time.time", lambda: later)
    revocations.revoke_session("another")
    assert set(revocations._sessions) == {"another"}
    assert not revocations._users


async def test_of_two_losses_of_one_person_the_later_counts() -> None:
    revocations, user, now = Revocations(), str(uuid.uuid4()), int(time.time())
    revocations.revoke_user(user, issued_until=now)
    revocations.revoke_user(user, issued_until=now - 60)  # Delivered again.
    with pytest.raises(Unauthenticated):
        await verifier(revocations).verify(signed(claims(sub=user, iat=now)))


def test_a_great_many_revocations_cost_no_more_each() -> None:
    revocations = Revocations()
    for number in range(50_000):
        revocations.revoke_session(str(number))
    assert len(revocations._sessions) == 50_000
