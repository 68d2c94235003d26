"""Tokens, everywhere: at the gateway and, by whoever reaches it directly, at each service."""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import httpx
import jwt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from auth_service.signing_keys.domain import Cipher
from chassis.grpc_server import allowed_callers
from devstack import secretfile
from devstack.conversation import Person
from devstack.platform import SERVICES, Platform
from devstack.testing_service import early_in_a_second
from devstack.testing_town import Town
from gateway.contract import platform_files, rpc_path, services
from propmubi.options.v1.options_pb2 import Caller

CALL_SECONDS = 10.0
WITHIN_SECONDS = 1.0
PAGE = "http://localhost:3005"
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
HOLD = "/propmubi.projects.v1.UnitService/HoldUnit"
# One RPC of each service that needs a person, and the route that leads to it.
PROTECTED = {
    "auth": "/propmubi.auth.v1.UserService/GetMe",
    "agents": "/propmubi.agents.v1.ListingService/CreateListing",
    "crm": "/propmubi.crm.v1.LeadService/ListLeads",
    "projects": HOLD,
}


class Signer:
    """Signs with the key that the platform itself signs with, as nobody outside can."""

    def __init__(self, kid: str, key: Any) -> None:
        self.kid = kid
        self.key = key

    def sign(self, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        now = int(time.time())
        said = {
            "iss": "propmubi-auth",
            "aud": "propmubi",
            "sub": "01935b0e-7f1c-7b1e-9a51-0c2f6f3a9c11",
            "sid": "01935b0e-7f1c-7b1e-9a51-0c2f6f3a9c12",
            "roles": ["buyer"],
            "iat": now - 600,
            "exp": now + 300,
            "jti": "1",
            **claims,
        }
        head = {"typ": "at+jwt", "kid": self.kid, **(headers or {})}
        return jwt.encode(said, self.key, algorithm="ES256", headers=head)

    def unsigned(self, algorithm: str, mac_key: bytes) -> str:
        """What says that it needs no signature, or one that anybody can make."""
        claims = self.sign().split(".")[1]
        body = f"{_part({'typ': 'at+jwt', 'alg': algorithm, 'kid': self.kid})}.{claims}"
        mac = hmac.new(mac_key, body.encode(), hashlib.sha256).digest() if mac_key else b""
        return f"{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"

    def forgeries(self, address: str) -> dict[str, str]:
        """Tokens that only a careless verifier takes; `address` is where it would ask for their keys."""
        public = self.key.public_key()
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        jwk = {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}
        other = jwt.encode({"aud": "propmubi"}, "k" * 32, algorithm="HS256")
        return {
            "alg none": self.unsigned("none", b""),
            "HS256 with the public key": self.unsigned("HS256", pem),
            "crit": self.sign({"crit": ["b64"], "b64": False}),
            "jku": self.sign({"jku": f"{address}/jwks.json"}),
            "x5u": self.sign({"x5u": f"{address}/certificate.pem"}),
            "jwk": self.sign({"jwk": jwk}),
            "wrong issuer": self.sign(iss="somebody"),
            "wrong audience": self.sign(aud="another"),
            "wrong type": self.sign({"typ": "JWT"}),
            "a path as kid": self.sign({"kid": f"{address}/key"}),
            "another secret": other,
        }


def _part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@asynccontextmanager
async def channels(town: Town) -> AsyncIterator[dict[str, grpc.aio.Channel]]:
    """Straight to each service, past the gateway."""
    platform = Platform(town.platform.environment)
    async with AsyncExitStack() as stack:
        yield {
            service: await stack.enter_async_context(
                grpc.aio.insecure_channel(platform.target(service))
            )
            for service in SERVICES
        }


async def status(channel: grpc.aio.Channel, rpc: str, token: str | None) -> grpc.StatusCode:
    """How a call with an empty request ends."""
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    call: Any = channel.unary_unary(rpc)
    try:
        await call(b"", timeout=CALL_SECONDS, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def signer(town: Town) -> Signer:
    secrets = secretfile.read(town.platform.var / "secrets.env")
    cipher = Cipher(secrets["KEY_ENCRYPTION_KEY"])
    row, *_ = await town.rows(
        "select kid, private_key from auth.signing_keys where not_before <= now() order by not_before desc"
    )
    return Signer(row["kid"], cipher.decrypt(row["kid"], row["private_key"]))


@asynccontextmanager
async def listener() -> AsyncIterator[tuple[str, list[bytes]]]:
    """An address that nobody has a reason to ask, and who asked it."""
    asked: list[bytes] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(100))
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


async def test_forged_tokens_are_refused_everywhere_and_nobody_fetches_a_key(town: Town) -> None:
    ours = await signer(town)
    assert town.rohan.tokens is not None
    async with listener() as (address, asked), channels(town) as direct, town.client() as http:
        # The helper's tokens are as good as the platform's own, so that each is refused for what it says.
        good = ours.sign()
        assert (await http.get("/v1/agents", headers=bearer(good))).status_code == 200
        refused = {**ours.forgeries(address), "a refresh token": town.rohan.tokens["refresh_token"]}
        for name, token in refused.items():
            answer = await http.get("/v1/users/me", headers=bearer(token))
            assert answer.status_code == 401, name
            assert answer.json()["error"]["code"] == "UNAUTHORIZED"
            for service, rpc in PROTECTED.items():
                code = await status(direct[service], rpc, token)
                assert code is UNAUTHENTICATED, f"{name} at {service}"
        assert asked == []


async def test_a_token_is_good_for_half_a_minute_longer_than_it_says(town: Town) -> None:
    ours = await signer(town)
    async with channels(town) as direct, town.client() as http:
        now = await early_in_a_second()
        just, late = ours.sign(exp=now - 29), ours.sign(exp=now - 31)
        statuses = [
            (await http.get("/v1/agents", headers=bearer(token))).status_code
            for token in (just, late)
        ]
        codes = [await status(direct["projects"], HOLD, token) for token in (just, late)]
    assert statuses == [200, 401]
    # The empty request is looked at only after the token.
    assert codes == [grpc.StatusCode.INVALID_ARGUMENT, UNAUTHENTICATED]


async def test_each_rpc_of_each_service_asks_for_a_token_of_ours(town: Town) -> None:
    foreign = (await signer(town)).sign(aud="another", roles=["buyer", "admin"])
    wrong = []
    async with channels(town) as direct:
        for service in services(platform_files()):
            channel = direct[service.file.package.split(".")[1]]
            for method in service.methods:
                rpc, callers = rpc_path(method), allowed_callers(method)
                without = await status(channel, rpc, None)
                if (without is UNAUTHENTICATED) is (Caller.CALLER_ANYONE in callers):
                    wrong.append(f"{rpc} without a token: {without}")
                if (code := await status(channel, rpc, foreign)) is not UNAUTHENTICATED:
                    wrong.append(f"{rpc} with another audience's token: {code}")
    assert wrong == []


async def test_a_used_refresh_token_that_comes_back_ends_its_session_everywhere_within_a_second(
    town: Town,
) -> None:
    victim = town.new_person()
    other_device = town.new_person(victim.phone)
    assert victim.tokens is not None
    used, first = victim.tokens["refresh_token"], victim.tokens["access_token"]
    async with channels(town) as direct, town.client() as http:
        second = (await refresh(http, used)).json()
        stolen = await refresh(http, used, {"user-agent": "thief/1.0"})
        assert (stolen.status_code, stolen.json()["error"]["code"]) == (
            401,
            "REFRESH_TOKEN_INVALID",
        )
        ended = time.monotonic()
        for token in (first, second["access_token"]):
            await until_refused(http, direct["projects"], HOLD, token)
        assert time.monotonic() - ended < WITHIN_SECONDS
        assert (await refresh(http, second["refresh_token"])).status_code == 401
        assert (await http.get("/v1/users/me", headers=other_device.headers)).status_code == 200
        code = await status(direct["projects"], HOLD, bearer_of(other_device))
        assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_fifty_tabs_that_refresh_one_cookie_at_once_hold_one_successor(town: Town) -> None:
    person = town.new_person()
    assert person.tokens is not None
    asked = {"origin": PAGE, "x-use-cookie": "refresh_token"}
    async with town.client() as http:
        moved = await http.post(
            "/v1/auth/refresh",
            json={"refresh_token": person.tokens["refresh_token"]},
            headers=asked,
        )
        held = moved.headers["set-cookie"].partition(";")[0]
        headers = {**asked, "cookie": held}
        answers = await asyncio.gather(
            *(http.post("/v1/auth/refresh", headers=headers) for _ in range(50))
        )
        assert Counter(answer.status_code for answer in answers) == {200: 50}
        (successor,) = {answer.headers["set-cookie"] for answer in answers}
        assert not any(answer.json()["refresh_token"] for answer in answers)
        # Whoever reads the page's answers has nothing to go on with; the cookie goes on.
        again = await http.post(
            "/v1/auth/refresh", headers={**asked, "cookie": successor.partition(";")[0]}
        )
        assert again.status_code == 200
        signed_out = await http.post(
            "/v1/auth/logout", json={}, headers={**asked, **bearer(again.json()["access_token"])}
        )
        assert signed_out.status_code == 204
        assert "Max-Age=0" in signed_out.headers["set-cookie"]


async def test_no_request_fails_while_the_signing_keys_rotate(town: Town) -> None:
    person = town.new_person()
    assert person.tokens is not None
    tokens, statuses = dict(person.tokens), Counter[object]()
    old = kid_of(tokens["access_token"])
    after_rotation = 0
    async with channels(town) as direct, town.client() as http:

        async def use() -> None:
            """Go on with the tokens at hand, at the gateway and at each service."""
            token = tokens["access_token"]
            answers = await asyncio.gather(
                *(http.get("/v1/users/me", headers=bearer(token)) for _ in range(5))
            )
            statuses.update(answer.status_code for answer in answers)
            statuses.update(
                [await status(direct[service], rpc, token) for service, rpc in PROTECTED.items()]
            )

        rotated = await http.post(
            "/v1/auth/signing-keys/rotate", json={"ahead_seconds": 2}, headers=town.admin.headers
        )
        assert rotated.status_code == 200, rotated.text
        async with asyncio.timeout(CALL_SECONDS):
            while after_rotation < 5:
                await use()
                answer = await refresh(http, tokens["refresh_token"])
                statuses.update([answer.status_code])
                tokens |= answer.json()
                after_rotation += kid_of(tokens["access_token"]) != old
    # Empty requests are looked at only after the token.
    assert set(statuses) <= {
        200,
        grpc.StatusCode.OK,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.PERMISSION_DENIED,
    }
    assert statuses[200] > 30


async def test_what_leaked_keys_signed_is_refused_everywhere_and_who_refreshes_goes_on(
    town: Town,
) -> None:
    person = town.new_person()
    assert person.tokens is not None
    rotating = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "devstack", "--var", town.platform.var, "rotate-keys", "--leaked"),
        env=os.environ | town.platform.environment,
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await rotating.communicate()
    assert rotating.returncode == 0, printed
    async with channels(town) as direct, town.client() as http:
        for service, rpc in PROTECTED.items():
            await until_refused(http, direct[service], rpc, bearer_of(person))
        answer = await refresh(http, person.tokens["refresh_token"])
        token = answer.json()["access_token"]
        assert kid_of(token) in printed.decode()
        assert (await http.get("/v1/users/me", headers=bearer(token))).status_code == 200
        codes = {await status(direct[service], rpc, token) for service, rpc in PROTECTED.items()}
        assert UNAUTHENTICATED not in codes


async def until_refused(
    http: httpx.AsyncClient, channel: grpc.aio.Channel, rpc: str, token: str
) -> None:
    async with asyncio.timeout(CALL_SECONDS):
        while (await http.get("/v1/users/me", headers=bearer(token))).status_code != 401:
            pass
        while await status(channel, rpc, token) is not UNAUTHENTICATED:
            pass


async def refresh(
    http: httpx.AsyncClient, token: str, headers: dict[str, str] | None = None
) -> httpx.Response:
    return await http.post("/v1/auth/refresh", json={"refresh_token": token}, headers=headers)


def kid_of(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def bearer_of(person: Person) -> str:
    assert person.tokens is not None
    return str(person.tokens["access_token"])
