"""Rules of auth that need nothing but themselves."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from auth_service import texts
from auth_service.otp.domain import LIFETIME, hashed, new_code
from auth_service.sessions.domain import GRACE, IDLE, UsedToken, new_token, successor
from auth_service.settings import AuthSettings
from auth_service.signing_keys.domain import PUBLISHED_AHEAD, Cipher, due, new_key, signing
from auth_service.users.domain import User, UserStatus, check_may_sign_in, spelt, token_time
from chassis.errors import InvalidArgument, PermissionDenied
from chassis.quota import Quota
from chassis.rules import field_rules
from chassis.settings import clear
from chassis.sms import segments
from devstack.testing_service import SECRET
from propmubi.auth.v1.auth_pb2 import TokenResponse

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def user(**changes: Any) -> User:
    fields: dict[str, Any] = {
        "id": uuid.uuid4(),
        "phone": "+919876543210",
        "email": None,
        "full_name": None,
        "roles": ("buyer",),
        "agent_id": None,
        "office_id": None,
        "builder_id": None,
        "status": UserStatus.ACTIVE,
        "tokens_refused_until": None,
        "version": 1,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return User(**{**fields, **changes})


def test_codes_have_six_digits_and_are_bound_to_their_challenge() -> None:
    codes = {new_code() for _ in range(500)}
    assert len(codes) > 490
    assert all(len(code) == 6 and code.isdigit() for code in codes)
    one, other = uuid.uuid4(), uuid.uuid4()
    assert hashed(b"pepper", one, "123456") != hashed(b"pepper", other, "123456")
    assert hashed(b"pepper", one, "123456") != hashed(b"salt", one, "123456")


def test_a_text_says_what_its_code_is_for_and_every_one_is_paid_once() -> None:
    sign_in = texts.sign_in_code("123456", LIFETIME)
    confirm = texts.confirmation_code("123456", LIFETIME)
    assert sign_in.startswith("123456 is your PropMubi code, good for 5 minutes")
    assert confirm.startswith("123456 confirms a change to your PropMubi account")
    notices = (texts.PASSWORD_SET, texts.PHONE_CHANGED, texts.SESSION_ENDED)
    assert {segments(text) for text in (sign_in, confirm, *notices)} == {1}


def test_names_are_spelt_one_way_and_hide_nothing() -> None:
    assert spelt("  Zoe\u0308 \n\u200bD\u2060Souza\ufeff ") == "Zoë DSouza"
    malayalam = "നന്ദിനി\u200d"  # Written with a joiner.
    assert spelt(malayalam) == malayalam
    for blank in (" ", "\u200b\u200d", "123"):
        with pytest.raises(InvalidArgument):
            spelt(blank)


def test_successors_are_stable_keyed_and_as_long_as_tokens() -> None:
    token = new_token()
    assert successor(b"key", token) == successor(b"key", token)
    assert successor(b"key", token) != successor(b"other", token)
    assert len(successor(b"key", token)) == len(token) == 43


@pytest.mark.parametrize(
    ("used_ago", "used_by", "repeats"),
    [
        (GRACE, "browser", True),
        (GRACE + timedelta(milliseconds=1), "browser", False),
        (timedelta(0), "thief", False),
        (None, None, False),
    ],
)
def test_only_the_same_client_repeats_and_only_at_once(
    used_ago: timedelta | None, used_by: str | None, repeats: bool
) -> None:
    used_at = None if used_ago is None else NOW - used_ago
    used = UsedToken(uuid.uuid4(), uuid.uuid4(), True, False, used_at, used_by, None, NOW)
    assert used.may_be_repeated_by("browser") is repeats


def test_who_may_sign_in() -> None:
    for status in (UserStatus.PENDING, UserStatus.ACTIVE):
        check_may_sign_in(user(status=status))
    for status in (UserStatus.SUSPENDED, UserStatus.ERASED):
        with pytest.raises(PermissionDenied):
            check_may_sign_in(user(status=status))


def test_a_token_issued_in_the_second_of_a_loss_is_dated_after_it() -> None:
    second, later = NOW.timestamp(), NOW + timedelta(milliseconds=700)
    assert token_time(user(), later) == second
    lost = user(tokens_refused_until=NOW + timedelta(milliseconds=300))
    assert token_time(lost, later) == second + 1
    assert token_time(lost, NOW + timedelta(seconds=60)) == second + 60


def test_when_a_key_is_due() -> None:
    cipher = Cipher(SECRET)
    assert due([], NOW) == NOW
    key = new_key(cipher, NOW)
    assert due([key], NOW) is None
    assert due([key], key.retires_at - PUBLISHED_AHEAD - timedelta(seconds=1)) is None
    ahead = key.retires_at - PUBLISHED_AHEAD
    assert due([key], ahead) == key.retires_at
    following = new_key(cipher, key.retires_at)
    assert due([key, following], ahead) is None
    assert signing([key, following], ahead) is key
    assert signing([key, following], key.retires_at) is following
    assert due([key], key.retires_at) == key.retires_at
    # A clock that is behind does not keep anybody from signing in.
    assert signing([following, key], NOW - timedelta(seconds=1)) is key
    assert signing([], NOW) is None


def test_a_key_survives_its_encryption() -> None:
    cipher = Cipher(SECRET)
    key = new_key(cipher, NOW)
    opened = cipher.decrypt(key.kid, key.private_key)
    assert opened.public_key().public_numbers() == key.public_key.public_numbers()


ENVIRONMENT = {
    "ENVIRONMENT": "development",
    "REDIS_URL": "redis://localhost",
    "DATABASE_URL": "postgresql://localhost/db",
    "SERVICE_SECRET": SECRET,
    "CURSOR_KEY": SECRET,
    "OTP_PEPPER": SECRET,
    "REFRESH_KEY": SECRET,
    "KEY_ENCRYPTION_KEY": SECRET,
    "SERVICE_SECRETS": f"agents={SECRET},crm={SECRET}=",
    "SMS_PROVIDER": "file",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_settings_are_read_from_the_environment(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ADMIN_PHONES", "+919999900001, 9876543210")
    environment.setenv("OTP_SEND_LIMIT_PER_PHONE", "5/1h")
    environment.setenv("OTP_COUNTRIES", "IN,ae")
    settings = AuthSettings()
    assert settings.admin_phones == {"+919999900001", "+919876543210"}
    assert settings.otp_countries == {"IN", "AE"}
    assert settings.otp_send_limit_per_phone == (Quota(5, 3600),)
    assert settings.auth_limit_per_identifier == (Quota(10, 900),)
    assert settings.password_cost == 12
    assert clear(settings.service_secrets["crm"]) == [SECRET + "="]
    assert SECRET not in repr(settings)
    environment.setenv("ADMIN_PHONES", "")
    assert AuthSettings().admin_phones == frozenset()


def test_passwords_cost_less_to_guess_at_in_development_alone(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("PASSWORD_COST", "11")
    assert AuthSettings().password_cost == 11
    environment.setenv("ENVIRONMENT", "staging")
    with pytest.raises(ValidationError, match="PASSWORD_COST must be at least 12"):
        AuthSettings()
    environment.setenv("PASSWORD_COST", "12")
    assert AuthSettings().password_cost == 12


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTP_PEPPER", "short"),
        ("REFRESH_KEY", ""),
        ("KEY_ENCRYPTION_KEY", "change-me" * 10),
        ("SERVICE_SECRETS", "agents"),
        ("SERVICE_SECRETS", "agents=short"),
        ("ADMIN_PHONES", "+91 12"),
        ("OTP_COUNTRIES", "India"),
        ("OTP_SEND_LIMIT_PER_PHONE", "1/30s,many"),
        ("OTP_SENDS_PER_DAY", "0"),
    ],
)
def test_bad_settings_are_named_and_never_quoted(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environment.setenv("ENVIRONMENT", "staging")
    environment.setenv(name, value)
    with pytest.raises(ValidationError) as refused:
        AuthSettings()
    assert [str(error["loc"][0]).upper() for error in refused.value.errors()] == [name]


def test_a_browser_keeps_the_cookie_as_long_as_the_token_in_it_is_good() -> None:
    cookie = field_rules(TokenResponse.DESCRIPTOR.fields_by_name["refresh_token"]).cookie
    assert cookie is not None
    assert cookie.max_age == IDLE.total_seconds()
