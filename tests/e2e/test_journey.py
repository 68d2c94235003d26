"""The journey, from sign-in to a booked flat, through five real processes."""

import httpx

from devstack.journey import Journey
from devstack.testing_platform import RunningPlatform


def test_the_journey(platform: RunningPlatform) -> None:
    with httpx.Client(base_url=platform.url, timeout=10) as http:
        Journey(
            http,
            outbox=platform.outbox,
            logs=platform.var / "log",
            admin_phone=platform.environment["ADMIN_PHONES"],
            say=print,
        ).run()
