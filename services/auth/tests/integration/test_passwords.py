"""Signing in with a password, and setting one."""

import asyncio
import itertools
import threading
from typing import Any

import bcrypt
import pytest
from zxcvbn import zxcvbn

from auth_service.passwords import hashing, strength
from chassis.errors import InvalidArgument, PermissionDenied, RateLimited, Unauthenticated
from propmubi.auth.v1 import accounts_pb2
from propmubi.auth.v1 import auth_pb2 as pb
from services.auth.tests.conftest import PHONE, Auth, RunAuth

PASSWORD = "monsoon tiffin lantern quartz"
OTHER = "brass umbrella seventeen kites"


async def with_password(auth: Auth, password: str = PASSWORD) -> pb.TokenResponse:
    """A person signed in by code who has set `password`."""
    signed_in = await auth.sign_in()
    proof = await auth.confirmation(signed_in.access_token)
    await auth.set_password(signed_in.access_token, password, confirmation=proof)
    return signed_in


async def refused(auth: Auth, password: str, phone: str = PHONE) -> None:
    with pytest.raises(Unauthenticated) as refusal:
        await auth.log_in(password, phone)
    assert refusal.value.reason == "CREDENTIALS_INVALID"


async def wrong(auth: Auth, token: str, field: str, password: str = OTHER, **proof: Any) -> None:
    """Setting `password` is refused because of `field`."""
    with pytest.raises(InvalidArgument) as refusal:
        await auth.set_password(token, password, **proof)
    assert [violation.field for violation in refusal.value.violations] == [field]


async def test_who_set_a_password_signs_in_with_it(auth: Auth) -> None:
    first = await with_password(auth)
    second = await auth.log_in(PASSWORD, "9876543210", x_client_address="203.0.113.9")
    assert second.user.id == first.user.id
    assert (await auth.me(second.access_token)).phone == PHONE
    assert (await auth.refresh(second.refresh_token)).access_token
    await refused(auth, PASSWORD + "!")
    await refused(auth, PASSWORD, "+919876543211")


async def test_the_password_there_is_or_a_code_changes_it_and_nothing_else_does(auth: Auth) -> None:
    token = (await with_password(auth)).access_token
    await wrong(auth, token, "confirmation")
    await wrong(auth, token, "current_password", current_password=OTHER)
    proof = await auth.confirmation(token)
    await wrong(auth, token, "confirmation", current_password=PASSWORD, confirmation=proof)
    await auth.set_password(token, OTHER, current_password=PASSWORD)
    await refused(auth, PASSWORD)
    assert (await auth.log_in(OTHER)).access_token
    await auth.set_password(token, PASSWORD, confirmation=proof)
    assert (await auth.log_in(PASSWORD)).access_token
    await wrong(auth, token, "confirmation.code", confirmation=proof)  # It was good once.


async def test_a_code_for_something_else_or_somebody_else_sets_no_password(auth: Auth) -> None:
    token = (await auth.sign_in()).access_token
    challenge, code = await auth.request_otp()
    signing_in = accounts_pb2.Confirmation(challenge_id=challenge, code=code)
    await wrong(auth, token, "confirmation.code", confirmation=signing_in)
    stranger = (await auth.sign_in("+919876543211")).access_token
    hers = await auth.confirmation(stranger, "+919876543211")
    await wrong(auth, token, "confirmation.code", confirmation=hers)
    mine = await auth.confirmation(token)
    with pytest.raises(Unauthenticated):  # Nor does a code for a password sign in.
        await auth.verify(mine.challenge_id, mine.code)
    assert await auth.rows("select from passwords") == []


async def test_without_a_password_there_is_none_to_sign_in_with_or_to_change(auth: Auth) -> None:
    token = (await auth.sign_in()).access_token
    await refused(auth, PASSWORD)
    await wrong(auth, token, "current_password", current_password=PASSWORD)


async def test_a_password_that_is_easily_guessed_is_refused_and_the_code_is_still_good(
    auth: Auth,
) -> None:
    token = (await auth.sign_in()).access_token
    await auth.rows("update users set full_name = 'Asha Kulkarni'")
    proof = await auth.confirmation(token)
    for weak in ("short", "password1234", "kulkarni@1990"):
        await wrong(auth, token, "password", weak, confirmation=proof)
    await auth.set_password(token, PASSWORD, confirmation=proof)


