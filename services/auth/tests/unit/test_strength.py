"""Which passwords are good ones."""

import cProfile

import pytest

from auth_service.passwords.strength import check_new
from chassis.errors import InvalidArgument

ABOUT_HER = ("Asha Kulkarni", "asha@example.in", "+919876543210", None)


@pytest.mark.parametrize(
    ("weak", "why"),
    [
        ("elevenchars", "at least 12"),
        ("password1234", "very common"),
        ("Password@1234", "commonly used"),
        ("qwertyuiop12", "commonly used"),
        ("aaaaaaaaaaaaaaaa", "Repeats"),
        ("abcdefghijkl", "Sequences"),
        ("propmubi2026", "too few guesses"),
        ("kulkarni@1990", "guessed"),
        ("asha@example.in", "too few guesses"),
        ("919876543210!", "too few guesses"),
        ("9876543210 asha", "too few guesses"),
        ("letmein" * 30, "Repeats"),
    ],
)
def test_short_and_easily_guessed_ones_are_refused(weak: str, why: str) -> None:
    with pytest.raises(InvalidArgument, match="not valid") as refusal:
        check_new(weak, ABOUT_HER)
    [violation] = refusal.value.violations
    assert violation.field == "password"
    assert why in violation.message


@pytest.mark.parametrize(
    "strong",
    [
        "monsoon tiffin lantern quartz",
        "x7#kQ9!mZp2w",
        "\u0928\u092e\u0938\u094d\u0924\u0947 quartz",
        "brass umbrella seventeen kites over the lake of Pushkar, in a winter that nobody remembers",
    ],
)
def test_long_and_unlikely_ones_are_taken(strong: str) -> None:
    check_new(strong, ABOUT_HER)


def work(password: str) -> int:
    """How many calls it takes to judge it."""
    profile = cProfile.Profile()
    profile.runcall(check_new, password, ABOUT_HER)
    return sum(entry.callcount for entry in profile.getstats())


def test_no_password_takes_long_to_judge() -> None:
    """Each of these may stand for a letter, or for several: every way to read them is looked at."""
    costly = ("4@8({[<3691!|70$5+%2" * 4)[:72]
    assert work(costly) < 1.1 * work(costly[:24])  # 3.5 times when all of it was judged.
