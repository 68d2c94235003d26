"""`make compose-smoke`: builds the images, brings deploy/compose up with production's settings, drives the journey,
kills each container in turn and then all of them while enquiries come in, and takes everything down.

What was acknowledged must be there, once. Only text messages go to a stand-in, whose output tells the passwords.
Named as arguments, services of the profile `observability` come up as well and must see the platform.
"""

import json
import os
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import httpx

from deploy.compose.smoke.containers import (
    PATIENCE_SECONDS,
    PROCESSES,
    Containers,
    Failure,
    docker,
    say,
)
from deploy.compose.smoke.grafana import follow
from devstack import compose_env, secretfile
from devstack.conversation import Difference, new_phone
from devstack.journey import Journey
from devstack.process import free_port

CALLERS = 4
ENQUIRIES_PER_SECOND = 15
AWAY = {502, 503, 504}
PAUSE_SECONDS = 0.2
# What dies, in this order; the platform must come back after each by itself.
VICTIMS = (*PROCESSES, "valkey", "postgres")
ADMIN_PHONE = "+919999900001"
# Those without whom there is nothing to find in Loki and Tempo.
GRAFANA_ASKS = {"grafana", "loki", "tempo", "otel-collector"}


class Grafana(NamedTuple):
    """Where it is published, and its administrator."""

    url: str
    auth: tuple[str, str]


class Town(Journey):
    """The journey's people; afterwards enquiries come in for Asha's listing."""

    def __init__(self, containers: Containers, http: httpx.Client, folder: Path) -> None:
        self.files = {name: folder / f"{name}.log" for name in ("gateway", "agents", "crm")}
        outbox = folder / "twilio.log"
        super().__init__(
            http, outbox=outbox, logs=folder, admin_phone=ADMIN_PHONE, say=lambda _line: None
        )
        self._containers = containers
        self.files["twilio"] = outbox
        self.listing_id = ""

    def found(self) -> None:
        with self._containers.output_in(self.files):
            self.run()
        (listing,) = self._call("GET", "/v1/listings", params={"q": self.locality})["listings"]
        self.listing_id = listing["id"]

    def ask_who_i_am(self, correlation_id: str) -> None:
        """A request that passes the gateway and auth."""
        headers = {"X-Correlation-ID": correlation_id}
        self._call("GET", "/v1/users/me", self.asha, headers=headers)

    def leads(self) -> list[str]:
        """The ids of all of Asha's leads, page by page."""
        self._refresh(self.asha)
        found: list[str] = []
        token = ""
        while True:
            page = {"page_size": 100} | ({"page_token": token} if token else {})
            answer = self._call("GET", "/v1/leads", self.asha, params=page)
            found += [lead["id"] for lead in answer["leads"]]
            if not (token := answer.get("next_page_token", "")):
                return found


class Enquiries:
    """Callers who enquire again and again, ask with the same key when a part is away, and remember every yes."""

    def __init__(self, url: str, listing_id: str) -> None:
        self._url = url
        self._listing_id = listing_id
        self._stopping = threading.Event()
        self.acknowledged: set[str] = set()
        self.asked_again = 0

    @contextmanager
    def coming_in(self) -> Iterator[None]:
        self._stopping.clear()
        with ThreadPoolExecutor(CALLERS) as pool:
            callers = [pool.submit(self._call) for _ in range(CALLERS)]
            try:
                yield
            finally:
                self._stopping.set()
        for caller in callers:
            caller.result()

    def _call(self) -> None:
        with httpx.Client(base_url=self._url, timeout=20.0) as http:
            # Together fewer than the text messages to agents that crm sends in a second, so that none piles up.
            while not self._stopping.wait(CALLERS / ENQUIRIES_PER_SECOND):
                self._enquire(http)

    def _enquire(self, http: httpx.Client) -> None:
        body = {"listing_id": self._listing_id, "full_name": "Farhan Ali", "phone": new_phone()}
        headers = {"Idempotency-Key": str(uuid4())}
        give_up = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                answer = http.post("/v1/enquiries", json=body, headers=headers)
            except httpx.TransportError:
                answer = None  # The gateway is dead.
            if answer is not None and answer.is_success:
                self.acknowledged.add(answer.json()["id"])
                return
            if answer is not None and answer.status_code not in AWAY:
                raise Failure(f"an enquiry got {answer.status_code}: {answer.text}")
            if time.monotonic() > give_up:
                raise Failure(f"no enquiry was taken for {PATIENCE_SECONDS:.0f} s")
            self.asked_again += 1
            time.sleep(PAUSE_SECONDS)  # A client's pause before it asks again.


