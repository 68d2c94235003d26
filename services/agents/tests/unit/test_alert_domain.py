"""Alerts: when they are sent, and what they say."""

import uuid
from datetime import UTC, datetime

import pytest

from agents_service.alerts.domain import Waiting, body_about, may_be_sent_from, next_morning
from chassis.sms import segments

NINE = datetime(2026, 11, 26, 3, 30, tzinfo=UTC)
NEXT = NINE.replace(day=27)


@pytest.mark.parametrize(
    ("now", "sent", "morning"),
    [
        (datetime(2026, 11, 26, 3, 29, tzinfo=UTC), NINE, NINE),
        (NINE, NINE, NEXT),
        (
            datetime(2026, 11, 26, 15, 29, tzinfo=UTC),
            datetime(2026, 11, 26, 15, 29, tzinfo=UTC),
            NEXT,
        ),
        (datetime(2026, 11, 26, 15, 30, tzinfo=UTC), NEXT, NEXT),
        (datetime(2026, 11, 26, 20, 0, tzinfo=UTC), NEXT, NEXT),
    ],
)
def test_nobody_is_told_at_night(now: datetime, sent: datetime, morning: datetime) -> None:
    assert (may_be_sent_from(now), next_morning(now)) == (sent, morning)


def test_a_message_is_short_however_much_there_is_to_tell() -> None:
    waiting = [
        Waiting(uuid.uuid4(), uuid.uuid4(), "A" * 80, 1_000_000, uuid.uuid4()) for _ in range(50)
    ]
    assert segments(body_about(waiting, None)) == 1
    home = "2.5 BHK independent house for sale in Electronic City Phase 1, Bengaluru"
    alone = [waiting[0]._replace(homes=1)]
    assert segments(body_about(alone, home)) <= 2
    assert body_about(alone, None).startswith("PropMubi: a home for your saved search")
