"""The scan of logs finds what it is for, and nothing else."""

import json
from pathlib import Path

import pytest

from devstack.leaks import leaks, leaks_of_platform, sensitive_values
from propmubi.auth.v1 import auth_pb2


@pytest.mark.parametrize(
    "line",
    [
        "to +919876543210",
        "to 9876543210",
        '"to":"98765 43210"',
        "to +91 98765-43210",
        "to 098765 43210, who",
        "to +971 50 123 4567",
        "token trsK-5p3p7ox8-IY6IIxAav--u0ERYJGl0mPS-ZxaB3",
        "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJlc2lnbmF0dXJl",
        "code 123456",
        "DETAIL:  Key (phone)=(+919876543210) already exists.",
        '"body":"correct horse battery"',
    ],
)
def test_a_leak_is_found(line: str) -> None:
    assert leaks(f"before\n{line}\nafter", {"123456", "correct horse battery"}) == [line]


@pytest.mark.parametrize(
    "line",
    [
        '{"event":"rpc","method":"propmubi.auth.v1.AuthService.VerifyOtp","duration_ms":9.123456}',
        '"timestamp":"2026-11-26T04:15:38.988Z","trace_id":"f922935437ee5828e8a5f036e2e0a80b"',
        "to +91******3210, 2026-11-26 04:15:38.123456+00:00, 127.0.0.1:54321",
        "01935b0e-7f1c-7b1e-9a51-0c2f6f3a9c11 A52100012345 1123456 12345.678",
        "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "AOF grew by 9876543210%",
        "propmubi_the_longest_of_all_names_of_metrics_1",
    ],
)
def test_nothing_else_is_found(line: str) -> None:
    assert leaks(line, {"123456"}) == []


def test_the_messages_of_a_platform_are_what_its_logs_must_not_hold(tmp_path: Path) -> None:
    outbox, logs = tmp_path / "outbox", tmp_path / "log"
    sms = {"to": "+919876543210", "body": "123456 is your PropMubi code", "at": ""}
    outbox.write_text(json.dumps(sms) + "\n")
    logs.mkdir()
    (logs / "auth.log").write_text("fine\nhis code is 123456\n")
    (logs / "gateway.log").write_text('{"password":"monsoon tiffin lantern"}\n')
    in_auth, in_gateway = (
        "auth.log: his code is 123456",
        'gateway.log: {"password":"monsoon tiffin lantern"}',
    )
    assert leaks_of_platform(logs, outbox) == [in_auth]
    assert leaks_of_platform(logs, outbox, {"monsoon tiffin lantern"}) == [in_auth, in_gateway]
    outbox.unlink()  # Nothing was ever sent.
    assert leaks_of_platform(logs, outbox) == []


def test_the_contract_says_what_is_sensitive() -> None:
    user = auth_pb2.User(phone="+919876543210", full_name="Asha Kulkarni", email="a@b")
    answer = auth_pb2.TokenResponse(access_token="a-token", token_type="Bearer", user=user)
    assert set(sensitive_values(answer)) == {"a-token", "+919876543210"}
