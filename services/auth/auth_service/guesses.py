"""Guesses at what lets somebody in, counted for each phone by the method: so many tries and so many failures in a time,
whatever the challenge, and so many failures in a row, after which only an administrator lets her try again.

One method's failures leave the others open, so that a stranger who fails on purpose locks nobody out of all of them.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import (
    Column,
    DateTime,
    Integer,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from auth_service import audit, metrics
from auth_service.allowances import Allowance, allowances
from auth_service.metadata import metadata
from chassis.database import Transaction
from chassis.errors import PermissionDenied
from chassis.quota import Quota

MOST_IN_A_ROW = 100
# A phone at which nobody guessed for so long begins anew.
KEPT = timedelta(days=365)

TRIES, FAILURES = "tries", "failures"

failures_in_a_row = Table(
    "failures_in_a_row",
    metadata,
    Column("phone", Text, primary_key=True),
    Column("method", Text, primary_key=True),
    # Since the last success; a try counts as a failure until it succeeds.
    Column("failures", Integer, nullable=False),
    Column("last_at", DateTime(timezone=True), nullable=False),
)

_COUNT = (
    upsert(failures_in_a_row)
    .values(
        phone=bindparam("phone"),
        method=bindparam("method"),
        failures=1,
        last_at=func.clock_timestamp(),
    )
    .on_conflict_do_update(
        index_elements=["phone", "method"],
        set_={
            "failures": failures_in_a_row.c.failures + 1,
            "last_at": func.clock_timestamp(),
        },
        where=failures_in_a_row.c.failures < literal_column(str(MOST_IN_A_ROW)),
    )
    .returning(failures_in_a_row.c.failures)
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Guess:
    """A try that counts as a failure until it `succeeded`. After the `last` failure in a row there is no next."""

    phone: str
    counted: datetime
    is_last: bool


class Guesses:
    """The guesses by one method, such as "otp"."""

    def __init__(self, method: str, *, tries: Sequence[Quota], failures: Sequence[Quota]) -> None:
        self._method = method
        self._tries = Allowance(f"{method} {TRIES}", tries)
        self._failures = Allowance(f"{method} {FAILURES}", failures)

    async def begin(self, tx: Transaction, phone: str) -> Guess:
        """Count a try before it is compared. Raises RateLimited, or PermissionDenied with the reason SIGN_IN_LOCKED.

        It is counted once `tx` is committed: return a refusal, and don't raise it.
        """
        # First, because it tells the longer wait.
        counted = await self._failures.take(tx, phone)
        await self._tries.take(tx, phone)
        in_a_row = (await tx.execute(_COUNT, {"phone": phone, "method": self._method})).scalar()
        if in_a_row is None:
            raise locked()
        return Guess(phone, counted, in_a_row == MOST_IN_A_ROW)

    async def try_in_vain(self, tx: Transaction, phone: str) -> None:
        """Count a try with which nothing will be compared, and which is no failure: else a stranger could lock a phone
        without having anything sent to it. Raises RateLimited.
        """
        await self._tries.take(tx, phone)

    async def note_locked(self, tx: Transaction, guess: Guess, user_id: uuid.UUID | None) -> None:
        """Write down that `guess`, the last in a row and wrong, locked its phone, which is `user_id`'s if anybody's."""
        told = {"method": self._method, "last_digits": guess.phone[-4:]}
        metrics.LOCKED.labels(self._method).inc()
        log.warning("sign-in locked after too many failures", **told)
        await audit.record(tx, "sign_in.locked", actor="system", user_id=user_id, **told)

    async def succeeded(self, tx: Transaction, guess: Guess) -> None:
        """It was right: no failure, and the end of those in a row."""
        await self._failures.give_back(tx, guess.phone, guess.counted)
        await self.forget(tx, guess.phone)

    async def forget(self, tx: Transaction, phone: str) -> None:
        """The end of those in a row: what was guessed at is not there any more."""
        await tx.execute(
            delete(failures_in_a_row).where(
                failures_in_a_row.c.phone == phone, failures_in_a_row.c.method == self._method
            )
        )

    async def check_open(self, tx: Transaction, phone: str) -> None:
        """Raise what `begin` raises for a phone that is locked."""
        failures = await tx.execute(
            select(failures_in_a_row.c.failures).where(
                failures_in_a_row.c.phone == phone, failures_in_a_row.c.method == self._method
            )
        )
        if (failures.scalar() or 0) >= MOST_IN_A_ROW:
            raise locked()


async def forgive(tx: Transaction, phone: str) -> None:
    """Begin anew for `phone`, by every method."""
    counted = and_(
        allowances.c.subject == phone,
        func.split_part(allowances.c.name, " ", 2).in_([TRIES, FAILURES]),
    )
    # Locked in the order of `begin`, failures before tries, so that neither waits for the other in vain: a delete alone
    # takes rows as they lie.
    await tx.execute(
        select(allowances.c.name).where(counted).order_by(allowances.c.name).with_for_update()
    )
    await tx.execute(delete(allowances).where(counted))
    await tx.execute(delete(failures_in_a_row).where(failures_in_a_row.c.phone == phone))


async def sweep(tx: Transaction) -> None:
    """Forget phones at which nobody guessed for long."""
    await tx.execute(
        delete(failures_in_a_row).where(failures_in_a_row.c.last_at < func.now() - KEPT)
    )


def locked() -> PermissionDenied:
    return PermissionDenied(
        "After too many failures nobody can sign in to this phone in this way: ask support to unlock it.",
        reason="SIGN_IN_LOCKED",
    )
