"""Each schema has one line of revisions: two that were written at the same time must not both follow the same one."""

import pytest
from alembic.script import ScriptDirectory

from devstack.platform import SERVICES
from devstack.supervisor import ROOT


@pytest.mark.parametrize("service", SERVICES)
def test_one_revision_follows_another(service: str) -> None:
    scripts = ScriptDirectory(str(ROOT / "services" / service / "migrations"))
    revisions = [script.revision for script in scripts.walk_revisions("base", "head")]
    assert revisions[::-1] == [f"{number:04}" for number in range(1, len(revisions) + 1)]
