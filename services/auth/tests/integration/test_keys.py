"""Signing keys, what they sign, and who else gets a token."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from prometheus_client import REGISTRY

from auth_service.sealing import WrongSecret
from auth_service.signing_keys.domain import Cipher
from auth_service.signing_keys.service import SigningKeys
from chassis.errors import InvalidArgument, Unauthenticated
from chassis.keys import public_keys
from devstack.testing_service import SECRET
from propmubi.auth.v1 import auth_pb2 as pb
from services.auth.tests.conftest import Auth, RunAuth


def keys_of(auth: Auth) -> SigningKeys:
    keys = auth.running.service.keys
    assert isinstance(keys, SigningKeys)
    return keys


async def published(auth: Auth) -> pb.GetJwksResponse:
    answer: pb.GetJwksResponse = await auth.stub().GetJwks(pb.GetJwksRequest())
    return answer


async def age(auth: Auth, by: timedelta) -> None:
    """Make every key older."""
    await auth.rows(
        "update signing_keys set not_before = not_before - $1::interval, retires_at = retires_at - $1::interval",
        by,
    )


async def test_a_token_says_what_the_design_wants_and_the_published_keys_verify_it(
    auth: Auth,
) -> None:
    signed_in = await auth.sign_in()
    token = signed_in.access_token
    header = jwt.get_unverified_header(token)
    keys = public_keys(await published(auth))
    assert header == {"alg": "ES256", "typ": "at+jwt", "kid": next(iter(keys))}
    claims = jwt.decode(
        token,
        keys[header["kid"]],
        algorithms=["ES256"],
        audience="propmubi",
        issuer="propmubi-auth",
    )
    [session] = await auth.rows("select id from sessions")
    assert claims["exp"] - claims["iat"] == 600
    assert (claims["sub"], claims["sid"], claims["roles"]) == (
        signed_in.user.id,
        str(session["id"]),
        ["buyer"],
    )
    assert "phone" not in claims
    jwks = await published(auth)
    assert {(key.kty, key.use, key.alg, key.crv) for key in jwks.keys} == {
        ("EC", "sig", "ES256", "P-256")
    }


async def test_replicas_that_start_at_once_make_one_key(run_auth: RunAuth) -> None:
    async with run_auth() as first:
        await first.rows("delete from signing_keys")
        replicas = [SigningKeys(first.database, Cipher("keys-" + SECRET)) for _ in range(8)]
        await asyncio.gather(*(replica.make_due() for replica in replicas))
        assert len(await first.rows("select from signing_keys")) == 1


async def test_each_replica_tells_when_the_last_key_retires(auth: Auth) -> None:
    await age(auth, timedelta(days=3))
    await keys_of(auth).load()
    [last] = await auth.rows("select max(retires_at) as at from signing_keys")
    told = REGISTRY.get_sample_value("propmubi_signing_key_retires_timestamp_seconds")
    assert told == last["at"].timestamp()


async def test_a_private_key_is_useless_without_its_secret(auth: Auth) -> None:
    [row] = await auth.rows("select kid, private_key from signing_keys")
    with pytest.raises(WrongSecret, match="KEY_ENCRYPTION_KEY"):
        Cipher("another secret").decrypt(row["kid"], row["private_key"])
    with pytest.raises(WrongSecret):
        Cipher("keys-" + SECRET).decrypt("another kid", row["private_key"])


async def test_rotation_publishes_ahead_and_keeps_the_old_until_its_tokens_are_dead(
    auth: Auth,
) -> None:
    keys = keys_of(auth)
    old = (await auth.sign_in()).access_token
    [first] = [key.kid for key in (await published(auth)).keys]

    await age(auth, timedelta(days=28))
    await keys.make_due()
    assert len(await auth.rows("select from signing_keys")) == 1

    await age(auth, timedelta(days=1, minutes=1))
    await asyncio.gather(*(keys.make_due() for _ in range(5)))
    await keys.load()
    assert len((await published(auth)).keys) == 2
    assert keys.signer()[0] == first

    await age(auth, timedelta(days=1))
    await keys.make_due()
    await keys.load()
    assert keys.signer()[0] != first
    assert (await auth.me(old)).id
    assert (await auth.me((await auth.sign_in()).access_token)).id

    await age(auth, timedelta(minutes=31))
    await keys.make_due()
    await keys.load()
    assert first not in [key.kid for key in (await published(auth)).keys]
    assert keys.get(first) is None


async def test_a_key_made_by_another_replica_is_believed(run_auth: RunAuth) -> None:
    async with run_auth() as first:
        # All are long retired: whoever comes next has to make one at once.
        await age(first, timedelta(days=40))
        async with run_auth() as second:
            token = (await second.sign_in()).access_token
            async with asyncio.timeout(5):
                while True:
                    try:
                        assert (await first.me(token)).id
                        break
                    except Unauthenticated:
                        await asyncio.sleep(0.05)


async def test_keys_follow_the_clock(auth: Auth) -> None:
    [row] = await auth.rows("select not_before, retires_at from signing_keys")
    assert row["retires_at"] - row["not_before"] == timedelta(days=30)
    assert abs(datetime.now(UTC) - row["not_before"]) < timedelta(minutes=1)


async def test_tokens_are_dated_by_the_database_whatever_the_clock_of_a_replica_says(
    auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is ahead would issue tokens that outlive the loss of the roles in them."""
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 20)
    signed_in = await auth.sign_in()
    for tokens in (signed_in, await auth.refresh(signed_in.refresh_token)):
        claims = jwt.decode(tokens.access_token, options={"verify_signature": False})
        assert claims["iat"] <= now()


async def test_a_service_gets_a_token_for_its_secret_only(auth: Auth) -> None:
    stub = auth.stub()
    answer = await stub.IssueServiceToken(
        pb.IssueServiceTokenRequest(service_id="crm", service_secret=SECRET)
    )
    claims = jwt.decode(answer.access_token, options={"verify_signature": False})
    assert (claims["sub"], claims["roles"]) == ("service:crm", ["service"])
    assert claims["exp"] - claims["iat"] == answer.expires_in == 600
    refusals = []
    for name, secret in (("crm", SECRET + "-2"), ("nobody", SECRET), ("agents", SECRET)):
        with pytest.raises(Unauthenticated) as refused:
            await stub.IssueServiceToken(
                pb.IssueServiceTokenRequest(service_id=name, service_secret=secret)
            )
        refusals.append(refused.value.message)
    assert len(set(refusals)) == 1
    with pytest.raises(InvalidArgument):
        await stub.IssueServiceToken(
            pb.IssueServiceTokenRequest(service_id="crm", service_secret="short")
        )


async def test_tokens_of_another_platform_are_refused(run_auth: RunAuth) -> None:
    async with run_auth(token_audience="another") as auth:
        token = (await auth.sign_in()).access_token
    async with run_auth() as auth:
        with pytest.raises(Unauthenticated):
            await auth.me(token)
