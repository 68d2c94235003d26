"""Another phone, everything kept about oneself, and the end of it."""

import asyncio
import uuid
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.field_mask_pb2 import FieldMask
from sqlalchemy import insert

from auth_service.audit import audit_events
from chassis.errors import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    StaleVersion,
    Unauthenticated,
)
from chassis.ids import new_id
from devstack.postgres import Postgres
from propmubi.agents.v1.events_pb2 import AgentVerified
from propmubi.auth.v1 import accounts_pb2 as pb
from propmubi.auth.v1 import administration_pb2, auth_pb2, consents_pb2
from propmubi.auth.v1.administration_pb2_grpc import AdministrationServiceStub
from propmubi.auth.v1.events_pb2 import UserErased
from services.auth.tests.conftest import ADMIN_PHONE, PHONE, Auth, RunAuth
from services.auth.tests.integration.test_sessions import dies, refused
from services.auth.tests.integration.test_users import tell

NEW_PHONE = "+919876543211"
PASSWORD = "monsoon tiffin lantern quartz"


async def codes(
    auth: Auth, token: str, new: str = NEW_PHONE, *, had: str = PHONE
) -> pb.ChangePhoneRequest:
    """The codes sent to the phone she has and to `new`."""
    before = [len(auth.messages(phone)) for phone in (had, new)]
    sent = await auth.accounts(token).RequestPhoneChange(pb.RequestPhoneChangeRequest(phone=new))
    current = await auth.code_after(before[0], had)
    return pb.ChangePhoneRequest(
        current=pb.Confirmation(challenge_id=sent.current_challenge_id, code=current),
        new=pb.Confirmation(
            challenge_id=sent.new_challenge_id, code=await auth.code_after(before[1], new)
        ),
    )


def wrong(given: pb.Confirmation) -> pb.Confirmation:
    code = f"{(int(given.code) + 1) % 1_000_000:06d}"
    return pb.Confirmation(challenge_id=given.challenge_id, code=code)


