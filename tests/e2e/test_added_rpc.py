"""An RPC added to a proto, and a method to its servicer: that is all it takes to be served, documented and guarded."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from devstack import secretfile
from devstack.platform import Platform
from devstack.supervisor import ROOT
from devstack.testing_platform import RunningPlatform

ID = "01935b0e-7f1c-7b1e-9a51-0c2f6f3a9c11"
ACCESS = "option (propmubi.options.v1.access) = {allow: [CALLER_ANYONE]};"
RPC = """
  // A few words from an agent.
  rpc GreetVisitor(GreetVisitorRequest) returns (GreetVisitorResponse) {
    option idempotency_level = NO_SIDE_EFFECTS;
    option (google.api.http) = {get: "/v1/agents/{agent_id}/greeting"};
    ACCESS
    option (propmubi.options.v1.rate_limit) = RATE_LIMIT_READ;
  }
"""
MESSAGES = """
// Asks for a few words.
message GreetVisitorRequest {
  // From whom.
  string agent_id = 1 [
    (google.api.field_behavior) = REQUIRED,
    (propmubi.options.v1.rules) = {format: FORMAT_UUID}
  ];
}

// A few words.
message GreetVisitorResponse {
  // The words.
  string words = 1;
}
"""
METHOD = """
    async def GreetVisitor(
        self, request: pb.GreetVisitorRequest, context: Any
    ) -> pb.GreetVisitorResponse:
        return pb.GreetVisitorResponse(words=f"Namaste from {request.agent_id}")
"""


@pytest.fixture
def added(tmp_path: Path) -> Callable[[str], str]:
    """Copies of the protos and of the agents service with an RPC more; the PYTHONPATH on which they come first."""

    def add(access: str) -> str:
        protos, agents = tmp_path / "protos", tmp_path / "agents"
        shutil.copytree(ROOT / "protos", protos, ignore=shutil.ignore_patterns("gen"))
        for part in ("agents_service", "migrations"):
            shutil.copytree(ROOT / "services/agents" / part, agents / part)
        insert(protos / "propmubi/agents/v1/agents.proto", RPC.replace("ACCESS", access), MESSAGES)
        insert(agents / "agents_service/agents/servicer.py", METHOD)
        subprocess.run([sys.executable, protos / "generate.py"], check=True, timeout=60)
        return f"{protos / 'gen'}:{agents}"

    return add


def insert(file: Path, into_first: str, at_end: str = "") -> None:
    """Put text where the first service's or servicer's first member begins, and at the end."""
    member = "\n  // " if file.suffix == ".proto" else "\n    async def "
    opening = "service " if file.suffix == ".proto" else "class AgentServicer"
    head, service, rest = file.read_text().partition(opening)
    before, first, after = rest.partition(member)
    file.write_text(head + service + before + into_first + first + after + at_end)


def test_an_added_rpc_is_served_and_documented(
    added: Callable[[str], str], start_platform: Callable[..., RunningPlatform]
) -> None:
    path = added(ACCESS)
    with httpx.Client(base_url=start_platform(PYTHONPATH=path).url, timeout=10) as http:
        greeted = http.get(f"/v1/agents/{ID}/greeting")
        refused = http.get("/v1/agents/17/greeting")
        document = http.get("/openapi.json").json()
    assert (greeted.status_code, greeted.json()) == (200, {"words": f"Namaste from {ID}"})
    assert refused.status_code == 404  # What can't be an id is nobody's.
    operation = document["paths"]["/v1/agents/{agent_id}/greeting"]["get"]
    assert operation["operationId"] == "greetVisitor"
    assert operation["summary"] == "A few words from an agent"
    contract = run(["gateway.contract"], {"PYTHONPATH": path})
    assert "agents.v1.AgentService/GreetVisitor" in contract.stdout
    unwritten = run(["gateway.openapi", "--check"], {"PYTHONPATH": path})
    assert unwritten.returncode != 0


def test_an_rpc_without_an_access_rule_is_served_by_nobody(
    added: Callable[[str], str], platform: RunningPlatform
) -> None:
    path = added("")
    secrets = secretfile.read(platform.var / "secrets.env")
    plan = Platform(platform.environment)
    for process, module in (("gateway", "gateway"), ("agents", "agents_service")):
        told = plan.process_environment(
            process,
            secrets=secrets,
            database_url=plan.admin_url(secrets),
            redis_url=f"redis://127.0.0.1:{plan.valkey_port}/0",
            var=platform.var,
        )
        free = {"GATEWAY_PORT": "0", "GRPC_PORT": "0", "METRICS_PORT": "0", "PYTHONPATH": path}
        refused = run([module], told | free)
        assert refused.returncode == 1
        (line,) = refused.stderr.splitlines()
        assert "propmubi.agents.v1.AgentService.GreetVisitor" in line
        assert "access" in line


def run(module: list[str], environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", *module],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
