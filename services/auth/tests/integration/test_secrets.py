"""Secrets that are exchanged while the service is used: the new one first, the one it replaces behind it."""

import asyncio

import jwt
import pytest

from auth_service.sealing import WrongSecret
from auth_service.signing_keys.domain import Cipher
from chassis.errors import Unauthenticated
from devstack.testing_service import SECRET
from propmubi.auth.v1 import auth_pb2 as pb
from services.auth.tests.conftest import Auth, RunAuth
from services.auth.tests.integration.test_passwords import PASSWORD, with_password

OLD_KEYS, NEW_KEYS = "keys-" + SECRET, "new-keys-" + SECRET
OLD_REFRESH, NEW_REFRESH = "refresh-" + SECRET, "new-refresh-" + SECRET


def opens(secret: str, kid: str, private_key: bytes) -> bool:
    try:
        Cipher(secret).decrypt(kid, private_key)
    except WrongSecret:
        return False
    return True


async def test_what_is_encrypted_moves_to_the_new_key_encryption_key(run_auth: RunAuth) -> None:
    rows = "select k.kid, k.private_key, p.encrypted_hash from signing_keys k, passwords p"
    async with run_auth() as auth:
        token = (await with_password(auth)).access_token
        [before] = await auth.rows(rows)
    # First it is only known, so that replicas that have it in use already are understood.
    async with run_auth(key_encryption_key=f"{OLD_KEYS},{NEW_KEYS}") as auth:
        assert (await auth.log_in(PASSWORD)).access_token
        [unchanged] = await auth.rows(rows)
        assert unchanged["private_key"] == before["private_key"]
    async with run_auth(key_encryption_key=f"{NEW_KEYS},{OLD_KEYS}") as auth:
        assert (await auth.log_in(PASSWORD)).access_token
        async with asyncio.timeout(20):
            while True:
                [now] = await auth.rows(rows)
                if now["encrypted_hash"] != before["encrypted_hash"]:
                    break
                await asyncio.sleep(0.02)
        assert opens(NEW_KEYS, now["kid"], now["private_key"])
        assert not opens(OLD_KEYS, now["kid"], now["private_key"])
    async with run_auth(key_encryption_key=NEW_KEYS) as auth:
        assert (await auth.me(token)).id
        after = await auth.log_in(PASSWORD)
        assert jwt.get_unverified_header(after.access_token)["kid"] == before["kid"]


async def test_a_lost_answer_is_given_again_across_a_new_refresh_key(run_auth: RunAuth) -> None:
    async with run_auth() as auth:
        token = (await auth.sign_in()).refresh_token
        lost = await auth.refresh(token)
    async with run_auth(refresh_key=f"{NEW_REFRESH},{OLD_REFRESH}") as auth:
        assert (await auth.refresh(token)).refresh_token == lost.refresh_token
        following = await auth.refresh(lost.refresh_token)
    async with run_auth(refresh_key=NEW_REFRESH) as auth:
        assert (await auth.refresh(lost.refresh_token)).refresh_token == following.refresh_token
        # What the forgotten key made can't be made again; nobody stole it, so its session goes on.
        with pytest.raises(Unauthenticated):
            await auth.refresh(token)
        assert (await auth.refresh(following.refresh_token)).access_token


async def test_a_service_is_known_by_its_new_secret_and_by_the_one_before(
    run_auth: RunAuth,
) -> None:
    new = "new-" + SECRET
    async with run_auth(service_secrets=f"crm={new},agents={SECRET}-2,crm={SECRET}") as auth:
        for secret in (new, SECRET):
            assert (await issued(auth, secret)).access_token
        for secret in (f"{SECRET}-2", f"{new},{SECRET}"):
            with pytest.raises(Unauthenticated):
                await issued(auth, secret)


async def issued(auth: Auth, secret: str) -> pb.IssueServiceTokenResponse:
    request = pb.IssueServiceTokenRequest(service_id="crm", service_secret=secret)
    answer: pb.IssueServiceTokenResponse = await auth.stub().IssueServiceToken(request)
    return answer
