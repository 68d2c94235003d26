"""What the gateway is told, and whose word it takes for where a request comes from."""

import pytest
from pydantic import ValidationError

from chassis.quota import Quota
from gateway.client_address import client_address
from gateway.settings import GatewaySettings


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://localhost")
    monkeypatch.setenv("CORS_ORIGINS", "https://app.example.in, https://admin.example.in:8443")
    monkeypatch.setenv("READ_LIMIT", "7/10s")
    settings = GatewaySettings()
    assert settings.cors_origins == ("https://app.example.in", "https://admin.example.in:8443")
    assert settings.read_limit == Quota(7, 10)
    assert settings.auth_limit_per_address == settings.otp_send_limit_per_address == Quota(10, 900)
    assert settings.host == "0.0.0.0"


@pytest.mark.parametrize(
    "origin",
    ["*", "null", "app.example.in", "https://App.example.in", "https://a.in/", "ftp://a.in"],
)
def test_only_exact_origins_are_taken(origin: str) -> None:
    with pytest.raises(ValidationError, match="is no origin"):
        GatewaySettings(redis_url="redis://localhost", cors_origins=origin)


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, ["203.0.113.9"], "192.0.2.1"),
        (1, ["203.0.113.9"], "203.0.113.9"),
        (1, ["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
        (1, ["1.1.1.1", "203.0.113.9"], "203.0.113.9"),
        (2, ["1.1.1.1, 203.0.113.9, 10.0.0.1"], "203.0.113.9"),
        (2, ["203.0.113.9"], "192.0.2.1"),
        (1, [], "192.0.2.1"),
        (1, ["unknown"], "192.0.2.1"),
        (1, ["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::/64"),
        (1, ["::ffff:203.0.113.9"], "203.0.113.9"),
        (1, ["203.0.113.9:50123"], "203.0.113.9"),
        (1, ["[2001:db8:1:2:3:4:5:6]:443"], "2001:db8:1:2::/64"),
        (1, ["[203.0.113.9"], "192.0.2.1"),
    ],
)
def test_only_trusted_proxies_say_who_the_client_is(
    proxies: int, forwarded: list[str], address: str
) -> None:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    scope = {"client": ("192.0.2.1", 4711), "headers": headers}
    assert client_address(scope, proxies) == address
