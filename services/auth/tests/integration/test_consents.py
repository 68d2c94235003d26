"""What a person consents to."""

import asyncio
import uuid
from typing import Any

import pytest

from chassis.errors import NotFound
from propmubi.auth.v1 import consents_pb2 as pb
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
