"""deploy/compose/.env: the secrets of a platform in containers, made once and for their owner alone."""

import os
import shutil
from pathlib import Path

from devstack import secretfile
from devstack.process import Problem

NAMES = (
    # The gateway calls its peers as whoever calls it.
    *(name for name in secretfile.NAMES if name != "GATEWAY_SERVICE_SECRET"),
    "VALKEY_PASSWORD",
    "GRAFANA_ADMIN_PASSWORD",
)
# What nobody can make up.
TWILIO = ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_FROM")


def write(path: Path) -> None:
    known = secretfile.ensure(path, NAMES)
    print(f"{path} holds {len(NAMES)} random secrets. Keep a copy where you keep secrets.")
    if missing := [name for name in TWILIO if not known.get(name)]:
        print(f"Add what only you know: {', '.join(missing)}.")


def up(folder: Path) -> None:
    """Become Docker Compose in `folder`. Without this it would print a line for every place that lacks a variable.

    Raises Problem, with one line, when something is missing.
    """
    path = folder / ".env"
    known = secretfile.read(path) | dict(os.environ)
    if missing := [name for name in NAMES if not known.get(name)]:
        others = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise Problem(f"{path} has no {missing[0]}{others}: run make compose-env first.")
    if missing := [name for name in TWILIO if not known.get(name)]:
        raise Problem(
            f"{path} has no {', '.join(missing)}: add them; docs/operations.md says how to do without."
        )
    if shutil.which("docker") is None:
        raise Problem("There is no docker here: install it with buildx and Compose 2.24 or newer.")
    os.chdir(folder)
    command = ["docker", "compose", "up", "--build", "--wait"]
    os.execvp(command[0], command)  # noqa: S606 -- the operator's own command, without a shell
