"""Which passwords are good ones: long, and not among the first that a guesser tries.

zxcvbn takes a password apart into words, names, dates, keyboard runs and repeats, and says how many guesses it stands.
So `Password1234` and `qwertyuiop12` are refused as well as what is on a list of common passwords.
"""

from collections.abc import Iterator, Sequence

from zxcvbn import zxcvbn

from auth_service.passwords.domain import normalised
from chassis.errors import InvalidArgument, Violation

SHORTEST = 12

# Of zxcvbn's 0 to 4: at least a hundred million guesses, which are told from fewer long before the end of a long
# password. Its work grows with the square of what it sees, and with every digit or sign that may stand for a letter: of
# 72 characters chosen for that it takes two seconds of a core.
_LEAST_SCORE = 3
_JUDGED = 24
# Words that make no password of ours strong.
_OURS = ("propmubi", "rera", "carpet area")


def check_new(password: str, about_her: Sequence[str | None]) -> None:
    """Raises InvalidArgument for a password too short or easily guessed, also from what is known of its owner."""
    password = normalised(password)
    if len(password) < SHORTEST:
        raise _weak(f"must have at least {SHORTEST} characters")
    judged = zxcvbn(password[:_JUDGED], user_inputs=[*_words(about_her), *_OURS])
    if judged["score"] < _LEAST_SCORE:
        why = str(judged["feedback"]["warning"]).rstrip(".") or "It stands too few guesses"
        raise _weak(f"is easily guessed: {why}. Take four words that have nothing to do with you")


def _words(about_her: Sequence[str | None]) -> Iterator[str]:
    """A name and its parts, an address and its parts, a phone with and without its country's code: always in the same
    order, because the first count as guessed first.
    """
    for given in about_her:
        if given:
            words = (given, given.lstrip("+"), given[-10:], *given.split(), *given.split("@"))
            yield from dict.fromkeys(words)


def _weak(what: str) -> InvalidArgument:
    return InvalidArgument(Violation("password", what))
