"""Quotas, as settings write them: `10/15m` is ten in any fifteen minutes; `1/30s,10/1d` are two that both hold."""

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator
from pydantic_settings import NoDecode

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
# What is counted is kept no longer.
LONGEST_SECONDS = 86_400
_quota = re.compile(r"([0-9]{1,9})/([0-9]{1,5})([smhd])").fullmatch


@dataclass(frozen=True, slots=True)
class Quota:
    """So many calls in any window of so many seconds."""

    calls: int
    seconds: int


def parse_quota(text: object) -> Quota:
    """The quota that `text` writes; raises ValueError."""
    if isinstance(text, Quota):
        return text
    found = _quota(str(text).strip())
    if found is None or not int(found[1]) or not int(found[2]):
        raise ValueError("must be a number of calls per time, such as 600/1m or 10/15m")
    quota = Quota(int(found[1]), int(found[2]) * UNITS[found[3]])
    if quota.seconds > LONGEST_SECONDS:
        raise ValueError("must be a number of calls per time of at most a day, such as 10/1d")
    return quota


def parse_quotas(text: object) -> tuple[Quota, ...]:
    """Comma-separated quotas, all of which hold; raises ValueError."""
    if isinstance(text, tuple):
        return text
    return tuple(parse_quota(part) for part in str(text).split(","))


QuotaSetting = Annotated[Quota, NoDecode, BeforeValidator(parse_quota)]
QuotasSetting = Annotated[tuple[Quota, ...], NoDecode, BeforeValidator(parse_quotas)]
