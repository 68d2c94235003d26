"""var/secrets.env: every secret of this checkout's platform, made once, readable by nobody else."""

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from devstack.platform import PROCESSES, SERVICES

NAMES = (
    "POSTGRES_PASSWORD",
    *(f"{service.upper()}_{role}_PASSWORD" for service in SERVICES for role in ("OWNER", "APP")),
    *(f"{process.upper()}_SERVICE_SECRET" for process in PROCESSES),
    "CURSOR_KEY",
    "OTP_PEPPER",
    "REFRESH_KEY",
    "KEY_ENCRYPTION_KEY",
)


def ensure(path: Path, names: Sequence[str] = NAMES) -> dict[str, str]:
    """The secrets, with those of `names` made now that the file does not have yet. One caller at a time."""
    known = read(path)
    missing = [name for name in names if name not in known]
    if missing:
        known |= {name: secrets.token_hex(32) for name in missing}
        fresh = path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.writelines(f"{name}={value}\n" for name, value in known.items())
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)
    return known


def read(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    lines = path.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
