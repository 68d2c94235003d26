"""Says what breaks clients since another commit: `make check-breaking base=origin/main`.

What breaks callers of gRPC is buf's to say, over the descriptor sets of both commits; what breaks clients of HTTP,
`gateway.breaking`'s, over both snapshots of OpenAPI. Who wants a break declares it in the message of a commit since,
which ends with a line `Breaking: <why>`.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import orjson

from gateway.breaking import differences

PROTOS: Final = "protos"
OPENAPI: Final = "tests/contract/openapi.json"
BUF: Final = str(Path(sys.executable).with_name("buf"))


def git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], check=True, capture_output=True).stdout


def described(root: Path) -> bytes:
    """The descriptor set of the protos below `root`."""
    command = [sys.executable, str(root / PROTOS / "generate.py"), "--describe"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def for_grpc(old: Path, new: Path) -> list[str]:
    """What buf says that breaks callers of gRPC."""
    against = old / "described.binpb"
    against.write_bytes(described(old))
    command = [BUF, "breaking", "-#format=binpb", "--against", str(against), "--exclude-imports"]
    command += ["--config", str(new / PROTOS / "buf.yaml")]
    run = subprocess.run(command, input=described(new), check=False, capture_output=True)
    if run.stderr:
        sys.exit(run.stderr.decode())
    return run.stdout.decode().splitlines()


def for_http(old: Path, new: Path) -> list[str]:
    """What breaks clients of the gateway."""
    before, now = (orjson.loads((root / OPENAPI).read_bytes()) for root in (old, new))
    return [line for line in differences(before, now) if line.startswith("breaking: ")]


def main() -> None:
    parser = argparse.ArgumentParser(description="Say what breaks clients since another commit.")
    parser.add_argument("base", help="that commit; of a branch, the one that HEAD began from")
    asked = parser.parse_args().base
    try:
        base = git("merge-base", asked, "HEAD").decode().strip()
    except subprocess.CalledProcessError:
        sys.exit(f"{asked} and HEAD have no commit in common here: fetch it first.")
    with tempfile.TemporaryDirectory() as folder:
        old, new = Path(folder), Path(git("rev-parse", "--show-toplevel").decode().strip())
        archive = git("-C", str(new), "archive", base, PROTOS, OPENAPI)
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
        found = [*for_grpc(old, new), *for_http(old, new)]
    sys.stdout.writelines(f"{line}\n" for line in found)
    declared = git("log", "--format=%(trailers:key=Breaking,valueonly)", f"{base}..HEAD").strip()
    if found and not declared:
        sys.exit(
            "That breaks clients. Where it is wanted, a commit's message ends with `Breaking: <why>`."
        )


if __name__ == "__main__":
    main()
