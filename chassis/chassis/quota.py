"""Quotas, as settings write them: `10/15m` is ten in any fifteen minutes."""

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator
from pydantic_settings import NoDecode

UNITS = {"s": 1, "m": 60, "h": 3600}
_quota = re.compile(r"([0-9]{1,9})/([0-9]{1,4})([smh])").fullmatch


@dataclass(frozen=True, slots=True)
class Quota:
    """So many calls in any window of so many seconds."""

    calls: int
    seconds: int


def parse_quota(text: object) -> Quota:
    """The quota that `text` writes; raises ValueError."""
    if isinstance(text, Quota):
        return text
    found = _quota(str(text))
    if found is None or not int(found[1]) or not int(found[2]):
        raise ValueError("must be a number of calls per time, such as 600/1m or 10/15m")
    return Quota(int(found[1]), int(found[2]) * UNITS[found[3]])


QuotaSetting = Annotated[Quota, NoDecode, BeforeValidator(parse_quota)]
