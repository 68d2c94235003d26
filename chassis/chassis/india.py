"""The time in India, by which registrations and mandates end and offices open."""

from datetime import date, datetime, timedelta, timezone

# One zone for all of India, and no summer time.
INDIA = timezone(timedelta(hours=5, minutes=30), "IST")


def today() -> date:
    """The day it is in India."""
    return datetime.now(INDIA).date()


def seconds_left_today() -> float:
    """The seconds until the next day begins in India."""
    now = datetime.now(INDIA)
    begins = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return (begins + timedelta(days=1) - now).total_seconds()
