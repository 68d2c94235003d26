"""The signing keys as this process has them: kept fresh from the database, made and rotated when due."""

import asyncio
from datetime import UTC, datetime

import structlog
from cryptography.hazmat.primitives.asymmetric.ec import (
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)

from auth_service.signing_keys.domain import (
    ALGORITHM,
    Cipher,
    SigningKey,
    coordinate,
    due,
    new_key,
    signing,
)
from auth_service.signing_keys.repository import SigningKeyRepository
from chassis.context import background_call, enter
from chassis.database import Database
from chassis.errors import DomainError, Unavailable
from propmubi.auth.v1.auth_pb2 import GetJwksResponse, JsonWebKey

# Keys are published a day ahead, so a minute is soon enough …
REFRESH_SECONDS = 60.0
# … except for a kid that another replica had to make at once. Anybody can send one, so not for each.
UNKNOWN_KID_SECONDS = 1.0
RETRY_SECONDS = 1.0

log = structlog.get_logger()


class SigningKeys:
    """Auth's own key set: what it verifies its callers with (chassis.identity.Keys), signs with and publishes."""

    def __init__(self, database: Database, cipher: Cipher) -> None:
        self._database = database
        self._repository = SigningKeyRepository(database)
        self._cipher = cipher
        self._keys: dict[str, SigningKey] = {}
        self._opened: dict[str, EllipticCurvePrivateKey] = {}
        self._wanted = asyncio.Event()
        self.loaded = asyncio.Event()
        self.jwks = GetJwksResponse()

    def get(self, kid: str) -> EllipticCurvePublicKey | None:
        key = self._keys.get(kid)
        if key is None:
            self._wanted.set()
            return None
        return key.public_key

    def signer(self) -> tuple[str, EllipticCurvePrivateKey]:
        """The kid and the key to sign with now."""
        key = signing(list(self._keys.values()), datetime.now(UTC))
        if key is None:
            raise Unavailable("Signing in is not possible just now: try again.")
        return key.kid, self._opened[key.kid]

    async def run(self) -> None:
        """Keep the keys fresh, and make those that are due, until cancelled."""
        while True:
            enter(background_call("signing keys"))
            wait = REFRESH_SECONDS
            try:
                await self.rotate()
                await self.load()
                self.loaded.set()
            except (DomainError, OSError, TimeoutError) as error:
                log.warning("signing keys can't be read", error=type(error).__name__)
                wait = RETRY_SECONDS
            await self._pause(wait)

    async def rotate(self) -> None:
        """Make the key that is due, if one is, and remove what is dead. However many replicas do so at once, one key
        is made.
        """
        async with self._database.transaction() as tx:
            now = await self._repository.lock(tx)
            not_before = due(await self._repository.current(tx), now)
            if not_before is not None:
                key = new_key(self._cipher, not_before)
                await self._repository.add(tx, key)
                log.info("signing key made", kid=key.kid, not_before=not_before.isoformat())
            await self._repository.remove_dead(tx, now)

    async def load(self) -> None:
        """Take what the database has; raises WrongSecret when it can't be opened."""
        keys = {key.kid: key for key in await self._repository.all()}
        self._opened = {
            kid: self._opened.get(kid) or self._cipher.decrypt(kid, key.private_key)
            for kid, key in keys.items()
        }
        self._keys = keys
        self.jwks = GetJwksResponse(keys=[_published(key) for key in keys.values()])

    async def _pause(self, seconds: float) -> None:
        self._wanted.clear()
        await asyncio.sleep(min(seconds, UNKNOWN_KID_SECONDS))
        try:
            await asyncio.wait_for(self._wanted.wait(), seconds - UNKNOWN_KID_SECONDS)
        except TimeoutError:
            return


def _published(key: SigningKey) -> JsonWebKey:
    point = key.public_key.public_numbers()
    return JsonWebKey(
        kty="EC",
        kid=key.kid,
        use="sig",
        alg=ALGORITHM,
        crv="P-256",
        x=coordinate(point.x),
        y=coordinate(point.y),
    )