async def test_nothing_that_holds_pythons_lock_runs_in_the_thread_that_steps_back(
    run_auth: RunAuth, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: dict[str, set[int]] = {"stepped back": set(), "judged": set(), "hashed": set()}

    def noted(what: str, really: Any = lambda: None) -> Any:
        def note(*given: Any, **options: Any) -> Any:
            ran[what].add(threading.get_ident())
            return really(*given, **options)

        return note

    monkeypatch.setattr(hashing, "_step_back", noted("stepped back"))
    monkeypatch.setattr(strength, "zxcvbn", noted("judged", zxcvbn))
    monkeypatch.setattr(bcrypt, "hashpw", noted("hashed", bcrypt.hashpw))
    async with run_auth() as auth:
        await with_password(auth)
    assert ran["hashed"] == ran["stepped back"]
    assert len(ran["judged"]) == 1
    assert ran["judged"].isdisjoint({*ran["stepped back"], threading.get_ident()})


async def test_every_character_of_a_long_password_counts(auth: Auth) -> None:
    long = PASSWORD + "\u0905" * 200
    await with_password(auth, long)
    await refused(auth, long[:-1])
    assert (await auth.log_in(long)).access_token


async def test_a_letter_is_the_same_however_the_keyboard_composes_it(auth: Auth) -> None:
    await with_password(auth, "cafe\u0301 monsoon lantern")
    assert (await auth.log_in("caf\u00e9 monsoon lantern")).access_token


async def test_setting_a_password_signs_everybody_else_out_and_tells_the_phone(auth: Auth) -> None:
    elsewhere = await auth.sign_in()
    here = await with_password(auth)
    assert "password was set" in await auth.message_after(3, PHONE)
    with pytest.raises(Unauthenticated):
        await auth.refresh(elsewhere.refresh_token)
    assert (await auth.refresh(here.refresh_token)).access_token
    actions = [row["action"] for row in await auth.rows("select action from audit_events")]
    assert actions.count("password.set") == 1


async def test_wrong_passwords_shut_out_the_password_and_leave_the_code(run_auth: RunAuth) -> None:
    limits = {"auth_failures_per_identifier": "3/1h", "otp_send_limit_per_phone": "100/10m"}
    async with run_auth(**limits) as auth:
        await with_password(auth)
        for _ in range(3):
            assert (await auth.log_in(PASSWORD)).access_token  # Right ones are no failures.
        answers = await asyncio.gather(
            *(auth.log_in(OTHER) for _ in range(50)), return_exceptions=True
        )
        assert sum(isinstance(answer, Unauthenticated) for answer in answers) == 3
        assert sum(isinstance(answer, RateLimited) for answer in answers) == 47
        with pytest.raises(RateLimited):
            await auth.log_in(PASSWORD)
        assert (await auth.sign_in()).access_token
        for _ in range(3):
            await refused(auth, PASSWORD, "+919876543299")
        with pytest.raises(RateLimited):  # A phone that nobody has is counted the same.
            await auth.log_in(PASSWORD, "+919876543299")


async def test_wrong_codes_leave_the_password(run_auth: RunAuth) -> None:
    async with run_auth(auth_failures_per_identifier="2/1h") as auth:
        await with_password(auth)
        challenge, code = await auth.request_otp()
        for _ in range(3):
            with pytest.raises((Unauthenticated, RateLimited)):
                await auth.verify(challenge, f"{(int(code) + 1) % 1_000_000:06d}")
        assert (await auth.log_in(PASSWORD)).access_token


async def test_a_password_is_tried_a_hundred_times_in_a_row_and_then_needs_a_code(
    auth: Auth,
) -> None:
    token = (await with_password(auth)).access_token
    await refused(auth, OTHER)
    await auth.rows("update failures_in_a_row set failures = 99")
    await refused(auth, OTHER)
    with pytest.raises(PermissionDenied) as locked:
        await auth.log_in(PASSWORD)
    assert locked.value.reason == "SIGN_IN_LOCKED"
    proof = await auth.confirmation(token)
    await auth.set_password(token, PASSWORD, confirmation=proof)
    assert (await auth.log_in(PASSWORD)).access_token
    assert len(await auth.rows("select from audit_events where action = 'sign_in.locked'")) == 1


async def test_a_suspended_person_is_told_so_only_if_she_knows_the_password(auth: Auth) -> None:
    await with_password(auth)
    await auth.rows("update users set status = 'suspended'")
    await refused(auth, OTHER)
    with pytest.raises(PermissionDenied) as refusal:
        await auth.log_in(PASSWORD)
    assert refusal.value.reason == "ACCOUNT_SUSPENDED"


async def test_every_try_is_compared_whoever_it_is_for(
    auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_password(auth)
    compared: list[bytes] = []
    really = bcrypt.checkpw

    def noted(password: bytes, hashed: bytes) -> bool:
        compared.append(hashed)
        return really(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", noted)
    await refused(auth, OTHER)
    await refused(auth, PASSWORD, "+919876543211")
    assert [hashed[:7] for hashed in compared] == [b"$2b$04$"] * 2
    assert len(await auth.rows("select from audit_events where action = 'password.refused'")) == 2


async def test_who_finds_the_queue_full_is_told_at_once_and_the_rest_goes_on(
    auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed_in = await with_password(auth)
    really, begun, go_on = bcrypt.checkpw, threading.Event(), threading.Event()

    def held_up(password: bytes, hashed: bytes) -> bool:
        begun.set()
        assert go_on.wait(10)
        return really(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", held_up)
    storm = [
        asyncio.create_task(auth.log_in(PASSWORD, f"+9198765{number:05d}")) for number in range(60)
    ]
    assert await asyncio.to_thread(begun.wait, 10)
    assert (await auth.me(signed_in.access_token)).phone == PHONE
    for answer in itertools.islice(asyncio.as_completed(storm), len(storm) - hashing.PLACES):
        with pytest.raises(RateLimited) as turned_away:
            await answer
        assert turned_away.value.retry_after == hashing.RETRY_SECONDS
    go_on.set()
    served = await asyncio.gather(*storm, return_exceptions=True)
    assert sum(isinstance(answer, Unauthenticated) for answer in served) == hashing.PLACES
    assert (await auth.log_in(PASSWORD)).access_token


async def test_nothing_but_an_encrypted_hash_is_kept_and_it_opens_no_other_row(auth: Auth) -> None:
    await with_password(auth)
    await auth.sign_in("+919876543211")
    [row] = await auth.rows("select encrypted_hash from passwords")
    assert b"$2b$" not in row["encrypted_hash"]
    await auth.rows(
        "insert into passwords (user_id, encrypted_hash)"
        " select id, $1 from users where phone = '+919876543211'",
        row["encrypted_hash"],
    )
    with pytest.raises(Exception, match="went wrong"):
        await auth.log_in(PASSWORD, "+919876543211")
