"""What auth's text messages say. Each is sent as one part: characters of GSM 03.38, 160 of them at most."""

from datetime import timedelta

PASSWORD_SET = (
    "Your PropMubi password was set. If that was not you, "  # noqa: S105  What is said of one.
    "sign in with a code and set another."
)
PHONE_CHANGED = (
    "Your PropMubi account has another phone now. If that was not you, tell our support at once."
)
SESSION_ENDED = (
    "One of your PropMubi sign-ins was used from elsewhere, so we ended it. If that was not you, sign in and "
    "end your other sessions."
)


def sign_in_code(code: str, lifetime: timedelta) -> str:
    return f"{code} is your PropMubi code, {_good_for(lifetime)}"


def confirmation_code(code: str, lifetime: timedelta) -> str:
    """It says what for: who is asked for it by a stranger should know."""
    return f"{code} confirms a change to your PropMubi account, {_good_for(lifetime)}"


def _good_for(lifetime: timedelta) -> str:
    minutes = lifetime // timedelta(minutes=1)
    return f"good for {minutes} minutes. Never tell it to anybody."
