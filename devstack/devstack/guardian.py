"""Holds the PostgreSQL of one test run: `python -m devstack.guardian FOLDER`, started by the first test that needs it.

It waits for a lock that pytest's main process holds as long as it lives. The kernel hands it over when that process
ends, even by kill -9, so that no test run leaves a server or a folder behind.
"""

import fcntl
import json
import secrets
import shutil
import sys
from pathlib import Path

from devstack.postgres import Postgres
from devstack.process import free_port

RUNS = "run.lock"  # Held by pytest's main process.
SERVES = "server.lock"  # Held by us until everything is gone.
SERVER = "server.json"  # Where the server is, once it is ready.


def main(folder: Path) -> None:
    with (folder / SERVES).open("w") as serves:
        fcntl.flock(serves, fcntl.LOCK_EX)
        password = secrets.token_urlsafe(24)
        server = Postgres(
            folder / "postgres", folder / "postgres.log", free_port(), password, durable=False
        )
        try:
            server.start()
            fresh = folder / f"{SERVER}.new"
            fresh.write_text(json.dumps({"port": server.port, "password": password}))
            fresh.rename(folder / SERVER)
            with (folder / RUNS).open() as runs:
                fcntl.flock(runs, fcntl.LOCK_EX)
        finally:
            server.stop()
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
