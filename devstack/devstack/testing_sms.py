"""A stand-in of Twilio's Messages API on a local port, for Twilio's real client.

twilio     a `Twilio` that takes every message; tests tell it to answer otherwise
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest_asyncio
from aiohttp import web

ACCOUNT, TOKEN, FROM = "AC0123", "token", "+15005550006"


@dataclass
class Twilio:
    """What it answers, and what it was asked. A test that clears `answers` has it stall."""

    url: str = ""
    # Of the next answers, before all are 201; None hangs up in place of an answer.
    statuses: list[int | None] = field(default_factory=list)
    # In place of what Twilio says with a status.
    text: str | None = None
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    received: list[dict[str, Any]] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, Any]:
        """What a service is told so that it sends its messages here."""
        return {
            "sms_provider": "twilio",
            "twilio_account_sid": ACCOUNT,
            "twilio_auth_token": TOKEN,
            "twilio_from": FROM,
            "twilio_base_url": self.url,
        }

    async def serve(self, request: web.Request) -> web.Response:
        self.received.append(
            {
                "path": request.path,
                "form": dict(await request.post()),
                "authorization": request.headers["Authorization"],
            }
        )
        status = self.statuses.pop(0) if self.statuses else 201
        await self.answers.wait()
        if status is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        text = json.dumps(
            {"sid": "SM1", "status": "queued"}
            if status == 201
            else {"code": 20000 + status, "message": "No.", "status": status}
        )
        return web.Response(status=status, text=self.text or text, content_type="application/json")


@pytest_asyncio.fixture
async def twilio() -> AsyncIterator[Twilio]:
    stand_in = Twilio()
    stand_in.answers.set()
    app = web.Application()
    app.router.add_post("/{path:.*}", stand_in.serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stand_in.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield stand_in
    stand_in.answers.set()
    await runner.cleanup()
