"""Whatever is sent, the platform answers as OpenAPI says it may: schemathesis makes up requests, good and bad ones.

It tries every operation in the name of somebody who may call it, and looks at the status, the headers, the type and the
form of each answer, whether what breaks the contract is refused, and that nothing is a fault of ours.
`make check-answers` runs it, on a platform of its own: afterwards who lives there may be suspended.
"""

import json
import subprocess
import sys
from pathlib import Path

from devstack.testing_platform import RunningPlatform
from devstack.testing_town import Town, founded
from gateway import openapi
from gateway.contract import load_contract
from propmubi.options.v1.options_pb2 import Caller

EXAMPLES = 5  # For each operation.
# Whoever calls them has no session any more, or nobody has, and gets nowhere afterwards.
NOT_TRIED = ("logout", "rotateSigningKeys")
CONFIGURATION = """
seed = 1
continue-on-failure = true
warnings = false

[generation]
max-examples = {examples}
database = "none"
no-shrink = true

[phases]
coverage.enabled = false
stateful.enabled = false

[checks]
enabled = false
not_a_server_error.enabled = true
status_code_conformance.enabled = true
content_type_conformance.enabled = true
response_headers_conformance.enabled = true
response_schema_conformance.enabled = true
unsupported_method.enabled = true
[checks.negative_data_rejection]
enabled = true
expected-statuses = [400, 401, 403, 404, 409, 412, 413, 415, 422, 429, 431]
"""
OPERATIONS = """
[[operations]]
include-operation-id = {ids}
headers = {{ Authorization = {authorization} }}
"""


def configuration(town: Town) -> str:
    """What schemathesis does, and in whose name it calls what not everybody may."""
    people = {
        Caller.CALLER_PERSON: town.new_person(),
        Caller.CALLER_AGENT: town.vikram,
        Caller.CALLER_OFFICE_ADMIN: town.asha,
        Caller.CALLER_BUILDER: town.meera,
        Caller.CALLER_ADMIN: town.admin,
    }
    text = CONFIGURATION.format(examples=EXAMPLES)
    for caller, person in people.items():
        ids = [
            each.operation_id for each in load_contract().operations if max(each.callers) == caller
        ]
        authorization = person.headers["Authorization"]
        text += OPERATIONS.format(ids=json.dumps(ids), authorization=json.dumps(authorization))
    return text


def test_every_answer_is_one_that_openapi_declares(
    platform: RunningPlatform, tmp_path: Path
) -> None:
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", str(openapi.SNAPSHOT)]
    command += [f"--url={platform.url}", "--no-color"]
    command += [f"--exclude-operation-id={each}" for each in NOT_TRIED]
    with founded(platform) as town:
        (tmp_path / "schemathesis.toml").write_text(configuration(town), encoding="utf-8")
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"Tested: {len(load_contract().operations) - len(NOT_TRIED)}" in run.stdout
