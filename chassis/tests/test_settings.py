"""Settings that are missing or wrong end the start with one line that names the variable and shows no value."""

from pathlib import Path

import pytest

from chassis.settings import PLACEHOLDER, ServiceSettings, Settings, clear, load

GOOD = {
    "ENVIRONMENT": "production",
    "REDIS_URL": "redis://127.0.0.1",
    "METRICS_PORT": "0",
    "GRPC_PORT": "0",
    "DATABASE_URL": "postgresql://app:secret@127.0.0.1/db",
    "SERVICE_ID": "agents",
    "SERVICE_SECRET": "s" * 32,
    "CURSOR_KEY": "c" * 32,
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)


def test_what_is_set_is_read_and_secrets_are_not_shown() -> None:
    settings = load(ServiceSettings)
    assert clear(settings.cursor_key) == ["c" * 32]
    assert "secret@" not in repr(settings)
    assert "cccc" not in repr(settings)


def test_a_secret_may_have_those_that_it_replaced_behind_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CURSOR_KEY", f"{'n' * 32},{'o' * 32}")
    settings = load(ServiceSettings)
    assert clear(settings.cursor_key) == ["n" * 32, "o" * 32]
    assert "nnnn" not in repr(settings)
    assert "oooo" not in repr(settings)


def test_secrets_may_be_mounted_as_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CURSOR_KEY")
    (tmp_path / "cursor_key").write_text(f"{'f' * 32},{'o' * 32}\n")
    (tmp_path / "service_secret").write_text("f" * 32)
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    settings = load(ServiceSettings)
    assert clear(settings.cursor_key) == ["f" * 32, "o" * 32]
    # The environment goes before them.
    assert settings.service_secret.get_secret_value() == "s" * 32


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SERVICE_SECRET", None),
        ("SERVICE_SECRET", ""),
        ("SERVICE_SECRET", "tooshort-9f8e7d"),
        ("CURSOR_KEY", f"{PLACEHOLDER}-and-more-than-32-characters"),
        ("CURSOR_KEY", f"{'c' * 32},tooshort-9f8e7d"),
        ("CURSOR_KEY", f"{'c' * 32},"),
        ("DATABASE_URL", None),
        ("DATABASE_POOL_SIZE", "21"),
        ("GRPC_PORT", "many9f8e7d"),
        ("ENVIRONMENT", "9f8e7d"),
        ("TRACE_SAMPLE_RATIO", "2"),
    ],
)
def test_what_is_missing_or_wrong_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str | None,
) -> None:
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        load(ServiceSettings)
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{name}: ")
    assert "9f8e7d" not in line
    assert PLACEHOLDER not in line


def test_a_list_that_can_not_be_read_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class WithList(Settings):
        origins: list[str]

    monkeypatch.setenv("ORIGINS", "9f8e7d")
    with pytest.raises(SystemExit) as ended:
        load(WithList)
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "origins" in line
    assert "9f8e7d" not in line


def test_certificates_are_named_all_or_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TLS_CERT_FILE", "tls.crt")
    with pytest.raises(SystemExit):
        load(ServiceSettings)
    assert capsys.readouterr().err == (
        "TLS_CERT_FILE, TLS_KEY_FILE and TLS_CA_FILE belong together: set all three or none\n"
    )
