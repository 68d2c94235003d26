"""The first-response clock, which runs in business hours only."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from chassis.india import INDIA


@dataclass(frozen=True, slots=True)
class BusinessHours:
    """When offices answer, each day of the week, by Indian time; `opens` is before `closes`."""

    opens: time
    closes: time

    def __post_init__(self) -> None:
        if self.opens >= self.closes:
            raise ValueError("business hours must open before they close")

    def between(self, start: datetime, end: datetime) -> timedelta:
        """How much business time passes from `start` to `end`."""
        begun, over = start.astimezone(INDIA), end.astimezone(INDIA)
        passed, day = timedelta(), begun.date()
        while day <= over.date():
            opening, closing = (
                datetime.combine(day, edge, INDIA) for edge in (self.opens, self.closes)
            )
            passed += max(min(closing, over) - max(opening, begun), timedelta())
            day += timedelta(days=1)
        return passed

    def after(self, start: datetime, working: timedelta) -> datetime:
        """When `working` of business time has passed since `start`, in UTC."""
        now = start.astimezone(INDIA)
        while True:
            opening, closing = (
                datetime.combine(now.date(), edge, INDIA) for edge in (self.opens, self.closes)
            )
            now = max(now, opening)
            left = max(closing - now, timedelta())
            if working <= left:
                return (now + working).astimezone(UTC)
            working -= left
            now = datetime.combine(now.date() + timedelta(days=1), time(), INDIA)
