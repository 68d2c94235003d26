"""What the clock starts."""

from auth_service import allowances, guesses
from auth_service.otp.repository import OtpRepository
from auth_service.sessions.repository import SessionRepository
from auth_service.users.domain import ADMIN
from auth_service.users.service import BY_SETTINGS, UserService
from chassis.database import Database

ADMINS_SECONDS = 10.0
SWEEP_SECONDS = 3_600.0


class Timers:
    """Each opens the transactions it needs."""

    def __init__(
        self,
        database: Database,
        users: UserService,
        challenges: OtpRepository,
        sessions: SessionRepository,
    ) -> None:
        self._database = database
        self._users = users
        self._challenges = challenges
        self._sessions = sessions

    async def revoke_former_admins(self) -> None:
        """Whose phone was taken out of ADMIN_PHONES is no administrator any more."""
        for user_id in await self._users.former_admins():
            async with self._database.transaction() as tx:
                await self._users.revoke(tx, user_id, ADMIN, BY_SETTINGS)

    async def sweep(self) -> None:
        """Forget what is over."""
        async with self._database.transaction() as tx:
            await self._challenges.sweep(tx)
            await self._sessions.sweep(tx)
            await allowances.sweep(tx)
            await guesses.sweep(tx)
