"""`make drill-restore`, its second half: the database comes back from a dump, as docs/operations.md says for compose.

A dump is taken while enquiries come in; more follow, and then the database and Valkey are lost. What was acknowledged
before the dump began must be there, once, what came after its end must not, every event must be published, and another
journey must pass. The programs and their options are those of the page, without Docker around them.
"""

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from chassis import migrate
from deploy.drills.restore import (
    SECONDS,
    Enquiries,
    Failure,
    go_on,
    postgres_alone,
    server,
    timed,
)
from devstack import secretfile
from devstack.platform import SERVICES, Platform
from devstack.postgres import hand_over, runnable_programs, unprivileged
from devstack.testing_platform import RunningPlatform, running
from devstack.testing_town import founded

DATABASE = "propmubi"


def run(program: str, *arguments: str | Path) -> None:
    """One of PostgreSQL's programs; what it complains of ends the drill."""
    account = unprivileged()
    ended = subprocess.run(  # type: ignore[call-overload]  # account: user, group
        [runnable_programs(account) / program, *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd="/",
        **account,
    )
    if ended.returncode or ended.stderr:
        raise Failure(f"{program}: {ended.stderr.strip()}")


def restore(platform: RunningPlatform, dump: Path) -> None:
    """An empty database, its roles, what was dumped, and an empty Valkey."""
    maintenance = f"{server(platform)}/postgres"
    run("dropdb", f"--maintenance-db={maintenance}", "--force", DATABASE)
    run("createdb", f"--maintenance-db={maintenance}", DATABASE)
    secrets = secretfile.read(platform.var / "secrets.env")
    admin = Platform(platform.environment).admin_url(secrets)
    for service in SERVICES:
        owner, app = (secrets[f"{service.upper()}_{role}_PASSWORD"] for role in ("OWNER", "APP"))
        migrate.provision(admin, service, owner, app)
    run("pg_restore", f"--dbname={admin}", "--clean", "--if-exists", "--single-transaction", dump)
    shutil.rmtree(platform.var / "valkey")


def drill(platform: RunningPlatform, dump: Path) -> None:
    with founded(platform) as town:
        enquiries = Enquiries(town)
        with enquiries.coming_in():
            time.sleep(SECONDS)  # Some that must be there.
            before = list(enquiries.leads)
            with timed("pg_dump, while enquiries come in"):
                run(
                    "pg_dump", "--format=custom", f"--file={dump}", f"{server(platform)}/{DATABASE}"
                )
        dumped = len(enquiries.leads)
        with enquiries.coming_in():
            time.sleep(SECONDS)  # Some that must be gone.
        after = enquiries.leads[dumped:]
    platform.stop(signal.SIGTERM)
    print(f"dump {dump.stat().st_size / 1e6:.1f} MB")
    with timed("dropdb, createdb, provision, pg_restore"), postgres_alone(platform):
        restore(platform, dump)
    go_on(platform, before, after)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="propmubi-dump-", dir="/var/tmp") as name:
        hand_over(Path(name))
        with running() as platform:
            drill(platform, Path(name) / "propmubi.dump")


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"✗ {failure}")
