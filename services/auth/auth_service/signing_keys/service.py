"""The signing keys as this process has them: kept fresh from the database, made and rotated when due."""

from datetime import UTC, datetime, timedelta

import structlog
from cryptography.hazmat.primitives.asymmetric.ec import (
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)

from auth_service import audit, metrics
from auth_service.signing_keys.domain import (
    ALGORITHM,
    Cipher,
    SigningKey,
    coordinate,
    due,
    is_dead,
    new_key,
    signing,
)
from auth_service.signing_keys.repository import SigningKeyRepository
from chassis.database import Database, Transaction
from chassis.errors import Unavailable
from chassis.fresh import Fresh
from chassis.identity import Principal
from chassis.ids import new_id
from propmubi.auth.v1.auth_pb2 import GetJwksResponse, JsonWebKey
from propmubi.auth.v1.events_pb2 import SigningKeysChanged

# Keys are published a day ahead, so a minute is soon enough …
REFRESH_SECONDS = 60.0
# … except for a kid that another replica had to make at once. Anybody can send one, so not for each.
UNKNOWN_KID_SECONDS = 1.0

log = structlog.get_logger()


class SigningKeys:
    """Auth's own key set: what it verifies its callers with (chassis.verification.Keys), signs with and publishes."""

    def __init__(self, database: Database, cipher: Cipher) -> None:
        self._database = database
        self._repository = SigningKeyRepository(database)
        self._cipher = cipher
        self._keys: dict[str, SigningKey] = {}
        self._opened: dict[str, EllipticCurvePrivateKey] = {}
        self._fresh = Fresh(
            "signing keys", self._keep, seconds=REFRESH_SECONDS, seldom=UNKNOWN_KID_SECONDS
        )
        self.loaded = self._fresh.loaded
        self.run = self._fresh.run
        self.renew = self._fresh.renew
        self.renewed = self._fresh.renewed
        self._jwks = GetJwksResponse()

    def get(self, kid: str) -> EllipticCurvePublicKey | None:
        key = self._keys.get(kid)
        return None if key is None else key.public_key

    async def find(self, kid: str) -> EllipticCurvePublicKey | None:
        if kid not in self._keys:
            await self._fresh.missed()
        return self.get(kid)

    async def published(self) -> GetJwksResponse:
        """The public keys as the database has them now, or had them when it could last be asked: who heard that they
        changed, and asks, must not be told what this replica knew before.
        """
        await self._fresh.renewed()
        return self._jwks

    def signer(self) -> tuple[str, EllipticCurvePrivateKey]:
        """The kid and the key to sign with now."""
        key = signing(list(self._keys.values()), datetime.now(UTC))
        if key is None:
            raise Unavailable("Signing in is not possible just now: try again.")
        return key.kid, self._opened[key.kid]

    async def make_due(self) -> None:
        """Make the key that is due, if one is, encrypt anew what a former secret encrypted, and remove what is dead.
        However many replicas do so at once, one key is made. Raises WrongSecret.
        """
        async with self._database.transaction() as tx:
            now = await self._repository.lock(tx)
            current = await self._repository.current(tx)
            for key in current:
                if (private_key := self._cipher.renewed(key)) is not None:
                    await self._repository.renew(tx, key.kid, private_key)
            not_before = due(current, now)
            if not_before is not None:
                await self._add(tx, not_before)
            await self._repository.remove_dead(tx, now)

    async def rotate(
        self, tx: Transaction, caller: Principal, ahead: timedelta, *, leaked: bool
    ) -> list[SigningKey]:
        """Make a key that signs in place of the others in so much time, or at once in place of ones that leaked; all
        that are published then.
        """
        not_before = await self._repository.lock(tx)
        if leaked:
            await self._repository.remove_all(tx)
        else:
            not_before += ahead
            await self._repository.retire(tx, not_before)
        key = await self._add(tx, not_before)
        await audit.record(
            tx,
            "signing_keys.rotated",
            actor=caller.subject,
            user_id=None,
            kid=key.kid,
            leaked=leaked,
        )
        return await self._repository.current(tx)

    async def load(self) -> None:
        """Take what the database has; raises WrongSecret when it can't be opened."""
        keys = {key.kid: key for key in await self._repository.all()}
        self._opened = {
            kid: self._opened.get(kid) or self._cipher.decrypt(kid, key.private_key)
            for kid, key in keys.items()
        }
        self._keys = keys
        self._jwks = GetJwksResponse(keys=[_published(key) for key in keys.values()])
        last = max((key.retires_at.timestamp() for key in keys.values()), default=0.0)
        metrics.SIGNING_KEY_RETIRES.set(last)

    async def _keep(self) -> None:
        await self.load()
        if self._is_behind():
            await self.make_due()
            await self.load()

    def _is_behind(self) -> bool:
        """Whether there is something for `make_due` to do."""
        keys, now = list(self._keys.values()), datetime.now(UTC)
        return due(keys, now) is not None or any(
            is_dead(key, now) or self._cipher.renewed(key) is not None for key in keys
        )

    async def _add(self, tx: Transaction, not_before: datetime) -> SigningKey:
        key = new_key(self._cipher, not_before)
        await self._repository.add(tx, key)
        tx.publish(SigningKeysChanged(kid=key.kid), new_id())
        log.info("signing key made", kid=key.kid, not_before=not_before.isoformat())
        return key


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
