"""`make up`: refusals in one line."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from devstack.platform import PROCESSES
from devstack.process import free_port
from devstack.testing_platform import own_ports


def up(var: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    told = os.environ | own_ports() | environment
    command: list[str | Path] = [sys.executable, "-m", "devstack", "--var", var, "up"]
    return subprocess.run(
        command, env=told, capture_output=True, text=True, timeout=30, check=False
    )


def test_a_taken_port_is_named_with_what_moves_it(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))
        taken.listen()
        port = taken.getsockname()[1]
        refused = up(tmp_path, GATEWAY_PORT=str(port))
    assert refused.returncode == 1
    assert (
        refused.stderr
        == f"✗ Port {port}, for the gateway, is taken; move it with: make up GATEWAY_PORT=8080\n"
    )


def test_a_port_given_twice_is_named_with_both_owners(tmp_path: Path) -> None:
    port = free_port(len(PROCESSES))
    refused = up(tmp_path, GATEWAY_PORT=str(port + 1), METRICS_PORT=str(port))
    assert refused.returncode == 1
    assert (
        refused.stderr
        == f"✗ Port {port + 1} is meant for both the gateway and auth's metrics; move one with: make up METRICS_PORT=9200\n"
    )


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("DATABASE_URL", "postgresql://me:hidden@127.0.0.1:1/x"),
        ("REDIS_URL", "redis://127.0.0.1:1/0"),
    ],
)
def test_a_server_that_cannot_be_reached_is_named_without_its_password(
    tmp_path: Path, name: str, url: str
) -> None:
    refused = up(tmp_path, **{name: url})
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"✗ {name}: ")
    assert "127.0.0.1:1" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert "hidden" not in refused.stderr
