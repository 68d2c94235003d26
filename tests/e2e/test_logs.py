"""The logs of a whole run: no secret and no full phone in them, and the client's correlation id in every process."""

import json
import time
from urllib.parse import quote

import httpx

from devstack.testing_platform import RunningPlatform
from devstack.testing_town import Town, founded

WITHIN_SECONDS = 10.0
# The edge answers by then, with an error at the latest.
ANSWERED_SECONDS = 30.0


def processes_that_tell_of(platform: RunningPlatform, correlation_id: str) -> set[str]:
    return {
        json.loads(line)["service"]
        for log in (platform.var / "log").glob("*.log")
        for line in log.read_text(errors="replace").splitlines()
        if f'"correlation_id":"{correlation_id}"' in line
    }


def wait_for_lines(platform: RunningPlatform, correlation_id: str, processes: set[str]) -> None:
    """Return once these processes, and no other, have written lines of that correlation id."""
    give_up = time.monotonic() + WITHIN_SECONDS
    while (told := processes_that_tell_of(platform, correlation_id)) != processes:
        assert time.monotonic() < give_up, f"{correlation_id}: in the logs of {told} only"
        time.sleep(0.05)  # Logs are buffered for a moment.


def write_phones_as_people_do(town: Town) -> None:
    """In bodies, right and wrong, and where they have no business: in paths and queries."""
    with httpx.Client(base_url=town.platform.url, timeout=WITHIN_SECONDS) as http:
        for written in ("98765 43210", "+91 98765-43210", "098765 43210", "98765 4321", "9" * 10):
            http.post("/v1/auth/otp", json={"phone": written})
            http.post("/v1/enquiries", json={**town.enquiry(), "phone": written})
            http.get(f"/v1/listings/{quote(written)}")
            http.get("/v1/listings", params={"q": written})


def sign_in_with_passwords(town: Town) -> set[str]:
    """Set a password, and try right ones and wrong ones; what was sent as one."""
    nisha, right, wrong = town.new_person(), "monsoon tiffin lantern quartz", "brass-umbrella-kites"
    by_code = {"password": right, "confirmation": town.confirmation(nisha)}
    by_password = {"password": "Lantern_quartz#47", "current_password": right}
    # bcrypt steps back behind whatever else this machine does.
    with httpx.Client(base_url=town.platform.url, timeout=ANSWERED_SECONDS) as http:

        def set_password(body: object) -> int:
            return http.put("/v1/users/me/password", json=body, headers=nisha.headers).status_code

        assert set_password({**by_code, "password": "password1234"}) == 422
        assert set_password(by_code) == 204
        for tried, status in ((right, 200), (wrong, 401)):
            body = {"phone": nisha.phone, "password": tried}
            assert http.post("/v1/auth/login", json=body).status_code == status
        assert set_password({**by_password, "current_password": wrong}) == 422
        assert set_password(by_password) == 204
    return {right, wrong, "password1234", by_password["password"]}


def test_the_logs_of_a_journey_hold_no_secret_and_no_full_phone(platform: RunningPlatform) -> None:
    correlation_id = "the-last-request-of-the-journey"
    with founded(platform) as town, town.under(correlation_id):
        write_phones_as_people_do(town)
        passwords = sign_in_with_passwords(town)
        town.wake()  # Everybody gets new tokens.
    wait_for_lines(platform, correlation_id, {"gateway", "auth"})
    people = [town.admin, town.asha, town.vikram, town.rohan, town.meera]
    tokens = {
        person.tokens[name]
        for person in people
        if person.tokens is not None
        for name in ("access_token", "refresh_token")
    }
    assert len(tokens) == 10
    assert platform.leaks(tokens | passwords) == []


def test_a_clients_correlation_id_is_in_every_process_that_took_part(town: Town) -> None:
    (unit,) = town.free_units(1)
    with httpx.Client(base_url=town.platform.url, timeout=WITHIN_SECONDS) as http:
        enquiry = http.post("/v1/enquiries", json=town.enquiry())
        held = http.post(
            f"/v1/units/{unit}/hold",
            json={"lead_id": enquiry.json()["id"]},
            headers={"X-Correlation-ID": "somebody-holds-a-unit", **town.asha.headers},
        )
    assert held.status_code == 201, held.text
    assert held.headers["x-correlation-id"] == "somebody-holds-a-unit"
    with town.under("somebody-becomes-an-agent"):
        town.new_agent()
    # Crm is asked whose the lead is; crm and agents are told by event.
    wait_for_lines(town.platform, "somebody-holds-a-unit", {"gateway", "projects", "crm", "agents"})
    # Auth and crm are told by event.
    wait_for_lines(town.platform, "somebody-becomes-an-agent", {"gateway", "agents", "auth", "crm"})