async def fails(auth: Auth, token: str, change: pb.ChangePhoneRequest, field: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        await auth.accounts(token).ChangePhone(change)
    assert [violation.field for violation in refusal.value.violations] == [field]


async def test_who_holds_both_phones_changes_from_one_to_the_other(auth: Auth) -> None:
    elsewhere, here = await auth.sign_in(), await auth.sign_in()
    change = await codes(auth, here.access_token)
    changed = await auth.accounts(here.access_token).ChangePhone(change)
    assert (changed.phone, changed.id) == (NEW_PHONE, here.user.id)
    assert "another phone" in await auth.message_after(3, PHONE)
    await refused(auth, elsewhere.refresh_token)
    assert (await auth.refresh(here.refresh_token)).user.phone == NEW_PHONE
    assert (await auth.sign_in(NEW_PHONE)).user.id == here.user.id
    assert (await auth.sign_in(PHONE)).user.id != here.user.id


async def test_codes_for_another_phone_are_not_sent_again_under_the_same_key(auth: Auth) -> None:
    token = (await auth.sign_in()).access_token
    request, once = pb.RequestPhoneChangeRequest(phone=NEW_PHONE), {"idempotency_key": "k1"}
    first = await auth.accounts(token, **once).RequestPhoneChange(request)
    change = pb.ChangePhoneRequest(
        current=pb.Confirmation(
            challenge_id=first.current_challenge_id, code=await auth.code_after(1, PHONE)
        ),
        new=pb.Confirmation(
            challenge_id=first.new_challenge_id, code=await auth.code_after(0, NEW_PHONE)
        ),
    )
    await auth.accounts(token).ChangePhone(change)
    sent = len(auth.messages(NEW_PHONE))
    # She has that phone by now: whoever asks for it anew is refused.
    assert await auth.accounts(token, **once).RequestPhoneChange(request) == first
    assert len(auth.messages(NEW_PHONE)) == sent


async def test_neither_code_alone_is_enough_and_a_mistyped_one_may_be_tried_again(
    auth: Auth,
) -> None:
    token = (await auth.sign_in()).access_token
    change = await codes(auth, token)
    mistyped = pb.ChangePhoneRequest(current=change.current, new=wrong(change.new))
    await fails(auth, token, mistyped, "new.code")
    swapped = pb.ChangePhoneRequest(current=change.new, new=change.current)
    await fails(auth, token, swapped, "current.code")
    mistyped = pb.ChangePhoneRequest(current=wrong(change.current), new=change.new)
    await fails(auth, token, mistyped, "current.code")
    assert (await auth.me(token)).phone == PHONE
    assert (await auth.accounts(token).ChangePhone(change)).phone == NEW_PHONE
    with pytest.raises(InvalidArgument, match="not valid"):
        await auth.accounts(token).RequestPhoneChange(pb.RequestPhoneChangeRequest(phone=NEW_PHONE))


async def test_a_phone_that_somebody_has_is_told_to_who_holds_it_and_nobody_else(
    auth: Auth, postgres: Postgres
) -> None:
    token = (await auth.sign_in()).access_token
    await auth.sign_in(NEW_PHONE)
    change = await codes(auth, token)
    begin = postgres.log.stat().st_size
    with pytest.raises(AlreadyExists):
        await auth.accounts(token).ChangePhone(change)
    # Nor did the constraint have to refuse it, which a server that isn't ours may log with the phone.
    assert b"users_phone" not in postgres.log.read_bytes()[begin:]
    assert (await auth.me(token)).phone == PHONE


async def test_of_two_who_claim_one_phone_one_has_it(auth: Auth) -> None:
    tokens = [(await auth.sign_in(phone)).access_token for phone in (PHONE, ADMIN_PHONE)]
    changes = [
        await codes(auth, token, had=phone)
        for token, phone in zip(tokens, (PHONE, ADMIN_PHONE), strict=True)
    ]
    outcomes = await asyncio.gather(
        *(
            auth.accounts(token).ChangePhone(change)
            for token, change in zip(tokens, changes, strict=True)
        ),
        return_exceptions=True,
    )
    assert {type(outcome) for outcome in outcomes} == {AlreadyExists, auth_pb2.User}
    having = await auth.rows("select id from users where phone = $1", NEW_PHONE)
    [changed] = [outcome for outcome in outcomes if isinstance(outcome, auth_pb2.User)]
    assert [str(row["id"]) for row in having] == [changed.id]


async def test_codes_for_two_phones_and_for_one_never_block_each_other(run_auth: RunAuth) -> None:
    async with run_auth(otp_send_limit_per_range="1000/15m") as auth:
        one, other = [
            auth.accounts((await auth.sign_in(phone)).access_token) for phone in (PHONE, NEW_PHONE)
        ]
        for _ in range(10):
            await asyncio.gather(
                one.RequestPhoneChange(pb.RequestPhoneChangeRequest(phone=NEW_PHONE)),
                other.RequestPhoneChange(pb.RequestPhoneChangeRequest(phone=PHONE)),
                auth.stub().RequestOtp(auth_pb2.RequestOtpRequest(phone=PHONE)),
                auth.stub().RequestOtp(auth_pb2.RequestOtpRequest(phone=NEW_PHONE)),
            )


async def exported(auth: Auth, token: str) -> pb.ExportMeResponse:
    export: pb.ExportMeResponse = await auth.accounts(token).ExportMe(pb.ExportMeRequest())
    return export


async def test_one_takes_along_everything_kept_about_oneself(auth: Auth) -> None:
    admin = await auth.sign_in(ADMIN_PHONE)
    first, signed_in = await auth.sign_in(), await auth.sign_in(x_client_address="203.0.113.9")
    await auth.consents(signed_in.access_token).GrantConsent(
        consents_pb2.GrantConsentRequest(
            purpose=consents_pb2.CONSENT_PURPOSE_ALERTS,
            channel=consents_pb2.CONSENT_CHANNEL_SMS,
            notice_version="1",
        )
    )
    await auth.administration(admin.access_token).GrantRole(
        administration_pb2.GrantRoleRequest(user_id=first.user.id, role="admin")
    )
    export = await exported(auth, signed_in.access_token)
    assert export.user.phone == PHONE
    assert [grant.role for grant in export.role_grants] == ["admin"]
    assert len(export.consents) == 1
    assert [session.ip for session in export.sessions] == ["203.0.113.9", ""]
    by_action = {event.action: event for event in export.audit_events}
    assert by_action["role.granted"].actor == "administrator"
    assert by_action["user.exported"].actor == first.user.id


async def test_what_one_takes_along_has_room_in_one_reply(auth: Auth) -> None:
    signed_in = await auth.sign_in()
    event = {"action": "user.looked_at", "actor": "x", "correlation_id": "", "client_address": ""}
    about = {"user_id": signed_in.user.id, "details": {"why": "a" * 2_000}}
    async with auth.database.transaction() as tx:
        await tx.execute(
            insert(audit_events), [{**event, **about, "id": new_id()} for _ in range(600)]
        )
    export = await exported(auth, signed_in.access_token)
    assert 100 < len(export.audit_events) < 600


async def give_everything(auth: Auth) -> auth_pb2.TokenResponse:
    """A person about whom as much is known as can be."""
    signed_in = await auth.sign_in(agent="her-phone/1.0", x_client_address="203.0.113.9")
    token = signed_in.access_token
    await auth.set_password(token, PASSWORD, confirmation=await auth.confirmation(token))
    with pytest.raises(Unauthenticated):
        await auth.log_in(PASSWORD + "!", x_client_address="203.0.113.9")
    change: dict[str, Any] = {"full_name": "Asha Kulkarni", "email": "asha@example.in"}
    await auth.users(token, idempotency_key="once").UpdateMe(
        auth_pb2.UpdateMeRequest(
            user=auth_pb2.User(**change), update_mask=FieldMask(paths=[*change])
        )
    )
    await auth.consents(token).GrantConsent(
        consents_pb2.GrantConsentRequest(
            purpose=consents_pb2.CONSENT_PURPOSE_ALERTS,
            channel=consents_pb2.CONSENT_CHANNEL_SMS,
            notice_version="1",
        )
    )
    await auth.request_otp()
    return signed_in


async def test_who_is_erased_is_forgotten_signed_out_and_may_come_as_somebody_new(
    run_auth: RunAuth,
) -> None:
    async with run_auth() as auth, run_auth() as replica:
        signed_in = await give_everything(auth)
        admin = await auth.sign_in(ADMIN_PHONE, x_client_address="198.51.100.7")
        stub = AdministrationServiceStub(
            auth.running.caller(admin.access_token, idempotency_key="1")
        )
        await stub.FindUser(administration_pb2.FindUserRequest(phone=PHONE))
        assert len(await auth.rows("select from idempotency_key")) == 2
        challenge, code = await auth.request_otp()
        accounts = auth.accounts(signed_in.access_token, x_client_address="203.0.113.9")
        proven = pb.EraseMeRequest(confirmation=await auth.confirmation(signed_in.access_token))
        for unproven, field in (
            (pb.EraseMeRequest(), "confirmation"),
            (pb.EraseMeRequest(confirmation=wrong(proven.confirmation)), "confirmation.code"),
            (pb.EraseMeRequest(current_password="not " + PASSWORD), "current_password"),
        ):
            with pytest.raises(InvalidArgument) as refusal:
                await accounts.EraseMe(unproven)
            assert [violation.field for violation in refusal.value.violations] == [field]
        assert (await auth.me(signed_in.access_token)).phone == PHONE
        await accounts.EraseMe(proven)
        for where in (auth, replica):
            assert await dies(where, signed_in.access_token) < 1
        await refused(auth, signed_in.refresh_token)
        left = []
        for table in await auth.rows("select tablename from pg_tables where schemaname = 'auth'"):
            # What tells the others goes with the week that events are kept, what limits sending with its day.
            if table["tablename"] not in {"outbox", "allowances", "alembic_version"}:
                left += await auth.rows(f"select t::text as said from {table['tablename']} t")
        everything = " ".join(row["said"] for row in left)
        for personal in (PHONE[3:], "Asha", "asha@", "her-phone", "203.0.113.9"):
            assert personal not in everything
        assert "198.51.100.7" in everything  # Where others were is in the log still.
        with pytest.raises(Unauthenticated):
            await auth.verify(challenge, code)
        with pytest.raises(Unauthenticated):
            await auth.log_in(PASSWORD)
        assert (await auth.events())[-2:] == ["consent.withdrawn", "user.erased"]
        again = await auth.sign_in()
        assert again.user.id != signed_in.user.id
        assert not again.user.HasField("full_name")


async def test_who_is_erased_is_told_of_by_the_phones_she_had_unless_they_are_anothers(
    auth: Auth,
) -> None:
    signed_in, third = await auth.sign_in(), "+919876543212"
    token = signed_in.access_token
    assert list((await exported(auth, token)).former_phones) == []
    for had, new in ((PHONE, NEW_PHONE), (NEW_PHONE, third)):
        await auth.accounts(token).ChangePhone(await codes(auth, token, new, had=had))
        token = (await auth.sign_in(new)).access_token
    await auth.sign_in(PHONE)
    assert list((await exported(auth, token)).former_phones) == [PHONE, NEW_PHONE]
    proof = await auth.confirmation(token, third)
    await auth.accounts(token).EraseMe(pb.EraseMeRequest(confirmation=proof))
    [row] = await auth.rows("select payload from outbox where name = 'user.erased'")
    told = UserErased()
    assert AnyMessage.FromString(row["payload"]).Unpack(told)
    assert (told.phone, list(told.former_phones)) == (third, [NEW_PHONE])
    assert await auth.rows("select from former_phones") == []


async def test_an_administrator_erases_and_what_is_told_late_changes_nothing(auth: Auth) -> None:
    admin = await auth.sign_in(ADMIN_PHONE)
    signed_in = await auth.sign_in()
    administration = auth.administration(admin.access_token)
    await administration.SuspendUser(
        administration_pb2.SuspendUserRequest(user_id=signed_in.user.id, reason="asked for it")
    )
    erasure = administration_pb2.EraseUserRequest(user_id=signed_in.user.id)
    await asyncio.gather(*(administration.EraseUser(erasure) for _ in range(5)))
    user = await administration.GetUser(
        administration_pb2.GetUserRequest(user_id=signed_in.user.id)
    )
    assert (user.status, list(user.roles)) == (auth_pb2.USER_STATUS_ERASED, [])
    with pytest.raises(PermissionDenied):
        await administration.GrantRole(
            administration_pb2.GrantRoleRequest(user_id=signed_in.user.id, role="admin")
        )
    agent_id = str(uuid.uuid4())
    late = AgentVerified(agent_id=agent_id, user_id=signed_in.user.id)
    await tell(auth, "agents", late, agent_id, 1)
    async with asyncio.timeout(5):
        while True:
            if await auth.rows("select from inbox"):
                break
            await asyncio.sleep(0.01)
    assert await auth.rows("select from users where 'agent' = any(roles)") == []
    assert (await auth.events()).count("user.erased") == 1
    with pytest.raises(NotFound):
        await administration.EraseUser(
            administration_pb2.EraseUserRequest(user_id=str(uuid.uuid4()))
        )


async def test_an_account_that_has_changed_since_it_was_read_is_not_erased(auth: Auth) -> None:
    signed_in = await auth.sign_in()
    admin = await auth.sign_in(ADMIN_PHONE)
    accounts, administration = auth.accounts(signed_in.access_token), auth.administration(
        admin.access_token
    )
    user_id, version = signed_in.user.id, (await auth.me(signed_in.access_token)).version
    proof = await auth.confirmation(signed_in.access_token)
    with pytest.raises(StaleVersion):
        await administration.EraseUser(
            administration_pb2.EraseUserRequest(user_id=user_id, expected_version=version + 1)
        )
    with pytest.raises(StaleVersion):
        await accounts.EraseMe(pb.EraseMeRequest(confirmation=proof, expected_version=version + 1))
    # The one-time password is not used up.
    await accounts.EraseMe(pb.EraseMeRequest(confirmation=proof, expected_version=version))
    assert (await auth.events())[-1] == "user.erased"


async def test_signing_in_while_one_is_erased_makes_somebody_new_or_ends_too(auth: Auth) -> None:
    signed_in = await auth.sign_in()
    proof = await auth.confirmation(signed_in.access_token)
    challenge, code = await auth.request_otp()
    by_code = [auth.verify(challenge, code) for _ in range(5)]
    answers = await asyncio.gather(
        auth.accounts(signed_in.access_token).EraseMe(pb.EraseMeRequest(confirmation=proof)),
        *by_code,
        *(auth.refresh(signed_in.refresh_token) for _ in range(10)),
        return_exceptions=True,
    )
    refusals = {type(answer) for answer in answers if isinstance(answer, Exception)}
    assert refusals <= {Unauthenticated, PermissionDenied}
    await dies(auth, signed_in.access_token)
    [left] = await auth.rows("select count(*) as n from users where phone = $1", PHONE)
    new = await auth.sign_in()
    assert left["n"] <= 1
    assert new.user.id != signed_in.user.id
