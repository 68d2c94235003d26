"""The journey: from signing in to a booked flat, over HTTP, against a running platform.

`make demo` runs it and prints each step and what it shows; tests/e2e runs the same. A step that meets anything but
what it expects ends it with a `Difference`.
"""

import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from devstack.conversation import PATIENCE_SECONDS, Conversation, Difference, Person, new_phone
from devstack.platform import DEVELOPMENT, Platform
from devstack.process import Problem

# How long an event may take to show its effect in another service, in seconds.
EVENT_SECONDS = 2.0
# How long the gateway keeps what the public is answered, in seconds.
KEPT_SECONDS = 2.0
UNITS = 40
QUESTION = "Is it free for a visit on Saturday?"
ANSWER = "Saturday at eleven suits him."
# What the lead's timeline tells in the end: kinds of entries, the stages they led to, and words of theirs.
STORY = (
    ("message", "assigned", QUESTION),
    ("call", None, ANSWER),
    ("system", None, "A unit is held for her until"),
    ("system", "booked", "A unit was booked."),
)


class Journey(Conversation):
    """One run of it. Each run has people of its own, so that it can be run again and again."""

    def __init__(
        self,
        http: httpx.Client,
        *,
        outbox: Path,
        logs: Path,
        admin_phone: str,
        say: Callable[[str], object],
    ) -> None:
        super().__init__(http, outbox=outbox, logs=logs, say=say)
        self.admin = Person("The administrator", admin_phone)
        self.asha = Person("Asha, an agent", new_phone())
        self.vikram = Person("Vikram, another agent", new_phone())
        self.rohan = Person("Rohan, a buyer", new_phone())
        self.meera = Person("Meera, a builder", new_phone())
        # A locality of this run alone, so that the search finds this listing and no other.
        self.locality = "Wakad " + "".join(secrets.choice("aeioubdgklmnrst") for _ in range(8))

    def run(self) -> None:
        """All of it, in order; raises Difference."""
        for person in (self.admin, self.asha, self.vikram, self.rohan, self.meera):
            self._sign_in(person)
        self._become_agent(self.asha)
        self._become_agent(self.vikram)
        listing = self._publish_listing()
        self._find(listing)
        lead = self._enquire(listing)
        self._respond(lead)
        unit = self._put_on_sale()
        self._hold(unit, lead)
        self._book(unit, lead)
        self._read_timeline(lead)

    def rotate_keys(self, *, leaked: bool) -> None:
        """Replace the keys that access tokens are signed with, as the administrator; raises Difference."""
        self._sign_in(self.admin)
        path = "/v1/auth/signing-keys/rotate"
        answer = self._call("POST", path, self.admin, json={"leaked": leaked})
        for key in answer["keys"]:
            times = f"from {key['not_before']} until {key['retires_at']}"
            self._step(f"key {key['kid']}", f"signs {times}")

    def _sign_in(self, person: Person) -> None:
        sent = self._lines_of_outbox()
        challenge = self._call("POST", "/v1/auth/otp", json={"phone": person.phone}, status=202)
        code = self._wait("the one-time password", lambda: self._code_for(person.phone, sent))
        answer = {"challenge_id": challenge["challenge_id"], "code": code}
        person.tokens = self._call("POST", "/v1/auth/otp/verify", json=answer)
        self._step(
            f"{person.name} signs in by OTP", f"roles {', '.join(person.tokens['user']['roles'])}"
        )

    def _refresh(self, person: Person) -> list[str]:
        assert person.tokens is not None
        old = {"refresh_token": person.tokens["refresh_token"]}
        person.tokens = self._call("POST", "/v1/auth/refresh", json=old)
        return list(person.tokens["user"]["roles"])

    def _become_agent(self, person: Person) -> None:
        profile = {
            "member_full_name": person.name.split(",")[0] + " Kulkarni",
            "member_mobile_phone": person.phone,
            "rera_agent_no": "A52100012345",
            "rera_state": "Maharashtra",
            "rera_valid_to": _days_from_now(900),
            "languages": ["Marathi", "Hindi"],
            "service_areas": ["Wakad"],
        }
        agent = self._call("POST", "/v1/agents", person, json=profile, status=201)
        self._expect(agent["status"], "pending_verification")
        verified = self._call("POST", f"/v1/agents/{agent['id']}/verify", self.admin, json={})
        self._expect(verified["status"], "active")
        self._wait("the role", lambda: "agent" in self._refresh(person), within=EVENT_SECONDS)
        self._step(
            f"{person.name} applies, is verified and refreshes her token", "she holds role agent"
        )

    def _publish_listing(self) -> dict[str, Any]:
        draft = {
            "listing_type": "sale",
            "property_type": "apartment",
            "bhk": 2,
            "public_remarks": "Quiet, airy.",
        }
        listing = self._call("POST", "/v1/listings", self.asha, json=draft, status=201)
        self._expect(listing["standard_status"], "incomplete")
        path = f"/v1/listings/{listing['id']}"
        refused = self._call(
            "POST", f"{path}/status", self.asha, json={"standard_status": "active"}, status=409
        )
        missing = sorted(detail["field"] for detail in refused["error"]["details"])
        self._expect({"list_price", "carpet_area", "address"} <= set(missing), True)
        self._step(
            "Asha drafts a listing; publishing it is refused", f"missing: {', '.join(missing)}"
        )
        completed = {
            "list_price": 8_500_000,
            "carpet_area": 780,
            "address": {
                "line": "A-1203, Blue Ridge",
                "subdivision_name": self.locality,
                "city": "Pune",
                "state": "Maharashtra",
                "postal_code": "411057",
            },
        }
        self._call("PATCH", path, self.asha, json=completed)
        published: dict[str, Any] = self._call(
            "POST", f"{path}/status", self.asha, json={"standard_status": "active"}
        )
        self._expect(published["standard_status"], "active")
        self._step("She completes and publishes it", f"{published['listing_number']} is active")
        return published

    def _find(self, listing: dict[str, Any]) -> None:
        search = {"city": "Pune", "bhk": 2, "price_max": 9_000_000, "q": self.locality}
        found = self._call("GET", "/v1/listings", params=search)["listings"]
        self._expect([item["id"] for item in found], [listing["id"]])
        path = f"/v1/listings/{listing['id']}"
        tag = self._send("GET", path, self.rohan).headers["etag"]
        again = self._send("GET", path, self.rohan, headers={"If-None-Match": tag}, status=304)
        self._expect(again.content, b"")
        self._step(
            "Rohan finds it by city, BHK, price and text", f"ETag {tag}, then 304 Not Modified"
        )

    def _enquire(self, listing: dict[str, Any]) -> dict[str, Any]:
        enquiry = {
            "listing_id": listing["id"],
            "full_name": "Rohan Deshmukh",
            "phone": self.rohan.phone,
            "message": QUESTION,
        }
        answer = self._send("POST", "/v1/enquiries", self.rohan, json=enquiry, status=201)
        lead_id = answer.json()["id"]
        repeated = self._call("POST", "/v1/enquiries", self.rohan, json=enquiry)
        self._expect(repeated["id"], lead_id)
        leads = self._call("GET", "/v1/leads", self.asha)["leads"]
        self._expect([lead["id"] for lead in leads], [lead_id])
        lead = dict(leads[0])
        self._expect(lead["owner_agent_id"], listing["list_agent_id"])
        self._step(
            "Rohan enquires, twice; one lead is in Asha's pipeline",
            f"{lead['stage']}, to be answered by {lead['sla_due_at']}",
        )
        told = self._wait("the SMS to Asha", lambda: self._sms_to(self.asha.phone, "enquir"))
        self._step("Asha is told by SMS", told)
        self._trace(answer.headers["x-correlation-id"])
        return lead

    def _trace(self, correlation_id: str) -> None:
        """One trace id in the logs of every process that took part, with the SQL it ran."""
        trace = self._wait("the gateway's log line", lambda: self._trace_id_of(correlation_id))
        for service, statement in (("crm", "INSERT INTO"), ("agents", "SELECT")):
            lines = self._wait(
                f"{service}'s part of trace {trace}",
                partial(self._traced, service, trace, statement),
            )
            self._expect(any(line["event"] == "rpc" for line in lines), True)
        self._step("The logs tie the request to its calls and SQL", f"trace {trace}")

    def _respond(self, lead: dict[str, Any]) -> None:
        path = f"/v1/leads/{lead['id']}"
        self._call("GET", path, self.vikram, status=404)
        call = {"kind": "call", "text": ANSWER}
        self._call("POST", f"{path}/activities", self.asha, json=call, status=201)
        answered = self._call("GET", path, self.asha)
        self._step(
            "Asha calls him; no other agent sees the lead",
            f"answered {answered['first_responded_at']}",
        )

    def _put_on_sale(self) -> dict[str, Any]:
        application = {"builder_name": "Sahyadri Homes LLP", "rera_promoter_no": "P52100012345"}
        builder = self._call("POST", "/v1/builders", self.meera, json=application, status=201)
        self._call("POST", f"/v1/builders/{builder['id']}/verify", self.admin, json={})
        self._wait("the role", lambda: "builder" in self._refresh(self.meera), within=EVENT_SECONDS)
        project = self._create("/v1/projects", **_project(self.locality))
        path = f"/v1/projects/{project['id']}"
        tower = self._create(f"{path}/towers", name="Tower A", total_floors=20)
        types = [
            self._create(f"{path}/unit-types", bhk=bhk, carpet_area=area, base_price=price)
            for bhk, area, price in ((2, 780, 8_500_000), (3, 1_050, 11_800_000))
        ]
        units: list[dict[str, Any]] = [
            self._create(
                f"{path}/units",
                tower_id=tower["id"],
                unit_type_id=types[number % 2]["id"],
                unit_no=f"A-{number // 2 + 1}{number % 2 + 1:02}",
                floor=number // 2 + 1,
            )
            for number in range(UNITS)
        ]
        for status in ("registered", "selling"):
            self._call("POST", f"{path}/status", self.meera, json={"status": status})
        self._step(
            "Meera is verified and puts a project on sale", f"{len(units)} units in {tower['name']}"
        )
        name = project["project_name"]
        self._wait(
            "its name",
            lambda: self._suggests(name, project["id"]),
            within=EVENT_SECONDS + KEPT_SECONDS,
        )
        self._step(f"who types {name[:-2]} is told of it", name)
        return units[0]

    def _create(self, path: str, **resource: Any) -> Any:
        return self._call("POST", path, self.meera, json=resource, status=201)

    def _suggests(self, name: str, project_id: str) -> bool:
        found = self._call("GET", f"/v1/suggest?q={quote(name[:-2])}")["places"]
        return any(place.get("id") == project_id for place in found)

    def _hold(self, unit: dict[str, Any], lead: dict[str, Any]) -> None:
        path = f"/v1/units/{unit['id']}/hold"
        claim = self._call("POST", path, self.asha, json={"lead_id": lead["id"]}, status=201)
        refused = self._call("POST", path, self.vikram, json={}, status=409)
        self._expect(refused["error"]["code"], "UNIT_NOT_AVAILABLE")
        self._step(
            f"Asha holds {unit['unit_no']} for Rohan; Vikram's hold gets 409",
            f"held until {claim['expires_at']} at ₹{claim['price_snapshot']:,}",
        )

    def _book(self, unit: dict[str, Any], lead: dict[str, Any]) -> None:
        buyers = {"buyers": [{"full_name": "Rohan Deshmukh", "phone": self.rohan.phone}]}
        self._call("POST", f"/v1/units/{unit['id']}/book", self.meera, json=buyers, status=201)
        booked = time.monotonic()
        path = f"/v1/leads/{lead['id']}"
        self._wait(
            "the lead to be booked",
            lambda: self._call("GET", path, self.asha)["stage"] == "booked",
            within=EVENT_SECONDS,
        )
        milliseconds = (time.monotonic() - booked) * 1000
        self._step("Meera books it; by event the lead is booked", f"after {milliseconds:.0f} ms")

    def _read_timeline(self, lead: dict[str, Any]) -> None:
        path = f"/v1/leads/{lead['id']}/activities"
        timeline = self._call("GET", path, self.asha)["activities"][::-1]
        check_story(timeline)
        stages = [entry["to_stage"] for entry in timeline if "to_stage" in entry]
        self._step(
            "The timeline tells the whole story", f"{len(timeline)} entries: {' → '.join(stages)}"
        )
        for activity in timeline:
            self._say(f"     {activity['created_at']}  {activity['kind']:8} {activity['text']}")


