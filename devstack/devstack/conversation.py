"""How a journey speaks with a platform: by HTTP, and by reading the messages it sends and the logs it writes."""

import json
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

# How long we wait for anything at all.
PATIENCE_SECONDS = 10.0
LOOK_AGAIN_SECONDS = 0.05


class Difference(Exception):
    """The platform did something else than the journey expects."""


@dataclass
class Person:
    """Somebody with a phone, and her tokens once she is signed in."""

    name: str
    phone: str
    tokens: dict[str, Any] | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens['access_token']}"} if self.tokens else {}


class Conversation:
    """With a platform whose SMS go to the file `outbox` and whose processes log into the folder `logs`; `say` is told
    each step and what it shows.
    """

    def __init__(
        self, http: httpx.Client, *, outbox: Path, logs: Path, say: Callable[[str], object]
    ) -> None:
        self._http = http
        self._outbox = outbox
        self._logs = logs
        self._say = say

    def _send(
        self,
        method: str,
        path: str,
        person: Person | None = None,
        *,
        status: int = 200,
        **request: Any,
    ) -> httpx.Response:
        headers = {**request.pop("headers", {}), **(person.headers if person else {})}
        try:
            answer = self._http.request(method, path, headers=headers, **request)
        except httpx.TransportError as error:
            raise Difference(
                f"{method} {path}: {error}. Is the platform running (`make up`)?"
            ) from error
        if answer.status_code != status:
            raise Difference(
                f"{method} {path}: {answer.status_code} instead of {status}: {answer.text}"
            )
        return answer

    def _call(self, method: str, path: str, person: Person | None = None, **request: Any) -> Any:
        return self._send(method, path, person, **request).json()

    def _expect(self, actual: object, expected: object) -> None:
        if actual != expected:
            raise Difference(f"{actual!r} instead of {expected!r}")

    def _step(self, what: str, shows: str) -> None:
        self._say(f"  ✓  {what}\n       {shows}")

    def _wait(self, what: str, look: Callable[[], Any], *, within: float = PATIENCE_SECONDS) -> Any:
        """What `look` finds, as soon as it finds something."""
        give_up = time.monotonic() + within
        while not (found := look()):
            if time.monotonic() > give_up:
                raise Difference(f"{what} did not come within {within:g} s")
            time.sleep(LOOK_AGAIN_SECONDS)  # Nothing tells us when another process is done.
        return found

    def _lines_of_outbox(self) -> int:
        return len(_json_lines(self._outbox))

    def _code_for(self, phone: str, after: int) -> str | None:
        bodies = [sms["body"] for sms in _json_lines(self._outbox)[after:] if sms["to"] == phone]
        found = re.search(r"\b\d{6}\b", bodies[-1]) if bodies else None
        return found.group() if found else None

    def _sms_to(self, phone: str, word: str) -> str | None:
        bodies = [sms["body"] for sms in _json_lines(self._outbox) if sms["to"] == phone]
        return next((body for body in bodies if word in body.lower()), None)

    def _trace_id_of(self, correlation_id: str) -> str | None:
        lines = _json_lines(self._logs / "gateway.log")
        traces = [
            line.get("trace_id") for line in lines if line.get("correlation_id") == correlation_id
        ]
        return next(filter(None, traces), None)

    def _traced(self, service: str, trace: str, statement: str) -> list[dict[str, Any]]:
        lines = [
            line
            for line in _json_lines(self._logs / f"{service}.log")
            if line.get("trace_id") == trace
        ]
        complete = any(statement in line.get("statement", "").upper() for line in lines) and any(
            line["event"] == "rpc" for line in lines
        )
        return lines if complete else []


def new_phone() -> str:
    """A number of this run; the SMS provider `file` contacts nobody."""
    return f"+9190{secrets.randbelow(10**8):08}"


def _json_lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    lines = path.read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
