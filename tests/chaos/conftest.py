"""What the chaos tests break the platform with, and how they know that nothing was lost or done twice."""

import asyncio
import itertools
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest

from devstack.conversation import Person
from devstack.testing_platform import RunningPlatform
from devstack.testing_town import Town

PATIENCE_SECONDS = 60.0
# What a client may be told while a part of the platform is away.
AWAY = {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}

# Which events of whom each service applies.
UNIT_EVENTS = ("unit.held", "unit.released", "unit.booked")
AGENT_EVENTS = ("agent.verified", "agent.suspended")
FOLLOWED = {
    ("crm", "projects"): UNIT_EVENTS,
    ("crm", "agents"): AGENT_EVENTS,
    ("agents", "projects"): UNIT_EVENTS,
    ("agents", "crm"): ("lead.responded",),
    ("auth", "agents"): AGENT_EVENTS,
    ("auth", "projects"): ("builder.verified", "builder.suspended"),
}


async def eventually(look: Callable[[], Awaitable[object]], what: str) -> None:
    """Return once `look` finds something true."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not await look():
        assert time.monotonic() < give_up, f"{what} did not come within {PATIENCE_SECONDS:.0f} s"
        await asyncio.sleep(0.05)  # Nothing tells us when another process is done.


def processes_of(platform: RunningPlatform) -> list[psutil.Process]:
    """Everything the supervisor started, Postgres' own processes included."""
    assert platform.supervisor is not None
    return psutil.Process(platform.supervisor.pid).children(recursive=True)


def process_of(platform: RunningPlatform, word: str) -> psutil.Process:
    """The one process that `word` of its command line names, such as crm_service or valkey-server."""
    assert platform.supervisor is not None
    children = psutil.Process(platform.supervisor.pid).children()
    (found,) = [child for child in children if any(word in part for part in _command(child))]
    return found


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:  # It has just ended.
        return []


def kill(process: psutil.Process) -> None:
    """kill -9, and wait until the process is gone or, while nobody asks for it, a zombie."""
    with suppress(psutil.NoSuchProcess):  # Postgres' own die by themselves, with its first.
        process.kill()
    give_up = time.monotonic() + PATIENCE_SECONDS
    while _runs(process):
        assert time.monotonic() < give_up, f"{process} survives kill -9"
        time.sleep(0.005)


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def after_answers(http: httpx.AsyncClient, count: int, strike: Callable[[], None]) -> None:
    """Have `strike` happen the moment that `http` has its `count`th answer, before it sends anything more."""
    answers = itertools.count(1)

    async def heard(_answer: httpx.Response) -> None:
        if next(answers) == count:
            strike()

    http.event_hooks["response"] = [heard]


@contextmanager
def away(platform: RunningPlatform, word: str) -> Iterator[None]:
    """Killed with -9 for as long as the block lasts; then the supervisor, which slept, starts it again."""
    assert platform.supervisor is not None
    platform.supervisor.send_signal(signal.SIGSTOP)
    try:
        kill(process_of(platform, word))
        yield
    finally:
        platform.supervisor.send_signal(signal.SIGCONT)


@dataclass
class Client:
    """Somebody who asks again with the same Idempotency-Key when a part of the platform is away, and remembers all."""

    http: httpx.AsyncClient
    town: Town
    answers: list[httpx.Response] = field(default_factory=list)

    @property
    def refusals(self) -> list[httpx.Response]:
        return [answer for answer in self.answers if not answer.is_success]

    async def post(self, path: str, body: Any, person: Person | None = None) -> dict[str, Any]:
        """The first success; anything but a success or an orderly "try again" fails the test."""
        headers = {"Idempotency-Key": str(uuid4())} | (person.headers if person else {})
        give_up = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < give_up:
            answer = await self.http.post(path, json=body, headers=headers)
            self.answers.append(answer)
            if answer.is_success:
                return dict(answer.json())
            check_envelope(answer)
            assert answer.status_code in AWAY, answer.text
            await asyncio.sleep(0.2)  # A client's pause before it asks again.
        pytest.fail(f"{path}: {self.answers[-1].text}")

    async def enquire(self) -> str:
        """A new person's enquiry; the lead's id."""
        return str((await self.post("/v1/enquiries", self.town.enquiry()))["id"])

    async def hold(self, unit_id: str, lead_id: str) -> str:
        """Asha holds a unit for her lead; the claim's id."""
        path, body = f"/v1/units/{unit_id}/hold", {"lead_id": lead_id}
        return str((await self.post(path, body, self.town.asha))["id"])

    async def book(self, unit_id: str) -> str:
        """Meera books a unit for whom it is held for; the booking's id."""
        return str((await self.post(f"/v1/units/{unit_id}/book", {}, self.town.meera))["id"])

    async def sell(self, unit_id: str) -> str:
        """From the enquiry to the booking; the lead's id."""
        lead_id = await self.enquire()
        await self.hold(unit_id, lead_id)
        await self.book(unit_id)
        return lead_id


