"""The SQL of one-time passwords."""

import uuid
from datetime import date, timedelta

from sqlalchemy import and_, bindparam, case, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from auth_service.otp.domain import LIFETIME, MAX_ATTEMPTS, ChallengeStatus
from auth_service.otp.models import otp_challenges, otp_days
from chassis.database import Transaction

# How long a challenge that is over is kept, to answer questions about it.
KEPT = timedelta(days=1)
DAYS_KEPT = timedelta(days=90)

_is_live = and_(
    otp_challenges.c.status == ChallengeStatus.ISSUED,
    otp_challenges.c.attempts < MAX_ATTEMPTS,
    otp_challenges.c.expires_at > func.clock_timestamp(),
)
_TRY = (
    update(otp_challenges)
    .where(otp_challenges.c.id == bindparam("challenge_id"), _is_live)
    .values(
        attempts=otp_challenges.c.attempts + 1,
        status=case(
            (otp_challenges.c.code_hash == bindparam("given"), ChallengeStatus.VERIFIED),
            (otp_challenges.c.attempts + 1 >= MAX_ATTEMPTS, ChallengeStatus.LOCKED),
            else_=ChallengeStatus.ISSUED,
        ),
    )
    .returning(otp_challenges.c.status)
)
_SPEND = (
    upsert(otp_days)
    .values(day=bindparam("day"), sent=1)
    .on_conflict_do_update(
        index_elements=["day"],
        set_={"sent": otp_days.c.sent + 1},
        where=otp_days.c.sent < bindparam("most"),
    )
    .returning(otp_days.c.sent)
)


class OtpRepository:
    """One-time passwords in Postgres."""

    async def replace(
        self, tx: Transaction, challenge_id: uuid.UUID, phone: str, purpose: str, code_hash: bytes
    ) -> None:
        """Make the challenge the only live one of `phone`."""
        await tx.execute(
            update(otp_challenges)
            .where(
                otp_challenges.c.phone == phone,
                otp_challenges.c.purpose == purpose,
                otp_challenges.c.status == ChallengeStatus.ISSUED,
            )
            .values(status=ChallengeStatus.EXPIRED)
        )
        await tx.execute(
            insert(otp_challenges).values(
                id=challenge_id,
                phone=phone,
                purpose=purpose,
                code_hash=code_hash,
                status=ChallengeStatus.ISSUED,
                expires_at=func.now() + LIFETIME,
            )
        )

    async def spend(self, tx: Transaction, day: date, most: int) -> int | None:
        """Count one code more as sent on `day`, unless `most` were; how many now are. All who send wait for each other
        here: do it last.
        """
        sent: int | None = (await tx.execute(_SPEND, {"day": day, "most": most})).scalar()
        return sent

    async def look(
        self, tx: Transaction, challenge_id: uuid.UUID, purpose: str
    ) -> tuple[str, bool] | None:
        """The phone that the challenge was sent to and whether it can still be met, if there is such a challenge."""
        found = await tx.execute(
            select(otp_challenges.c.phone, _is_live.label("is_live")).where(
                otp_challenges.c.id == challenge_id, otp_challenges.c.purpose == purpose
            )
        )
        row = found.first()
        return None if row is None else (row.phone, row.is_live)

    async def try_code(self, tx: Transaction, challenge_id: uuid.UUID, code_hash: bytes) -> bool:
        """Count a try and compare, in one statement: of any number at once, five are compared and one can succeed."""
        tried = await tx.execute(_TRY, {"challenge_id": challenge_id, "given": code_hash})
        return tried.scalar() == ChallengeStatus.VERIFIED

    async def issue_again(self, tx: Transaction, challenge_id: uuid.UUID) -> None:
        """Undo that `tx` verified it; the try stays counted."""
        await tx.execute(
            update(otp_challenges)
            .where(otp_challenges.c.id == challenge_id)
            .values(status=ChallengeStatus.ISSUED)
        )

    async def remove(self, tx: Transaction, phone: str) -> None:
        await tx.execute(delete(otp_challenges).where(otp_challenges.c.phone == phone))

    async def sweep(self, tx: Transaction) -> None:
        """Forget challenges that were over long ago."""
        await tx.execute(
            delete(otp_challenges).where(otp_challenges.c.created_at < func.now() - KEPT)
        )
        await tx.execute(delete(otp_days).where(otp_days.c.day < func.now() - DAYS_KEPT))