@contextmanager
def timed(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    say(f"{what:<58}{time.monotonic() - began:6.1f} s")


def build(containers: Containers) -> None:
    for process in PROCESSES:
        with timed(f"build propmubi/{process}"):
            containers.build(process)
    for process in PROCESSES:
        (size,) = docker(
            "image", "ls", "--format", "{{.Size}}", f"propmubi/{process}:{containers.version}"
        ).splitlines()
        say(f"  propmubi/{process:<12} {size}")


def check_confined(containers: Containers) -> None:
    """What compose.yaml asks for is what Docker does."""
    for process in PROCESSES:
        found = containers.inspect(process)
        host = found["HostConfig"]
        if found["Config"]["User"] != "10001:10001" or not host["ReadonlyRootfs"]:
            raise Failure(f"{process} runs as {found['Config']['User']}")
        if host["CapDrop"] != ["ALL"] or "no-new-privileges:true" not in host["SecurityOpt"]:
            raise Failure(f"{process} has more rights than it needs")
        for attempt in (("touch", "/app/x"), ("touch", "/tmp/x"), ("python", "-m", "pip")):
            if containers.inside(process, *attempt).returncode == 0:
                raise Failure(f"{process} lets {' '.join(attempt)}")
        if process != "gateway" and host["PortBindings"]:
            raise Failure(f"{process} publishes {host['PortBindings']}")
    (bound,) = containers.inspect("gateway")["HostConfig"]["PortBindings"].values()
    if [where["HostIp"] for where in bound] != ["127.0.0.1"]:
        raise Failure(f"the gateway is published at {bound}")
    say(
        "every process: uid 10001, read-only root, no capability, no pip; the gateway on loopback only"
    )


def check_kept(containers: Containers, town: Town, enquiries: Enquiries) -> None:
    """Each acknowledged enquiry is one lead of Asha's, and every event had its effect."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        # One enquiry was the journey's.
        found = town.leads()
        missing = enquiries.acknowledged - set(found)
        unpublished = containers.ask_database(
            " union all ".join(
                f"select count(*) from {service}.outbox where published_at is null"
                for service in PROCESSES
                if service != "gateway"
            )
        ).splitlines()
        if not missing and set(unpublished) == {"0"}:
            break
        if time.monotonic() > give_up:
            raise Failure(f"{len(missing)} leads are missing, unpublished events: {unpublished}")
        time.sleep(PAUSE_SECONDS)  # Nothing tells us when another process is done.
    if len(found) != len(enquiries.acknowledged) + 1 or len(set(found)) != len(found):
        raise Failure(f"{len(found)} leads of {len(enquiries.acknowledged) + 1} enquiries")
    say(
        f"all {len(enquiries.acknowledged)} acknowledged enquiries are there, each once"
        f" ({enquiries.asked_again} times somebody had to ask again)"
    )


def check_watched(
    containers: Containers, watchers: Sequence[str], town: Town, grafana: Grafana
) -> None:
    """What watches starts on its configuration, stays up, and sees all processes and what a request does in them."""
    with timed(f"{', '.join(watchers)} up"):
        containers.up(*watchers)

    def prometheus(path: str) -> Any:
        address = f"http://127.0.0.1:9090/api/v1/{path}"
        return json.loads(containers.inside("prometheus", "wget", "-qO-", address).stdout)["data"]

    if "prometheus" in watchers:
        give_up = time.monotonic() + PATIENCE_SECONDS
        while True:
            targets = prometheus("targets?state=active")["activeTargets"]
            seen = {found["labels"]["job"] for found in targets if found["health"] == "up"}
            told = prometheus("alertmanagers")["activeAlertmanagers"]
            if seen == set(PROCESSES) and ("alertmanager" not in watchers or told):
                break
            if time.monotonic() > give_up:
                raise Failure(f"Prometheus sees {seen or 'nobody'} and tells {told or 'nobody'}")
            time.sleep(PAUSE_SECONDS)  # It asks every fifteen seconds.
        rules = [rule for group in prometheus("rules")["groups"] for rule in group["rules"]]
        if faulty := [rule["name"] for rule in rules if rule["health"] == "err"]:
            raise Failure(f"Prometheus can't evaluate {faulty}")
        say(
            f"Prometheus scrapes all five, evaluates {len(rules)} rules and tells {len(told)} Alertmanager"
        )
    if set(watchers) >= GRAFANA_ASKS:
        with httpx.Client(base_url=grafana.url, auth=grafana.auth, timeout=20.0) as http:
            lines, spans = follow(http, town.ask_who_i_am, {"gateway", "auth"})
        say(
            f"Grafana finds a request by its correlation id: {lines} lines in Loki, {spans} spans in Tempo"
        )
    for name in watchers:
        found = containers.inspect(name)
        if found["RestartCount"] or not found["State"]["Running"]:
            raise Failure(f"{name} does not stay up")


def smoke(containers: Containers, folder: Path, watchers: Sequence[str], grafana: Grafana) -> None:
    build(containers)
    with timed("docker compose up --wait, on empty volumes"):
        containers.up()
    check_confined(containers)
    url = f"http://127.0.0.1:{containers.gateway_port}"
    with httpx.Client(base_url=url, timeout=20.0) as http:
        town = Town(containers, http, folder)
        with timed("the journey, from sign-in to a booked flat"):
            town.found()
        if watchers:
            check_watched(containers, watchers, town, grafana)
        enquiries = Enquiries(url, town.listing_id)
        for victim in VICTIMS:
            with enquiries.coming_in():
                seconds = containers.crash(victim)
            say(f"kill -9 {victim:<10} started again by Docker, healthy after  {seconds:6.1f} s")
        check_kept(containers, town, enquiries)
        with enquiries.coming_in():
            with timed("docker compose kill, of everything at once"):
                containers.cut_power()
            with timed("docker compose up --wait, on what was on disk"):
                containers.up()
        check_kept(containers, town, enquiries)
        with timed("another journey"):
            Town(containers, http, folder).found()


def main() -> None:
    version = os.environ.get("PROPMUBI_VERSION") or "smoke"
    with tempfile.TemporaryDirectory(prefix="propmubi-smoke-") as name:
        folder = Path(name)
        port = free_port()
        told = folder / "env"
        made = secretfile.ensure(told, compose_env.NAMES)
        watchers = sys.argv[1:]
        grafana = Grafana(
            f"http://127.0.0.1:{free_port()}", ("admin", made["GRAFANA_ADMIN_PASSWORD"])
        )
        # Traces leave only where somebody takes them.
        takes = "http://otel-collector:4317" if "otel-collector" in watchers else ""
        with told.open("a") as file:
            file.write(
                "TWILIO_ACCOUNT_SID=AC0\nTWILIO_FROM=+15005550006\n"
                f"TWILIO_AUTH_TOKEN={secrets.token_hex(16)}\n"
                f"GATEWAY_PORT={port}\nPROPMUBI_VERSION={version}\n"
                f"GRAFANA_PORT={grafana.url.rpartition(':')[2]}\nSMOKE_TRACES_TO={takes}\n"
            )
        containers = Containers(f"propmubi-smoke-{port}", told, port, version)
        began = time.monotonic()
        try:
            smoke(containers, folder, watchers, grafana)
        except (Failure, Difference) as failure:
            say(containers.troubles())
            sys.exit(f"✗ {failure}")
        finally:
            with timed("docker compose down --volumes"):
                containers.down()
        say(f"All of it in {time.monotonic() - began:.0f} s.")


if __name__ == "__main__":
    main()
