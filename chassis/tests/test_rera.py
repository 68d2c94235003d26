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