def check_story(timeline: Iterable[Mapping[str, Any]]) -> None:
    """Raises Difference unless the entries of a timeline, oldest first, tell each part of STORY, in its order."""
    rest = iter(timeline)
    for kind, stage, words in STORY:
        if not any(
            entry["kind"] == kind and entry.get("to_stage") == stage and words in entry["text"]
            for entry in rest
        ):
            raise Difference(f"the timeline does not tell, in its place, of a {kind}: {words}")


@contextmanager
def opened(platform: Platform, var: Path) -> Iterator[Journey]:
    """A journey on the platform that `make up` runs from this checkout; what differs becomes a Problem."""
    url = f"http://127.0.0.1:{platform.gateway_port}"
    admins = platform.environment.get("ADMIN_PHONES") or DEVELOPMENT["ADMIN_PHONES"]
    with httpx.Client(base_url=url, timeout=PATIENCE_SECONDS) as http:
        try:
            yield Journey(
                http,
                outbox=var / "sms-outbox.jsonl",
                logs=var / "log",
                admin_phone=admins.split(",")[0],
                say=lambda line: sys.stdout.write(line + "\n"),
            )
        except Difference as difference:
            raise Problem(str(difference)) from difference


def run(platform: Platform, var: Path) -> None:
    """`make demo`: the journey."""
    with opened(platform, var) as journey:
        started = time.monotonic()
        journey.run()
        sys.stdout.write(f"\nThe whole journey, in {time.monotonic() - started:.1f} s.\n")


def rotate_keys(platform: Platform, var: Path, *, leaked: bool) -> None:
    """`make rotate-keys`: what an administrator does."""
    with opened(platform, var) as journey:
        journey.rotate_keys(leaked=leaked)


def _project(locality: str) -> dict[str, Any]:
    return {
        "project_name": f"{locality} Greens",
        "rera_project_no": "P52100012345",
        "rera_valid_to": _days_from_now(1_200),
        "possession_date": _days_from_now(900),
        "address": {
            "subdivision_name": locality,
            "city": "Pune",
            "state": "Maharashtra",
            "postal_code": "411057",
        },
    }


def _days_from_now(days: int) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).date().isoformat()
