"""The first-response clock."""

from datetime import datetime, time, timedelta

import pytest

from chassis.india import INDIA
from crm_service.business_hours import BusinessHours

HOURS = BusinessHours(time(9), time(20))


@pytest.mark.parametrize(
    ("enquired", "due"),
    [
        ("2026-11-22 10:00", "2026-11-22 10:30"),
        ("2026-11-22 19:30", "2026-11-22 20:00"),
        ("2026-11-22 19:50", "2026-11-23 09:20"),
        ("2026-11-22 20:00", "2026-11-23 09:30"),
        ("2026-11-22 23:59", "2026-11-23 09:30"),
        ("2026-11-23 03:00", "2026-11-23 09:30"),
        ("2026-12-31 21:00", "2027-01-01 09:30"),
    ],
)
def test_half_an_hour_is_counted_in_business_hours(enquired: str, due: str) -> None:
    start = datetime.fromisoformat(enquired).replace(tzinfo=INDIA)
    assert HOURS.after(start, timedelta(minutes=30)) == datetime.fromisoformat(due).replace(
        tzinfo=INDIA
    )


@pytest.mark.parametrize(
    ("given", "answered", "minutes"),
    [
        ("2026-11-22 10:00", "2026-11-22 10:30", 30),
        ("2026-11-22 10:00", "2026-11-22 10:00", 0),
        ("2026-11-22 08:00", "2026-11-22 09:10", 10),
        ("2026-11-22 21:00", "2026-11-22 23:00", 0),
        ("2026-11-22 19:50", "2026-11-23 09:20", 30),
        ("2026-11-22 15:00", "2026-11-24 10:00", 17 * 60),
        ("2026-12-31 21:00", "2027-01-01 09:30", 30),
    ],
)
def test_an_answer_takes_as_long_as_business_hours_last(
    given: str, answered: str, minutes: int
) -> None:
    start, end = (datetime.fromisoformat(at).replace(tzinfo=INDIA) for at in (given, answered))
    assert HOURS.between(start, end) == timedelta(minutes=minutes)


def test_more_than_a_day_of_work_takes_more_than_a_day() -> None:
    start = datetime(2026, 11, 22, 15, tzinfo=INDIA)
    assert HOURS.after(start, timedelta(hours=17)) == datetime(2026, 11, 24, 10, tzinfo=INDIA)


def test_hours_open_before_they_close() -> None:
    with pytest.raises(ValueError, match="open before"):
        BusinessHours(time(20), time(9))
