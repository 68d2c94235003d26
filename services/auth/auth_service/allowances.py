"""How often something may be done for one subject, such as sending passwords to a phone.

A sliding log in one row: the times of the last uses, so that no window ever holds more than its quota, whatever
happens at once. Its row lock also puts what is done for one subject in order.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Column,
    DateTime,
    Interval,
    Table,
    Text,
    TextClause,
    bindparam,
    delete,
    func,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from auth_service import metrics
from auth_service.metadata import metadata
from chassis.database import Transaction
from chassis.errors import RateLimited
from chassis.quota import LONGEST_SECONDS, Quota

allowances = Table(
    "allowances",
    metadata,
    Column("subject", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    # The oldest first.
    Column("used", ARRAY(DateTime(timezone=True)), nullable=False),
)

KEPT = timedelta(seconds=LONGEST_SECONDS)
TOO_OFTEN = "Too often: wait and try again."


class Allowance:
    """Quotas for each subject, under a name; a use must have room in all of them."""

    def __init__(self, name: str, quotas: Sequence[Quota], *, message: str = TOO_OFTEN) -> None:
        self._name = name
        self._message = message
        self._take, self._wait = _statements(len(quotas))
        self._parameters: dict[str, Any] = {"most": max(quota.calls for quota in quotas)}
        for i, quota in enumerate(quotas):
            self._parameters[f"calls{i}"] = quota.calls
            self._parameters[f"period{i}"] = timedelta(seconds=quota.seconds)

    async def take(self, tx: Transaction, subject: str) -> datetime:
        """Use it once; what can be given back. Raises RateLimited when nothing is left."""
        what = {"subject": subject, "name": self._name, **self._parameters}
        taken = (await tx.execute(self._take, what)).scalar()
        if taken is None:
            metrics.REFUSED.labels(self._name).inc()
            wait = (await tx.execute(self._wait, what)).scalar()
            raise RateLimited(self._message, retry_after=max(1.0, wait or 0.0))
        moment: datetime = taken
        return moment

    async def give_back(self, tx: Transaction, subject: str, taken: datetime) -> None:
        """Undo what `take` returned."""
        await tx.execute(
            update(allowances)
            .where(allowances.c.subject == subject, allowances.c.name == self._name)
            .values(used=func.array_remove(allowances.c.used, taken))
        )


def _statements(quotas: int) -> tuple[TextClause, TextClause]:
    """How to use an allowance of so many quotas, and how to ask for the seconds until it can be used.

    A quota of n calls has room once the nth last use has left its window. Postgres answers null for one before the
    first, and a slice that begins before it begins with it.
    """
    nth_last = [f"used[cardinality(used) + 1 - :calls{i}]" for i in range(quotas)]
    room = " and ".join(
        f"coalesce(a.{use.replace('(used', '(a.used')} <= clock_timestamp() - :period{i}, true)"
        for i, use in enumerate(nth_last)
    )
    free = ", ".join(f"{use} + :period{i}" for i, use in enumerate(nth_last))
    periods = [bindparam(f"period{i}", type_=Interval()) for i in range(quotas)]
    take = f"""
        insert into allowances as a (subject, name, used) values (:subject, :name, array[clock_timestamp()])
        on conflict (subject, name) do update
        set used = a.used[cardinality(a.used) + 2 - :most :] || clock_timestamp()
        where {room}
        returning used[cardinality(used)]
        """  # noqa: S608  Built of constants and bound parameters.
    wait = f"""
        select extract(epoch from greatest({free}) - clock_timestamp())::float8
        from allowances where subject = :subject and name = :name
        """  # noqa: S608  Built of constants and bound parameters.
    return text(take).bindparams(*periods), text(wait).bindparams(*periods)


async def sweep(tx: Transaction) -> None:
    """Forget those not used for long."""
    last = allowances.c.used[func.cardinality(allowances.c.used)]
    await tx.execute(delete(allowances).where(func.coalesce(last < func.now() - KEPT, True)))
