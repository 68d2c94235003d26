"""`make up` where the platform already runs."""

import os
import subprocess
import sys

from devstack.testing_platform import RunningPlatform


def test_a_second_start_in_the_same_checkout_is_refused(platform: RunningPlatform) -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "devstack", "--var", platform.var, "up"],
        env=os.environ | platform.environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert refused.returncode == 1
    assert refused.stderr.startswith("✗ The platform of this checkout already runs")
