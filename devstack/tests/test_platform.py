"""What each process is told: enough, and nothing of the others'."""

import re
from pathlib import Path

import pytest

from agents_service.settings import AgentsSettings
from auth_service.settings import AuthSettings
from chassis.settings import Settings
from crm_service.settings import CrmSettings
from devstack import secretfile
from devstack.platform import PROCESSES, Platform
from devstack.process import Problem
from devstack.supervisor import ROOT
from gateway.settings import GatewaySettings
from projects_service.settings import ProjectsSettings

SETTINGS: dict[str, type[Settings]] = {
    "gateway": GatewaySettings,
    "auth": AuthSettings,
    "agents": AgentsSettings,
    "crm": CrmSettings,
    "projects": ProjectsSettings,
}


@pytest.fixture
def told(tmp_path: Path) -> dict[str, dict[str, str]]:
    platform = Platform({})
    secrets = secretfile.ensure(tmp_path / "secrets.env")
    return {
        process: platform.process_environment(
            process,
            secrets=secrets,
            database_url=platform.admin_url(secrets),
            redis_url="redis://127.0.0.1:1/0",
            var=tmp_path,
        )
        for process in PROCESSES
    }


@pytest.mark.parametrize("process", PROCESSES)
def test_each_process_accepts_what_it_is_told(
    process: str, told: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in told[process].items():
        monkeypatch.setenv(name, value)
    assert SETTINGS[process]().environment == "development"


def test_each_service_gets_its_own_role_and_no_one_elses_secret(
    told: dict[str, dict[str, str]],
) -> None:
    secrets = [told[process]["SERVICE_SECRET"] for process in PROCESSES]
    assert len(set(secrets)) == len(PROCESSES)
    assert all(
        told[name]["DATABASE_URL"].startswith(f"postgresql://{name}_app:") for name in PROCESSES[1:]
    )
    assert "DATABASE_URL" not in told["gateway"]
    assert [name for name in PROCESSES if "REFRESH_KEY" in told[name]] == ["auth"]


def test_every_setting_is_explained_in_the_example() -> None:
    explained = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    read = {name.upper() for settings in SETTINGS.values() for name in settings.model_fields}
    assert read - explained == set()


def test_secrets_are_made_once_and_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "secrets.env"
    first = secretfile.ensure(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert secretfile.ensure(path) == first


def test_a_secret_added_later_joins_the_old_ones(tmp_path: Path) -> None:
    path = tmp_path / "secrets.env"
    path.write_text("CURSOR_KEY=kept\n")
    assert secretfile.ensure(path)["CURSOR_KEY"] == "kept"
    assert set(secretfile.read(path)) == set(secretfile.NAMES)


def test_a_target_moves_where_a_service_listens() -> None:
    platform = Platform({"CRM_TARGET": "dns:///localhost:6003"})
    assert platform.grpc_port("crm") == 6003
    assert platform.grpc_port("auth") == 50051


@pytest.mark.parametrize("value", ["eighty", "0", "70000", "-1"])
def test_a_port_that_is_none_is_a_problem_named_after_its_variable(value: str) -> None:
    with pytest.raises(Problem, match="GATEWAY_PORT"):
        Platform({"GATEWAY_PORT": value}).ports()
