"""What a person consents to."""

import asyncio
import uuid
from typing import Any

import pytest

from chassis.errors import NotFound, PermissionDenied
from devstack.testing_service import SECRET
from propmubi.auth.v1 import consents_pb2 as pb
from propmubi.auth.v1.auth_pb2 import IssueServiceTokenRequest
from services.auth.tests.conftest import Auth

ALERTS = {
    "purpose": pb.CONSENT_PURPOSE_ALERTS,
    "channel": pb.CONSENT_CHANNEL_SMS,
    "notice_version": "2026-11",
}


def consent(**changes: Any) -> pb.GrantConsentRequest:
    return pb.GrantConsentRequest(**{**ALERTS, **changes})


def withdrawal(given: pb.Consent) -> pb.WithdrawConsentRequest:
    return pb.WithdrawConsentRequest(consent_id=given.id)


async def test_consent_is_given_once_listed_and_withdrawn(auth: Auth) -> None:
    stub = auth.consents((await auth.sign_in()).access_token)
    alerts = await stub.GrantConsent(consent())
    trailers: dict[str, Any] = {}
    assert await stub.GrantConsent(consent(), trailers=trailers) == alerts
    assert trailers["propmubi-existing"] == "true"
    calls = await stub.GrantConsent(consent(channel=pb.CONSENT_CHANNEL_CALL))
    await asyncio.gather(*(stub.WithdrawConsent(withdrawal(alerts)) for _ in range(5)))
    first = await stub.ListConsents(pb.ListConsentsRequest(page_size=1))
    assert list(first.consents) == [calls]
    second = await stub.ListConsents(
        pb.ListConsentsRequest(page_size=1, page_token=first.next_page_token)
    )
    [ended] = second.consents
    assert (ended.id, ended.HasField("withdrawn_at")) == (alerts.id, True)
    again = await stub.GrantConsent(consent())
    assert again.id != alerts.id
    assert [name for name in await auth.events() if name.startswith("consent")] == [
        "consent.granted",
        "consent.granted",
        "consent.withdrawn",
        "consent.granted",
    ]


async def test_of_many_at_once_one_is_given(auth: Auth) -> None:
    stub = auth.consents((await auth.sign_in()).access_token)
    answers = await asyncio.gather(*(stub.GrantConsent(consent()) for _ in range(50)))
    assert len({answer.id for answer in answers}) == 1
    assert len(await auth.rows("select from consents")) == 1


async def test_consent_to_a_later_notice_takes_the_place_of_the_earlier(auth: Auth) -> None:
    stub = auth.consents((await auth.sign_in()).access_token)
    earlier = await stub.GrantConsent(consent())
    later = await stub.GrantConsent(consent(notice_version="2027-01"))
    listed = (await stub.ListConsents(pb.ListConsentsRequest())).consents
    assert [(c.id, c.HasField("withdrawn_at")) for c in listed] == [
        (later.id, False),
        (earlier.id, True),
    ]


async def test_a_consent_is_its_owners(auth: Auth) -> None:
    given = await auth.consents((await auth.sign_in()).access_token).GrantConsent(consent())
    stranger = auth.consents((await auth.sign_in("+919876543211")).access_token)
    for somebody_elses in (
        withdrawal(given),
        pb.WithdrawConsentRequest(consent_id=str(uuid.uuid4())),
    ):
        with pytest.raises(NotFound):
            await stranger.WithdrawConsent(somebody_elses)
    assert not (await stranger.ListConsents(pb.ListConsentsRequest())).consents
    with pytest.raises(Exception, match="permission denied"):
        await auth.rows("delete from consents")


async def test_a_service_learns_who_may_be_reached_by_which_phone_and_nobody_else_does(
    auth: Auth,
) -> None:
    meera, ravi, asha = [await auth.sign_in(f"+91987654321{number}") for number in range(3)]
    given = await auth.consents(meera.access_token).GrantConsent(consent())
    calls = consent(channel=pb.CONSENT_CHANNEL_CALL)
    await auth.consents(ravi.access_token).GrantConsent(calls)
    await auth.consents(asha.access_token).GrantConsent(consent())
    request = pb.BatchGetReachableRequest(
        user_ids=[each.user.id for each in (meera, ravi, asha)],
        purpose=pb.CONSENT_PURPOSE_ALERTS,
        channel=pb.CONSENT_CHANNEL_SMS,
    )
    secret = {"service_id": "agents", "service_secret": f"{SECRET}-2"}
    own = await auth.stub().IssueServiceToken(IssueServiceTokenRequest(**secret))
    agents = auth.consents(own.access_token)

    async def reachable() -> list[tuple[str, str]]:
        people = (await agents.BatchGetReachable(request)).people
        return sorted((each.user_id, each.phone) for each in people)

    both = [(meera.user.id, "+919876543210"), (asha.user.id, "+919876543212")]
    assert await reachable() == sorted(both)
    await auth.consents(meera.access_token).WithdrawConsent(withdrawal(given))
    await auth.rows("update users set status = 'suspended' where id = $1", uuid.UUID(asha.user.id))
    assert await reachable() == []
    with pytest.raises(PermissionDenied):
        await auth.consents(ravi.access_token).BatchGetReachable(request)
