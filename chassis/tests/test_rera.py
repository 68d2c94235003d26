"""RERA numbers: what their shape says."""

import pytest

from chassis import rera
from propmubi.agents.v1 import agents_pb2


@pytest.mark.parametrize(
    ("kind", "state", "number", "status"),
    [
        ("agent", "Maharashtra", "A52100012345", "well_formed"),
        ("agent", " maharashtra ", "a52100012345", "well_formed"),
        ("agent", "Maharashtra", "P52100012345", "malformed"),
        ("project", "Maharashtra", "P52100012345", "well_formed"),
        ("project", "Maharashtra", "P5210001234", "malformed"),
        ("project", "Maharashtra", "P5210001234५", "malformed"),
        ("promoter", "Maharashtra", "P52100012345", "well_formed"),
        ("project", "Karnataka", "PRM/KA/RERA/1251/446/PR/171014/000464", "well_formed"),
        ("project", "Tamil  Nadu", "TN/29/Building/0001/2024", "well_formed"),
        ("promoter", "Uttar Pradesh", "UPRERAPRM12345", "well_formed"),
        ("promoter", "Uttar Pradesh", "UPRERAPRJ12345", "malformed"),
        ("agent", "Maharashtra", "A041262501741", "well_formed"),
        ("agent", "Karnataka", "PRM/KA/RERA/1251/446/AG/240723/004980", "well_formed"),
        ("agent", "Gujarat", "AG/GJ/AHMEDABAD/AHMEDABAD CITY/AUDA/AA00789/190329R2", "well_formed"),
        ("agent", "Tamil Nadu", "TN/AGENT/0087/2023", "well_formed"),
        ("agent", "Haryana", "HRERA-PKL-REA-1578-2023", "well_formed"),
        ("agent", "Haryana", "RC/REA/HARERA/GGM/2018/18", "well_formed"),
        ("project", "Haryana", "RC/REP/HARERA/GGM/326/58/2019/20", "well_formed"),
        ("project", "Haryana", "GGM/326/58/2019/20", "malformed"),
        ("agent", "Uttar Pradesh", "UPRERAAGT25838", "well_formed"),
        ("agent", "Uttar Pradesh", "UPRERAAGT0000827072025", "well_formed"),
        ("project", "Uttar Pradesh", "UPRERAPRJ106523/01/2026", "well_formed"),
        ("project", "Nagaland", "anything", "unknown"),
        ("project", "Maharashtra", None, "unknown"),
        ("promoter", None, "P52100012345", "unknown"),
    ],
)
def test_a_number_is_judged_by_its_states_shape(
    kind: rera.Kind, state: str | None, number: str | None, status: str
) -> None:
    assert rera.check(kind, state, number) == status


def test_the_names_are_those_of_the_contract() -> None:
    contract = {
        name.removeprefix("VERIFICATION_STATUS_").lower()
        for name in agents_pb2.VerificationStatus.keys()  # noqa: SIM118  Not a dict.
    }
    assert contract - {"unspecified"} == set(rera.VerificationStatus)


def test_every_state_has_an_agents_and_a_projects_pattern() -> None:
    assert all({"agent", "project"} <= patterns.keys() for patterns in rera.PATTERNS.values())
