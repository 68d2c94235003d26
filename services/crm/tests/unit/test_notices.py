"""What an agent is told of who enquires: her name, and nothing that passes for words of ours."""

import pytest

from crm_service.notices.domain import LONGEST_NAME, said


@pytest.mark.parametrize(
    "name", ["Rohan Deshmukh", "A. P. J. Abdul Kalam", "M.", "O'Brien-Nair", "मीरा जोशी", "Dr. Rao"]
)
def test_a_name_is_said(name: str) -> None:
    assert said(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "PropMubi KYC due: pay at http://evil.in/x",
        "Pay at evil.in",
        "Pay at evil\uff0ein",
        "Pay at evil。in",
        "evil/x",
        "PropMubi: KYC due",
        "me@evil",
        "Call 98765 43210",
        "Call ९८७६५ ४३२१०",
        "\u200b\u200b",
        "- -",
    ],
)
def test_what_is_no_name_is_somebody(name: str) -> None:
    assert said(name) == "somebody"


def test_a_long_name_is_cut() -> None:
    assert said("Rohan " * 20) == ("Rohan " * 5).strip()
    assert len(said("R" * 120)) == LONGEST_NAME
