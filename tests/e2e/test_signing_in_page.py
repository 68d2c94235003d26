"""What docs/signing-in.md shows works as it stands there: its shell in bash, its TypeScript as a page in a browser."""

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from devstack.conversation import new_phone
from devstack.testing_platform import RunningPlatform

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/signing-in.md"
TYPESCRIPT = ROOT / "tests/contract/typescript"
WITHIN_SECONDS = 30.0
SHOWN_API, SHOWN_PHONE = "http://localhost:8000", "+919876543210"


def blocks(language: str) -> str:
    return "".join(
        re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    )


def code_for(platform: RunningPlatform, phone: str) -> str:
    give_up = time.monotonic() + WITHIN_SECONDS
    while time.monotonic() < give_up:
        sent = platform.outbox.read_text().splitlines() if platform.outbox.exists() else []
        for sms in map(json.loads, sent):
            if sms["to"] == phone:
                return str(re.findall(r"\b\d{6}\b", sms["body"])[0])
        time.sleep(0.02)
    raise AssertionError("no code was sent")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_examples_sign_in_and_out(platform: RunningPlatform) -> None:
    phone = new_phone()
    script = blocks("sh").replace(SHOWN_API, platform.url).replace(SHOWN_PHONE, phone)
    # The last line asks as she who has just signed out.
    script += 'curl -s -o /dev/null -w "%{http_code}" $API/v1/auth/refresh -H "$JSON" -d "{\\"refresh_token\\": \\"$REFRESH\\"}"\n'
    bash = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    printed, complained = bash.communicate(f"{code_for(platform, phone)}\n", WITHIN_SECONDS)
    assert bash.returncode == 0, complained
    me, _, rest = printed.partition("}{")
    assert phone in me
    assert '"current":true' in rest
    assert printed.endswith("401")


def missing() -> str | None:
    """What a machine lacks for the TypeScript examples."""
    node = shutil.which("node")
    if node is None:
        return "Node is not installed"
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.removeprefix("v").partition(".")[0]) < 20:
        return f"Node {version.strip()} is older than 20"
    if not (TYPESCRIPT / "node_modules/typescript").exists():
        return "TypeScript is not installed; `make check-typescript` does it"
    return None


def test_the_typescript_examples_sign_in_and_out(platform: RunningPlatform, tmp_path: Path) -> None:
    if (reason := missing()) is not None:
        pytest.skip(reason)
    phone = new_phone()
    ran = subprocess.run(
        ["node", "page.mjs", "run", platform.url, platform.outbox],
        cwd=TYPESCRIPT,
        env={**os.environ, "PHONE": phone, "FOLDER": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=WITHIN_SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [
        f"Signed in as {phone}",
        "On 1 device(s)",
        "cookies left: none",
    ]
