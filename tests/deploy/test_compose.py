"""deploy/compose as it is written: confined, gated, with no secret of its own, each process told only what it needs.

That it runs is for `make compose-smoke` to show.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from agents_service.settings import AgentsSettings
from auth_service.settings import AuthSettings
from chassis.settings import Settings
from chassis.sms import SmsSettings
from crm_service.settings import CrmSettings
from devstack import compose_env
from devstack.process import Problem
from devstack.supervisor import ROOT
from gateway.settings import GatewaySettings
from projects_service.settings import ProjectsSettings

FOLDER = ROOT / "deploy" / "compose"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SETTINGS: dict[str, type[Settings]] = {
    "gateway": GatewaySettings,
    "auth": AuthSettings,
    "agents": AgentsSettings,
    "crm": CrmSettings,
    "projects": ProjectsSettings,
}
BACK = tuple(name for name in SETTINGS if name != "gateway")
JOBS = ("provision", *(f"migrate-{name}" for name in BACK))
# Their images hold nothing that could ask them how they are.
MUTE = {"otel-collector", "loki", "tempo"}
# What may be left out, and is no secret.
OPTIONAL = {
    *("ENVIRONMENT", "PROPMUBI_VERSION", "COMPOSE_PROFILES"),
    *("GATEWAY_BIND", "GATEWAY_PORT", "GRAFANA_PORT"),
}
VARIABLE = re.compile(r"(?<!\$)\$\{([A-Z_]+)([^}]*)\}")


def variables() -> list[tuple[str, str]]:
    """Each variable that compose.yaml reads, with what follows its name."""
    return VARIABLE.findall((FOLDER / "compose.yaml").read_text())


def told(service: str) -> dict[str, str]:
    """What a container gets as its environment where nothing is set but made-up secrets."""

    def value(match: re.Match[str]) -> str:
        name, rest = match.groups()
        default = rest.removeprefix(":-") if rest.startswith(":-") else ""
        return default if name in OPTIONAL else name.lower() + "x" * 32

    return {
        name: VARIABLE.sub(value, str(text))
        for name, text in SERVICES[service].get("environment", {}).items()
    }


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "ulimits", "pid", "network_mode", "devices"} & service.keys()
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert service["logging"]["options"]["max-size"]
    user, rights = service["user"], service.get("cap_add", [])
    if name == "otel-collector":  # It reads the files that Docker keeps for root alone.
        assert (user, rights) == ("0:0", ["DAC_READ_SEARCH"])
    else:
        assert re.fullmatch(r"[1-9]\d*:\d+", user)
        assert rights == []


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_that_stays_says_how_it_is(name: str) -> None:
    service = SERVICES[name]
    if name in JOBS or name in MUTE:
        assert service["healthcheck"] == {"disable": True}
        assert (service["restart"] == "no") == (name in JOBS)
        return
    assert service["restart"] == "unless-stopped"
    if name in SETTINGS:
        assert "healthcheck" not in service
        assert "\nHEALTHCHECK " in DOCKERFILE
    else:
        assert service["healthcheck"]["test"]


def test_only_the_gateway_is_published_and_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "gateway": ["${GATEWAY_BIND:-127.0.0.1}:${GATEWAY_PORT:-8000}:8000"],
        "grafana": ["127.0.0.1:${GRAFANA_PORT:-3000}:3000"],
    }
    assert SERVICES["grafana"]["profiles"] == ["observability"]


def test_each_reaches_whom_it_must_and_nobody_else() -> None:
    members = {
        network: {name for name, service in SERVICES.items() if network in service["networks"]}
        for network in COMPOSE["networks"]
    }
    assert members["database"] == {"postgres", *JOBS, *BACK}
    assert members["calls"] == {"valkey", *SETTINGS, "prometheus", "otel-collector"}
    assert members["outside"] == {"auth", "agents", "crm"}
    assert members["published"] == {"gateway"}
    assert members["dashboards"] == {"grafana"}
    assert members["paging"] == {"alertmanager"}
    way_out = {name for name, network in COMPOSE["networks"].items() if leads_out(network)}
    assert way_out == {"outside", "paging"}


def leads_out(network: dict[str, Any]) -> bool:
    """Whether what is on it reaches the world: without masquerading no answer finds the way back."""
    masqueraded = "com.docker.network.bridge.enable_ip_masquerade"
    lent = network.get("driver_opts", {}).get(masqueraded, "true") == "true"
    return lent and not network.get("internal")


def test_nobody_starts_before_what_he_needs() -> None:
    gates = {
        name: {other: gate["condition"] for other, gate in service.get("depends_on", {}).items()}
        for name, service in SERVICES.items()
    }
    healthy, done = "service_healthy", "service_completed_successfully"
    assert gates["provision"] == {"postgres": healthy}
    for name in BACK:
        assert gates[f"migrate-{name}"] == {"provision": done}
        assert gates[name] == {f"migrate-{name}": done, "valkey": healthy}
    assert gates["gateway"] == dict.fromkeys((*BACK, "valkey"), healthy)


def test_no_secret_has_a_default_and_each_is_made_or_asked_for() -> None:
    for name, rest in variables():
        if name in OPTIONAL:
            assert rest.startswith((":-", ":+")), name
        else:
            assert rest.startswith((":?run make compose-env", ":?put your ")), name
    required = {name for name, _ in variables()} - OPTIONAL
    assert required == {*compose_env.NAMES, *compose_env.TWILIO}


def test_what_is_missing_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*compose_env.NAMES, *compose_env.TWILIO):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(Problem, match=r"no POSTGRES_PASSWORD and \d+ more: run make compose-env"):
        compose_env.up(tmp_path)
    compose_env.write(tmp_path / ".env")
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    with pytest.raises(Problem, match="no TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN, TWILIO_FROM: add"):
        compose_env.up(tmp_path)


def test_every_variable_is_explained_in_the_example() -> None:
    text = (ROOT / ".env.example").read_text()
    explained = set(re.findall(r"^#?([A-Z_]+)=", text, re.MULTILINE))
    # What every service has is explained once.
    each = re.compile(r"^(AGENTS|CRM|PROJECTS)_(?=OWNER_PASSWORD|APP_PASSWORD|SERVICE_SECRET)")
    assert {each.sub("AUTH_", name) for name, _ in variables()} - explained == set()


@pytest.mark.parametrize("process", SETTINGS)
def test_each_process_accepts_what_it_is_told(
    process: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (told(process) | image_variables(process)).items():
        monkeypatch.setenv(name, value)
    settings = SETTINGS[process]()
    assert settings.environment == "production"
    assert settings.auth_target == "dns:///auth:50051"


def image_variables(process: str) -> dict[str, str]:
    """What the stage of `process` in the Dockerfile sets."""
    stage = DOCKERFILE.split(f"\nFROM runtime AS {process}\n")[1].split("\nFROM ")[0]
    (line,) = re.findall(r"^ENV (.*)$", stage, re.MULTILINE)
    return dict(pair.split("=") for pair in line.split())


def test_each_listens_where_the_others_look_for_it() -> None:
    for name in BACK:
        assert told("gateway")[f"{name.upper()}_TARGET"].endswith(
            ":" + image_variables(name)["GRPC_PORT"]
        )
    assert image_variables("gateway")["GATEWAY_PORT"] == "8000"
    for name, settings in SETTINGS.items():
        default = settings.model_fields["metrics_port"].default
        assert image_variables(name)["METRICS_PORT"] == str(default)


def test_nobody_knows_the_secrets_of_others() -> None:
    knows = {name: set(re.findall(r"\$\{([A-Z_]+):\?", str(SERVICES[name]))) for name in SERVICES}
    assert {name for name in knows if "POSTGRES_PASSWORD" in knows[name]} == {
        "postgres",
        "provision",
    }
    for name in BACK:
        owner = f"{name.upper()}_OWNER_PASSWORD"
        app = f"{name.upper()}_APP_PASSWORD"
        assert {who for who in knows if owner in knows[who]} == {"provision", f"migrate-{name}"}
        assert {who for who in knows if app in knows[who]} == {"provision", name}
        assert knows[f"migrate-{name}"] == {owner}
    for name in ("OTP_PEPPER", "REFRESH_KEY", "KEY_ENCRYPTION_KEY"):
        assert {who for who in knows if name in knows[who]} == {"auth"}
    assert knows["gateway"] == {"VALKEY_PASSWORD"}


def test_whoever_texts_is_given_the_account_and_in_the_smoke_test_the_stand_in() -> None:
    smoke = yaml.safe_load((FOLDER / "smoke" / "compose.yaml").read_text())["services"]
    texts = {name for name, settings in SETTINGS.items() if issubclass(settings, SmsSettings)}
    assert {name for name in SETTINGS if "TWILIO_AUTH_TOKEN" in told(name)} == texts
    assert {name for name in SETTINGS if "TWILIO_BASE_URL" in smoke[name]["environment"]} == texts


def test_what_is_mounted_from_here_is_here() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (FOLDER / source).exists(), volume
                assert volume.endswith(":ro")
            elif not source.startswith("/"):
                assert source in COMPOSE["volumes"]


def test_the_images_can_be_built_without_reaching_for_more_than_their_base() -> None:
    assert "# syntax" not in DOCKERFILE
    assert "@sha256" not in DOCKERFILE
    stages = re.findall(r"^FROM (\S+)(?: AS (\S+))?$", DOCKERFILE, re.MULTILINE)
    names = {name for _, name in stages if name}
    assert {source for source, _ in stages} - names == {"${PYTHON_IMAGE}", "${SERVICE}"}
    assert names >= SETTINGS.keys()
    assert "--require-hashes" in DOCKERFILE
    assert re.search(r"^USER 10001:10001$", DOCKERFILE, re.MULTILINE)


def test_what_an_image_copies_is_let_through() -> None:
    """.dockerignore holds back all but what it names; what is copied must be there."""
    passed = [
        line[1:]
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    copied = re.findall(r"^COPY (?!--from)(\S+) ", DOCKERFILE, re.MULTILINE)
    assert len(copied) == 1 + 2 + len(SETTINGS)
    for path in copied:
        assert (ROOT / path).exists()
        assert any(Path(path).is_relative_to(let) for let in passed), path


def test_the_page_restores_in_the_order_and_with_the_options_of_the_drill() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    (steps,) = re.findall(r"(?ms)^  (docker compose stop .*?)^  ```", page)
    order = [
        "compose stop",
        "dropdb",
        "createdb",
        "run --rm provision",
        "pg_restore",
        "rm --stop",
        "compose up",
    ]
    assert sorted(order, key=steps.index) == order
    assert set(steps.splitlines()[0].split()[3:]) == SETTINGS.keys()
    assert f"docker volume rm {COMPOSE['name']}_valkey\n" in steps
    drill = (ROOT / "deploy" / "drills" / "dump.py").read_text()
    options = set(re.findall(r"--[a-z-]+", steps.split("pg_restore", 1)[1].split("'")[0]))
    assert options == {"--dbname", "--clean", "--if-exists", "--single-transaction"}
    assert all(f'"{option}' in drill for option in options)
