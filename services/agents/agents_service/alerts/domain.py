"""What an alert is: a text message that tells somebody of homes that her saved searches found."""

import uuid
from collections.abc import Sequence
from datetime import datetime, time, timedelta
from typing import NamedTuple

from chassis.india import INDIA

# People are left alone at night, as India's rules for such messages want it.
OPENS, CLOSES = time(9), time(21)
LONGEST_NAME = 40


class Waiting(NamedTuple):
    """What one saved search found since its owner was last told, the latest of it, and what she calls the search."""

    user_id: uuid.UUID
    saved_search_id: uuid.UUID
    name: str
    homes: int
    listing_id: uuid.UUID


def may_be_sent_from(now: datetime) -> datetime:
    """When a message may be sent that there is reason for `now`."""
    here = now.astimezone(INDIA)
    if OPENS <= here.time() < CLOSES:
        return now
    return next_morning(now)


def next_morning(now: datetime) -> datetime:
    """The next time that India's day of messages begins."""
    today = datetime.combine(now.astimezone(INDIA), OPENS, INDIA)
    return today if today > now else today + timedelta(days=1)


def body_about(waiting: Sequence[Waiting], home: str | None) -> str:
    """The message about all that waits for somebody; `home` says what it is, if it is one alone."""
    count = sum(each.homes for each in waiting)
    first, others = max(waiting, key=lambda each: each.homes), len(waiting) - 1
    news = home if count == 1 and home else f"{count} homes" if count > 1 else "a home"
    where = f'"{first.name[:LONGEST_NAME]}"' + (f" and {others} more" if others else "")
    return f"PropMubi: {news} for your saved search {where}. To hear less, change its alert."
