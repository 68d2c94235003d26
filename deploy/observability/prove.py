"""Proves that nobody looks at an empty dashboard: `make check-dashboards`.

Starts a platform of its own on free ports with the journey and a bounded load on it, a Prometheus that scrapes it and
evaluates our rules, and asks every query of every dashboard, every recording rule and every selector of every alert.
One that answers nothing fails it.
"""

import itertools
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from devstack.platform import PROCESSES, SERVICES, Platform
from devstack.process import await_ready, free_port, stop
from devstack.testing_platform import RunningPlatform, running
from devstack.testing_town import Town, founded

HERE = Path(__file__).parent
SCRAPED_EVERY = "1s"
# What Grafana's $__rate_interval stands for here: enough for four samples.
RATE_INTERVAL = "20s"
REQUESTS_A_SECOND = 20.0
ROUNDS = 4
ROUND_SECONDS = 8.0
# Not on a platform without TLS; chassis/tests/test_metrics.py shows that it is emitted where there is a certificate.
NOT_HERE = {"propmubi_certificate_expires_timestamp_seconds"}
SELECTOR = re.compile(r"\b((?:propmubi[\w:]*|up|process_\w+)(?:\{[^}]*\})?)(?:\[\w+\])?")


@contextmanager
def prometheus(platform: RunningPlatform, folder: Path) -> Iterator[httpx.Client]:
    """A Prometheus that scrapes `platform`, with our rules; a client of its API."""
    ports = Platform(platform.environment)
    scrapes = [
        {
            "job_name": process,
            "static_configs": [{"targets": [f"127.0.0.1:{ports.metrics_port(process)}"]}],
        }
        for process in PROCESSES
    ]
    interval = {"scrape_interval": SCRAPED_EVERY, "evaluation_interval": SCRAPED_EVERY}
    rules = []
    for file in (HERE / "prometheus/rules").glob("*.yml"):
        # Their own intervals are for years of data; here there is a minute of it.
        text = re.sub(r"(?m)^    interval: .*$", "", file.read_text())
        (folder / file.name).write_text(text)
        rules.append(str(folder / file.name))
    config = folder / "prometheus.yml"
    config.write_text(
        yaml.safe_dump({"global": interval, "rule_files": rules, "scrape_configs": scrapes})
    )
    address, log = f"127.0.0.1:{free_port()}", folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=output,
            stderr=output,
        )
    try:
        with httpx.Client(base_url=f"http://{address}", timeout=20) as http:
            await_ready(process, lambda: _answers(http), name="Prometheus", log=log)
            yield http
    finally:
        stop(process, signal.SIGTERM)


def _answers(http: httpx.Client) -> bool:
    try:
        return http.get("/-/ready").is_success
    except httpx.TransportError:
        return False


class Load:
    """What people do besides the journey, at REQUESTS_A_SECOND; `business` also what the business counts."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self._http = httpx.Client(base_url=town.platform.url, timeout=20)
        self.requests = 0

    def read(self, until: float) -> None:
        """Search and read, until that moment."""
        for turn in itertools.cycle(range(10)):
            if turn < 6:
                self._send("GET", f"/v1/listings/{self._town.listing_id}")
            elif turn < 9:
                self._send("GET", "/v1/listings", params={"city": "Pune", "bhk": 2})
            else:
                self._send("GET", "/v1/leads", headers=self._town.asha.headers)
            if time.monotonic() > until:
                return
            time.sleep(1 / REQUESTS_A_SECOND)  # The pace of the load.

    def business(self) -> None:
        """An agent joins; somebody enquires and is called back; a unit is held and let go."""
        asha = self._town.asha.headers
        self._town.new_agent()
        self._town.new_listing()
        lead = self._send("POST", "/v1/enquiries", json=self._town.enquiry())["id"]
        called = {"kind": "call", "text": "He comes on Saturday."}
        self._send("POST", f"/v1/leads/{lead}/activities", json=called, headers=asha)
        (unit,) = self._town.free_units(1)
        for move in ("hold", "release"):
            self._send("POST", f"/v1/units/{unit}/{move}", json={}, headers=asha)

    def _send(self, method: str, path: str, **request: Any) -> Any:
        self.requests += 1
        return self._http.request(method, path, **request).raise_for_status().json()


def queries() -> Iterator[tuple[str, list[list[str]]]]:
    """Each panel and rule with its queries; of a query's variants, one for each service, one must have an answer."""
    for file in sorted((HERE / "grafana/dashboards").glob("*.json")):
        board = json.loads(file.read_text())
        for panel in board["panels"]:
            asked = [
                target["expr"].replace("$__rate_interval", RATE_INTERVAL)
                for target in panel["targets"]
            ]
            yield (
                f"{board['title']}: {panel['title']}",
                [
                    list(dict.fromkeys(query.replace("$service", name) for name in SERVICES))
                    for query in asked
                ],
            )
    for file in sorted((HERE / "prometheus/rules").glob("*.yml")):
        for group in yaml.safe_load(file.read_text())["groups"]:
            for rule in group["rules"]:
                if "record" in rule:
                    yield f"rule {rule['record']}", [[rule["record"]]]
                    continue
                selectors = dict.fromkeys(SELECTOR.findall(rule["expr"]))
                here = [[one] for one in selectors if one.partition("{")[0] not in NOT_HERE]
                yield f"alert {rule['alert']}", here


def answer(http: httpx.Client, query: str) -> list[Any]:
    """The series that `query` finds, but those that are no number."""
    found = http.get("/api/v1/query", params={"query": query}).json()
    if found["status"] != "success":
        raise SystemExit(f"{query}: {found['error']}")
    return [one for one in found["data"]["result"] if one["value"][1] != "NaN"]


def main() -> int:
    if shutil.which("prometheus") is None:
        print("make check-dashboards needs prometheus (Debian: apt-get install prometheus).")
        return 1
    empty = 0
    with (
        tempfile.TemporaryDirectory(prefix="propmubi-prometheus-") as folder,
        running() as platform,
        prometheus(platform, Path(folder)) as http,
    ):
        with founded(platform) as town:
            load = Load(town)
            for _ in range(ROUNDS):
                load.business()
                load.read(until=time.monotonic() + ROUND_SECONDS)
            # Rates of the last seconds are asked for: the load goes on while they are.
            asking = threading.Thread(target=load.read, args=(time.monotonic() + ROUND_SECONDS,))
            asking.start()
            for place, asked in queries():
                series = [
                    sum(len(answer(http, variant)) for variant in variants) for variants in asked
                ]
                print(f"{len(asked):3} queries {sum(series):4} series  {place}")
                for variants, found in zip(asked, series, strict=True):
                    if not found:
                        empty += 1
                        print("    EMPTY", *variants, sep="\n    ")
            asking.join()
        print(f"{load.requests} requests besides the journeys; {empty} queries without an answer.")
    return empty


if __name__ == "__main__":
    sys.exit(main() != 0)
