"""Make .venv hold exactly what requirements-dev.lock and the workspace say, however often and by however many at once.

Runs before anything is installed, on whatever Python there is: standard library only, and no syntax newer than
Python 3.0 above the version check, so that an old one gets a sentence instead of a SyntaxError.
"""

import sys

if sys.version_info < (3, 11):  # One clear line on an old Python is this block's purpose.
    sys.exit(
        "PropMubi needs Python 3.11 or newer, but %s is %d.%d; name another one with: make PYTHON=/path/to/python3"
        % (sys.executable, sys.version_info[0], sys.version_info[1])
    )

import fcntl
import hashlib
import os
import pathlib
import re
import subprocess
import tempfile
import time
import venv

ROOT = pathlib.Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
UV = VENV / "bin" / "uv"
STAMP = VENV / "propmubi-stamp"  # Two lines: where this .venv was made, and what was installed.
LOCK = ROOT / "requirements-dev.lock"


def members() -> list:
    return sorted(
        path.parent
        for pattern in ("*/pyproject.toml", "services/*/pyproject.toml")
        for path in ROOT.glob(pattern)
    )


def wanted() -> str:
    """The stamp of a finished installation: changes with the checkout's place, the lock and every member's file."""
    digest = hashlib.sha256()
    for path in [LOCK] + [member / "pyproject.toml" for member in members()]:
        digest.update(str(path).encode() + b"\0" + path.read_bytes())
    return str(ROOT) + "\n" + digest.hexdigest() + "\n"


def stamp() -> str:
    try:
        return STAMP.read_text()
    except OSError:
        return ""


def usable() -> bool:
    """Whether .venv was made at this place (scripts carry its path) and its Python and uv still start."""
    if not stamp().startswith(str(ROOT) + "\n"):
        return False
    try:
        for command in (
            [PYTHON, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"],
            [UV, "--version"],
        ):
            subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def create() -> None:
    """A fresh .venv with the locked uv, which pip checks against the lock's hashes."""
    requirement = re.search(r"^uv==(?:.*\\\n)*.*\n", LOCK.read_text(), re.MULTILINE)
    if requirement is None:
        sys.exit("requirements-dev.lock names no uv; run `make lock` from a checkout that has one.")
    try:
        venv.EnvBuilder(clear=True, symlinks=True, with_pip=True).create(VENV)
    except subprocess.CalledProcessError:
        sys.exit(
            "%s cannot make a virtual environment (on Debian and Ubuntu: apt install python3-venv)."
            % sys.executable
        )
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as only_uv:
        only_uv.write(requirement.group())
        only_uv.flush()
        run(
            PYTHON,
            "-m",
            "pip",
            "install",
            "-qq",
            "--require-hashes",
            "--no-deps",
            "-r",
            only_uv.name,
        )


def install() -> None:
    """One sync for packages and members: nothing is missing in between for a process already running from .venv."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as workspace:
        workspace.writelines("-e %s\n" % member for member in members())
        workspace.flush()
        run(UV, "pip", "sync", "--quiet", "--python", PYTHON, LOCK, workspace.name)


def run(*command: object) -> None:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("VIRTUAL_ENV", "PYTHONHOME")
    }
    finished = subprocess.run(
        [str(part) for part in command], cwd=str(ROOT), env=environment, check=False
    )
    if finished.returncode:
        sys.exit(
            "Installing into .venv failed (see above); run the same command again once that is mended."
        )


def main() -> None:
    goal = wanted()
    if stamp() == goal:
        return
    began = time.monotonic()
    try:
        with open(str(ROOT / ".bootstrap.lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # Released by the kernel even if we are killed.
            if stamp() == goal:
                return  # Somebody else did it while we waited.
            print("Installing into .venv what requirements-dev.lock says ...", flush=True)
            if not usable():
                create()
            STAMP.write_text(str(ROOT) + "\n")
            install()
            STAMP.write_text(goal)
    except PermissionError as error:
        sys.exit("%s belongs to another user; use your own clone." % error.filename)
    print("Installed in %.0f s." % (time.monotonic() - began), flush=True)


if __name__ == "__main__":
    main()
