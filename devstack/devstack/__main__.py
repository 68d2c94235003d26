"""`python -m devstack`: what make's targets run."""

import argparse
import os
import shutil
import signal
import sys
from pathlib import Path

from devstack import compose_env, secretfile
from devstack.platform import SERVICES, Platform
from devstack.process import Problem
from devstack.supervisor import ROOT, AlreadyRuns, Supervisor, only_one


def up(var: Path, platform: Platform) -> None:
    with only_one(var):
        supervisor = Supervisor(var, platform)
        try:
            supervisor.start()
            supervisor.watch()
        except KeyboardInterrupt:
            pass  # Ctrl-C or SIGTERM: how it is meant to end.
        finally:
            supervisor.stop()


def demo(var: Path, platform: Platform) -> None:
    from devstack import journey

    journey.run(platform, var)


def rotate_keys(var: Path, platform: Platform, *, leaked: bool) -> None:
    from devstack import journey

    journey.rotate_keys(platform, var, leaked=leaked)


def migrate(var: Path, platform: Platform, services: list[str], down_to: str | None) -> None:
    """Of DATABASE_URL's or the running platform's database; of this checkout's, started for the purpose, otherwise."""
    from devstack import databases

    try:
        with only_one(var):
            supervisor = Supervisor(var, platform)
            try:
                supervisor.start_database()
                databases.bring_up_to_date(
                    supervisor.admin_url, supervisor.secrets, services, down_to
                )
            finally:
                supervisor.stop()
    except AlreadyRuns:
        secrets = secretfile.read(var / "secrets.env")
        databases.bring_up_to_date(platform.admin_url(secrets), secrets, services, down_to)


def clean(var: Path) -> None:
    if not var.exists():
        return
    with only_one(var):
        if (linked := var / "postgres").is_symlink():
            shutil.rmtree(linked.readlink().parent, ignore_errors=True)
        shutil.rmtree(var)


def service(name: str) -> str:
    if name not in SERVICES:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(SERVICES)}")
    return name


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m devstack", description=__doc__)
    parser.add_argument(
        "--var", type=Path, default=ROOT / "var", help="where data, logs and secrets live"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start everything and watch over it until Ctrl-C")
    commands.add_parser("demo", help="drive the journey against the running platform")
    rotating = commands.add_parser(
        "rotate-keys", help="replace the signing keys of the running platform"
    )
    rotating.add_argument("--leaked", action="store_true", help="refuse all that they signed")
    migrating = commands.add_parser("migrate", help="migrate the database")
    migrating.add_argument("service", nargs="*", type=service, help="all unless named")
    migrating.add_argument(
        "--down", metavar="REVISION", help="back to this one, such as -1 or base"
    )
    commands.add_parser("clean", help="remove all local data")
    commands.add_parser("compose-env", help="make the secrets of deploy/compose")
    commands.add_parser("compose-up", help="start deploy/compose")
    wanted = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(
            number, signal.default_int_handler
        )  # All that is asked of us from outside is to end.
    var, platform = wanted.var.absolute(), Platform(os.environ)
    try:
        match wanted.command:
            case "up":
                up(var, platform)
            case "demo":
                demo(var, platform)
            case "rotate-keys":
                rotate_keys(var, platform, leaked=wanted.leaked)
            case "migrate":
                migrate(var, platform, wanted.service or list(SERVICES), wanted.down)
            case "clean":
                clean(var)
            case "compose-env":
                compose_env.write(ROOT / "deploy" / "compose" / ".env")
            case "compose-up":
                compose_env.up(ROOT / "deploy" / "compose")
    except Problem as problem:
        sys.exit(f"✗ {problem}")
    except PermissionError as error:
        sys.exit(f"✗ {error.filename} belongs to another user; use your own clone.")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
