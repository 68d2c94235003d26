"""Text messages: to a file, and to a stand-in of Twilio's Messages API that answers well, badly or not at all."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from chassis import metrics, sms
from chassis.errors import InvalidArgument
from chassis.phones import country, normalise
from chassis.quota import Quota, parse_quota, parse_quotas
from chassis.sms import SmsNotSent, SmsSettings, open_sms, segments
from devstack.testing_service import SECRET
from devstack.testing_sms import Twilio

TO, BODY = "+919876543210", "123456 is your PropMubi code."


def settings(**changes: Any) -> SmsSettings:
    given = {
        "environment": "development",
        "redis_url": "redis://localhost",
        "metrics_port": 0,
        "grpc_port": 0,
        "database_url": "postgresql://localhost",
        "service_id": "auth",
        "service_secret": SECRET,
        "cursor_key": SECRET,
        "twilio_account_sid": "AC0123",
        "twilio_auth_token": "token",
        "twilio_from": "+15005550006",
        **changes,
    }
    return SmsSettings(**given)


def count(provider: str, outcome: str) -> float:
    return float(metrics.SMS.labels(provider, outcome)._value.get())


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat without a pause."""
    monkeypatch.setattr(sms, "PAUSES", (0.0, 0.0))


async def test_twilio_is_told_who_what_and_from_whom(twilio: Twilio) -> None:
    before = count("twilio", "sent")
    async with open_sms(settings(**twilio.settings)) as provider:
        await provider.send(TO, BODY)
    [received] = twilio.received
    assert received["path"] == "/2010-04-01/Accounts/AC0123/Messages.json"
    assert received["form"] == {"To": TO, "From": "+15005550006", "Body": BODY}
    assert received["authorization"] == "Basic " + base64.b64encode(b"AC0123:token").decode()
    assert count("twilio", "sent") == before + 1


@pytest.mark.parametrize(
    ("status", "text", "outcome"),
    [
        (400, None, "rejected"),
        (401, None, "rejected"),
        (500, None, "unknown"),
        (503, None, "unknown"),
        (502, "<html>Bad gateway</html>", "unknown"),
        (201, "not json", "unknown"),
        (None, None, "unknown"),
    ],
)
async def test_what_was_refused_or_may_have_been_sent_is_not_sent_again(
    twilio: Twilio,
    status: int | None,
    text: str | None,
    outcome: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    twilio.statuses, twilio.text = [status], text
    before = count("twilio", outcome)
    async with open_sms(settings(**twilio.settings)) as provider:
        with pytest.raises(SmsNotSent) as failure:
            await provider.send(TO, BODY)
    assert failure.value.outcome == outcome
    assert count("twilio", outcome) == before + 1
    assert len(twilio.received) == 1
    printed = "".join(capfd.readouterr())
    assert TO not in printed
    assert BODY not in printed


async def test_what_was_certainly_not_sent_is_sent_again(twilio: Twilio) -> None:
    twilio.statuses = [429, 429]
    again = metrics.SMS_REPEATED.labels("twilio")._value
    sent, repeated = count("twilio", "sent"), again.get()
    async with open_sms(settings(**twilio.settings)) as provider:
        await provider.send(TO, BODY)
    assert len(twilio.received) == 3
    assert count("twilio", "sent") == sent + 1
    assert again.get() == repeated + 2


async def test_repeating_ends(twilio: Twilio) -> None:
    twilio.statuses = [429] * 10
    async with open_sms(settings(**twilio.settings)) as provider:
        with pytest.raises(SmsNotSent) as failure:
            await provider.send(TO, BODY)
    assert failure.value.may_be_repeated
    assert len(twilio.received) == 3


async def test_a_stalled_provider_is_left_after_our_own_timeout(twilio: Twilio) -> None:
    twilio.answers.clear()
    before = count("twilio", "timeout")
    async with open_sms(settings(**twilio.settings, sms_timeout_seconds=0.2)) as provider:
        async with asyncio.timeout(2):
            with pytest.raises(SmsNotSent) as failure:
                await provider.send(TO, BODY)
    assert failure.value.outcome == "timeout"
    assert count("twilio", "timeout") == before + 1


async def test_a_provider_that_is_away_fails(free_port: Any) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    async with open_sms(settings(twilio_base_url=away)) as provider:
        with pytest.raises(SmsNotSent) as failure:
            await provider.send(TO, BODY)
    assert failure.value.outcome == "failed"


async def test_the_file_gets_a_line_for_each_message(tmp_path: Path) -> None:
    path = tmp_path / "sms.jsonl"
    given = settings(sms_provider="file", sms_outbox_file=path)
    async with open_sms(given) as one, open_sms(given) as another:
        await asyncio.gather(*(who.send(TO, BODY) for who in (one, another) * 25))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 50
    assert all(set(line) == {"to", "body", "at"} and line["to"] == TO for line in lines)
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_file_that_cannot_be_written_fails(tmp_path: Path) -> None:
    given = settings(sms_provider="file", sms_outbox_file=tmp_path / "absent" / "sms.jsonl")
    async with open_sms(given) as provider:
        with pytest.raises(SmsNotSent):
            await provider.send(TO, BODY)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"environment": "production", "sms_provider": "file"}, "sms_provider"),
        ({"twilio_account_sid": ""}, "twilio_account_sid"),
        ({"twilio_auth_token": ""}, "twilio_auth_token"),
        ({"twilio_from": ""}, "twilio_from"),
        ({"twilio_auth_token": "change-me"}, "twilio_auth_token"),
    ],
)
def test_settings_that_send_nothing_are_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        settings(**changes)
    assert [error["loc"] for error in refused.value.errors()] == [(field,)]


def test_quotas() -> None:
    assert parse_quota("10/15m") == Quota(10, 900)
    assert parse_quota("600/1m") == Quota(600, 60)
    assert parse_quotas("1/30s, 10/1d") == (Quota(1, 30), Quota(10, 86_400))
    for bad in ("", "10", "0/1m", "1/0s", "-1/1m", "1/2d", "25/90000s", "1.5/1m"):
        with pytest.raises(ValueError, match="number of calls"):
            parse_quota(bad)


def test_phones() -> None:
    assert normalise("98765 43210") == normalise("+91 98765-43210") == TO
    assert (country(TO), country("+971501234567"), country("+80012345678")) == ("IN", "AE", "001")
    for bad in ("", "12", "+91", "phone", "+919"):
        with pytest.raises(InvalidArgument):
            normalise(bad)


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("न" * 70, 1),
        ("न" * 71, 2),
        ("₹" + "a" * 69, 1),
        ("🏠" * 36, 2),
    ],
)
def test_a_message_is_paid_by_its_parts(body: str, parts: int) -> None:
    assert segments(body) == parts


async def test_the_parts_of_what_was_sent_are_counted(tmp_path: Path) -> None:
    paid = metrics.SMS_SEGMENTS.labels("file")._value
    before = paid.get()
    file = settings(sms_provider="file", sms_outbox_file=tmp_path / "outbox.jsonl")
    async with open_sms(file) as provider:
        await provider.send(TO, "न" * 71)
    assert paid.get() - before == 2
