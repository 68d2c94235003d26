"""The shapes of RERA registration numbers, state by state.

Each state's authority numbers its agents, projects and promoters in its own way, and some have changed it over the
years: a number's shape says whether it can be real, never that it is. So it tells and does not block.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Literal

Kind = Literal["agent", "project", "promoter"]


class VerificationStatus(StrEnum):
    """What the shape of a number says. The names are those of propmubi.agents.v1.VerificationStatus."""

    UNKNOWN = "unknown"
    WELL_FORMED = "well_formed"
    MALFORMED = "malformed"


# From the registers that the states' authorities publish, and, for Gujarat, Haryana, Karnataka, Maharashtra, Tamil Nadu
# and Uttar Pradesh, held against numbers that agents and builders show on their own pages in 2026: Maharashtra's agents
# have a twelfth digit since 2023, Uttar Pradesh puts month and year behind its projects' and the day behind its agents'
# numbers. A promoter without a pattern goes by its project's number.
PATTERNS: Final[Mapping[str, Mapping[str, str]]] = {
    "andhra pradesh": {"agent": r"A\d{11}", "project": r"P\d{11}"},
    "delhi": {"agent": r"DLRERA\d{4}A\d{4}", "project": r"DLRERA\d{4}P\d{4}"},
    "goa": {"agent": r"AGGO\d{8}", "project": r"PRGO\d{8}"},
    "gujarat": {"agent": r"AG/GJ/.+/AA\d{5}/.+", "project": r"PR/GJ/.+/[RCM]AA\d{5}/.+"},
    "haryana": {
        "agent": r"HRERA-PKL-REA-\d+-\d{4}|RC/(REA/)?HARERA/GGM(/\d+){2,4}",
        "project": r"HRERA-PKL-[A-Z]{2,4}-\d+-\d{4}|(RC/REP/)?HARERA/GGM(/\d+){2,4}",
    },
    "karnataka": {
        "agent": r"(PRM|AG)/KA/RERA/\d{4}/\d{3}/AG/\d{6}/\d{6}",
        "project": r"PRM/KA/RERA/\d{4}/\d{3}/PR/\d{6}/\d{6}",
    },
    "kerala": {
        "agent": r"K-RERA/AGENT/[A-Z]+/\d+/\d{4}",
        "project": r"K-RERA/PRJ/[A-Z]+/\d+/\d{4}",
    },
    "madhya pradesh": {"agent": r"A-[A-Z]{3}-\d{2}-\d+", "project": r"P-[A-Z]{3}-\d{2}-\d+"},
    "maharashtra": {"agent": r"A\d{11,12}", "project": r"P[A-Z]?\d{11,13}"},
    "rajasthan": {"agent": r"RAJ/A/\d{4}/\d+", "project": r"RAJ/P/\d{4}/\d+"},
    "tamil nadu": {
        "agent": r"TN/AGENT/\d{4}/\d{4}",
        "project": r"TN/\d{2}/(BUILDING|LAYOUT)/\d{4}/\d{4}",
    },
    "telangana": {"agent": r"A\d{11}", "project": r"P\d{11}"},
    "uttar pradesh": {
        "agent": r"UPRERAAGT(\d{3,6}|\d{13})",
        "project": r"UPRERAPRJ\d{3,6}(/\d{2}/\d{4})?",
        "promoter": r"UPRERAPRM\d{3,6}",
    },
    "west bengal": {
        "agent": r"WBRERA/A/[A-Z]{3}/\d{4}/\d{6}",
        "project": r"WBRERA/P/[A-Z]{3}/\d{4}/\d{6}",
    },
}


def check(kind: Kind, state: str | None, number: str | None) -> VerificationStatus:
    """Whether `number` has the shape that `state` gives to the numbers of its agents, projects or promoters."""
    patterns = PATTERNS.get(" ".join((state or "").split()).casefold())
    if patterns is None or number is None:
        return VerificationStatus.UNKNOWN
    pattern = patterns.get(kind) or patterns["project"]
    fits = re.fullmatch(pattern, number.strip(), re.ASCII | re.IGNORECASE)
    return VerificationStatus.WELL_FORMED if fits else VerificationStatus.MALFORMED