def check_envelope(answer: httpx.Response) -> None:
    """An error says what, where and under which correlation id, in the one envelope."""
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "correlation_id", "path", "details"}
    assert error["correlation_id"] == answer.headers["x-correlation-id"]
    assert error["path"] == answer.request.url.path


async def all_ready(http: httpx.AsyncClient) -> None:
    async def ready() -> bool:
        return (await http.get("/readyz")).status_code == HTTPStatus.OK

    await eventually(ready, "/readyz")


async def check_sold(http: httpx.AsyncClient, town: Town, leads: list[str]) -> None:
    """Each lead was booked, and its timeline tells each part of the story once."""
    for lead_id in leads:
        path = f"/v1/leads/{lead_id}"
        lead = (await http.get(path, headers=town.asha.headers)).json()
        timeline = (await http.get(f"{path}/activities", headers=town.asha.headers)).json()
        stages = [entry.get("to_stage") for entry in timeline["activities"]]
        assert lead["stage"] == "booked"
        assert stages.count("booked") == 1
        assert [entry["kind"] for entry in timeline["activities"]].count("message") == 1


async def check_events(town: Town) -> None:
    """Once all is quiet: every event is published, in a sequence without gaps, and had its effect once."""

    async def quiet() -> bool:
        unpublished = [
            await town.value(f"select count(*) from {service}.outbox where published_at is null")
            for service in ("auth", "agents", "crm", "projects")
        ]
        behind = [
            await town.value(
                f"""
                select count(*) from (
                    select aggregate_id, max(sequence) as last from {source}.outbox
                    where name = any($1) group by aggregate_id
                ) as told
                left join {service}.inbox as met
                on met.source = '{source}' and met.aggregate_id = told.aggregate_id
                where met.sequence is distinct from told.last
                """,
                list(names),
            )
            for (service, source), names in FOLLOWED.items()
        ]
        return not any((*unpublished, *behind))

    await eventually(quiet, "the last event's effect")
    for service in ("auth", "agents", "crm", "projects"):
        gaps = (
            f"select aggregate_id from {service}.outbox group by 1 having max(sequence) <> count(*)"
        )
        assert await town.rows(gaps) == []
        assert await town.value(f"select count(*) from {service}.dead_letter") == 0
    for effect in EFFECTS:
        assert await town.rows(effect) == [], effect


# Each finds what was done not at all, or twice.
EFFECTS = (
    # The holds for a lead, and the lines about them on its timeline; so too the holds that ended unbooked.
    """
    select lead_id from projects.claims where kind = 'hold' and lead_id is not null group by lead_id having count(*) <>
    (select count(*) from crm.activities where lead_id = claims.lead_id and text like 'A unit is held for her %')
    """,
    """
    select lead_id from projects.claims where end_reason in ('released', 'expired') and lead_id is not null
    group by lead_id having count(*) <>
    (select count(*) from crm.activities where lead_id = claims.lead_id and text like '% is free again.')
    """,
    # A booking, and the move of its lead.
    """
    select lead_id from projects.bookings where lead_id is not null group by lead_id having
    (select count(*) from crm.activities where lead_id = bookings.lead_id and to_stage = 'booked') <> 1
    """,
    "select id from crm.leads where stage = 'booked' and id not in (select lead_id from projects.bookings)",
    # An agent verified, and her role.
    """
    select aggregate_id from agents.outbox where name = 'agent.verified' and
    (select count(*) from auth.users where agent_id = outbox.aggregate_id and 'agent' = any(roles)) <> 1
    """,
    # A role granted by an event, and the audit of it: once, and once more for each time that it was lost in between.
    """
    select user_id from auth.role_grants where granted_by like 'event:%' and
    (select count(*) filter (where action = 'role.granted') - count(*) filter (where action = 'role.revoked')
        from auth.audit_events where actor = granted_by and audit_events.user_id = role_grants.user_id) <> 1
    """,
)
