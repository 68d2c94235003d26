"""What breaks clients since another commit is found, and let pass only where a commit says that it is wanted."""

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

ROOT = Path(__file__).parents[2]
PROTO = "protos/propmubi/agents/v1/listings.proto"
FIELD = "  optional int64 expected_version = 2;\n"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "clone"
    git(ROOT, "clone", "--quiet", "--shared", ".", folder)
    return folder


def git(root: Path, *arguments: str | Path) -> None:
    who = ["-c", "user.name=Asha", "-c", "user.email=asha@example.com"]
    subprocess.run(["git", *who, *arguments], cwd=root, check=True)


def break_grpc(root: Path) -> None:
    text = (root / PROTO).read_text(encoding="utf-8")
    assert FIELD in text
    (root / PROTO).write_text(text.replace(FIELD, "", 1), encoding="utf-8")


def break_http(root: Path) -> None:
    snapshot = root / "tests/contract/openapi.json"
    document = orjson.loads(snapshot.read_bytes())
    del document["paths"]["/v1/suggest"]
    snapshot.write_bytes(orjson.dumps(document))


def since(root: Path, base: str) -> tuple[int, str]:
    command = [sys.executable, str(ROOT / "tests/contract/breaking.py"), base]
    run = subprocess.run(command, cwd=root, check=False, capture_output=True, text=True)
    return run.returncode, run.stdout + run.stderr


def test_breaks_of_either_kind_are_named_unless_a_commit_declares_them(clone: Path) -> None:
    git(clone, "commit", "--quiet", "--allow-empty", "--message", "Nothing")
    assert since(clone, "HEAD~1") == (0, "")
    break_grpc(clone)
    break_http(clone)
    git(clone, "commit", "--quiet", "--all", "--message", "Break it")
    code, said = since(clone, "HEAD~1")
    assert code == 1
    assert 'Previously present field "2" with name "expected_version"' in said
    assert "breaking: GET /v1/suggest is gone" in said
    git(clone, "commit", "--quiet", "--amend", "--message", "Break it\n\nBreaking: nobody calls it")
    code, again = since(clone, "HEAD~1")
    assert code == 0
    assert "breaking: GET /v1/suggest is gone" in again
    assert since(clone, "nowhere")[0] == 1
