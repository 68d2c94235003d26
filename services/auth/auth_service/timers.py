"""What the clock starts."""

import structlog

from auth_service import allowances, guesses
from auth_service.otp.repository import OtpRepository
from auth_service.passwords.hashing import PasswordHasher
from auth_service.passwords.repository import PasswordRepository
from auth_service.sessions.repository import SessionRepository
from auth_service.users.domain import ADMIN
from auth_service.users.service import BY_SETTINGS, UserService
from chassis.database import Database

ADMINS_SECONDS = 10.0
SWEEP_SECONDS = 3_600.0
# Again and again while two secrets are there: a replica of the rollout before may still encrypt with the former one.
RENEW_SECONDS = 60.0
RENEWED_AT_ONCE = 500

log = structlog.get_logger()


class Timers:
    """Each opens the transactions it needs."""

    def __init__(
        self,
        database: Database,
        users: UserService,
        challenges: OtpRepository,
        sessions: SessionRepository,
        *,
        passwords: PasswordRepository,
        hasher: PasswordHasher,
    ) -> None:
        self._database = database
        self._users = users
        self._challenges = challenges
        self._sessions = sessions
        self._passwords = passwords
        self._hasher = hasher

    async def revoke_former_admins(self) -> None:
        """Whose phone was taken out of ADMIN_PHONES is no administrator any more."""
        for user_id in await self._users.former_admins():
            async with self._database.transaction() as tx:
                await self._users.revoke(tx, user_id, ADMIN, BY_SETTINGS)

    async def renew_passwords(self) -> None:
        """Encrypt anew the hashes that a former secret encrypted."""
        after, renewed = None, 0
        while True:
            async with self._database.transaction() as tx:
                page = await self._passwords.page(tx, after, RENEWED_AT_ONCE)
                for stored in page:
                    if (encrypted := self._hasher.renewed(stored)) is not None:
                        await self._passwords.renew(tx, stored, encrypted)
                        renewed += 1
            if not page:
                break
            after = page[-1].user_id
        log.info("no password needs a former KEY_ENCRYPTION_KEY any more", renewed=renewed)

    async def sweep(self) -> None:
        """Forget what is over."""
        async with self._database.transaction() as tx:
            await self._challenges.sweep(tx)
            await self._sessions.sweep(tx)
            await allowances.sweep(tx)
            await guesses.sweep(tx)
