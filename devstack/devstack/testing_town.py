"""A town on a test's platform: the people of a journey and what they own, more of the same, and what is stored."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import httpx

from devstack import secretfile
from devstack.conversation import Difference, Person, new_phone
from devstack.journey import Journey
from devstack.platform import Platform
from devstack.testing_platform import RunningPlatform

REQUEST_SECONDS = 20.0
AT_ONCE = 100


class Town(Journey):
    """After its journey: two agents, a builder with free units on sale, a public listing and an administrator."""

    def __init__(self, platform: RunningPlatform, http: httpx.Client) -> None:
        super().__init__(
            http,
            outbox=platform.outbox,
            logs=platform.var / "log",
            admin_phone=platform.environment["ADMIN_PHONES"],
            say=lambda _line: None,
        )
        self.platform = platform
        self.listing_id = ""
        self.project_id = ""
        self._free_units: list[str] = []

    def found(self) -> None:
        """Run the journey, and look up what it leaves behind."""
        self.run()
        (listing,) = self._call("GET", "/v1/listings", params={"q": self.locality})["listings"]
        self.listing_id = listing["id"]
        assert self.meera.tokens is not None
        own = {"builder_id": self.meera.tokens["user"]["builder_id"]}
        (project,) = self._call("GET", "/v1/projects", params=own)["projects"]
        self.project_id = project["id"]
        free = {"status": "available", "page_size": 100}
        units = self._call("GET", f"/v1/projects/{self.project_id}/units", params=free)["units"]
        self._free_units = [unit["id"] for unit in units]

    def wake(self) -> None:
        """Start the platform if a test left it dead, and renew everybody's tokens, which live ten minutes."""
        if self.platform.supervisor is None or self.platform.supervisor.poll() is not None:
            self.platform.start()
        # The test before may have ended Valkey, without which nobody signs in.
        self._wait("signing in", self._may_sign_in)
        for person in (self.admin, self.asha, self.vikram, self.rohan, self.meera):
            try:
                self._refresh(person)
            except Difference:
                # The test before killed the answer to her last refresh: the token she has is used, her session over.
                self._sign_in(person)

    def _may_sign_in(self) -> bool:
        answer = self._http.post("/v1/auth/otp", json={"phone": new_phone()})
        return answer.status_code == httpx.codes.ACCEPTED

    def free_units(self, count: int) -> list[str]:
        """Units nobody claimed, each given out once."""
        taken, self._free_units = self._free_units[:count], self._free_units[count:]
        assert len(taken) == count, "the journey's builder has no more units"
        return taken

    def new_person(self, phone: str | None = None) -> Person:
        """Somebody new, or whoever has `phone` on one more device, who signs in."""
        person = Person("Nisha, somebody new", phone or new_phone())
        self._sign_in(person)
        return person

    def confirmation(self, person: Person) -> dict[str, str]:
        """The proof that whoever has her tokens also holds her phone."""
        sent = self._lines_of_outbox()
        asked = self._call("POST", "/v1/users/me/otp", person, json={}, status=202)
        code = self._wait("the one-time password", lambda: self._code_for(person.phone, sent))
        return {"challenge_id": asked["challenge_id"], "code": code}

    def new_agent(self) -> Person:
        """One more verified agent."""
        agent = self.new_person()
        self._become_agent(agent)
        return agent

    @contextmanager
    def under(self, correlation_id: str) -> Iterator[None]:
        """Give every request of ours this correlation id."""
        self._http.headers["X-Correlation-ID"] = correlation_id
        try:
            yield
        finally:
            del self._http.headers["X-Correlation-ID"]

    def new_listing(self) -> str:
        """One more public listing of Asha's, which nobody enquired about yet."""
        return str(self._publish_listing()["id"])

    def enquiry(self) -> dict[str, Any]:
        """What somebody new asks about the journey's listing."""
        return {"listing_id": self.listing_id, "full_name": "Farhan Ali", "phone": new_phone()}

    def client(self, at_once: int = AT_ONCE) -> httpx.AsyncClient:
        """A client for many requests, of which so many are under way at once."""
        limits = httpx.Limits(max_connections=at_once)
        return httpx.AsyncClient(base_url=self.platform.url, timeout=REQUEST_SECONDS, limits=limits)

    async def rows(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """What the database holds, in every service's schema."""
        secrets = secretfile.read(self.platform.var / "secrets.env")
        connection = await asyncpg.connect(Platform(self.platform.environment).admin_url(secrets))
        try:
            return list(await connection.fetch(query, *arguments))
        finally:
            await connection.close()

    async def value(self, query: str, *arguments: Any) -> Any:
        """The one value that `query` finds."""
        ((found,),) = await self.rows(query, *arguments)
        return found


@contextmanager
def founded(platform: RunningPlatform) -> Iterator[Town]:
    with httpx.Client(base_url=platform.url, timeout=REQUEST_SECONDS) as http:
        town = Town(platform, http)
        town.found()
        yield town
