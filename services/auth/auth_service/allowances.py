"""How often something may be done for one subject, such as sending passwords to a phone.

A sliding log in one row: the times of the last uses, so that no window ever holds more than the quota, whatever
happens at once. Its row lock also puts what is done for one subject in order.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Column,
    DateTime,
    Interval,
    Table,
    Text,
    bindparam,
    delete,
    func,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from auth_service.metadata import metadata
from chassis.database import Transaction
from chassis.errors import RateLimited
from chassis.quota import Quota

allowances = Table(
    "allowances",
    metadata,
    Column("subject", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("used", ARRAY(DateTime(timezone=True)), nullable=False),
)

# Longer than any window.
KEPT = timedelta(days=1)

_TAKE = text("""
    insert into allowances as a (subject, name, used) values (:subject, :name, array[clock_timestamp()])
    on conflict (subject, name) do update
    set used = array(select t from unnest(a.used) t where t > clock_timestamp() - :period) || clock_timestamp()
    where (select count(*) from unnest(a.used) t where t > clock_timestamp() - :period) < :calls
    returning used[cardinality(used)]
    """).bindparams(bindparam("period", type_=Interval()))
_WAIT = text("""
    select extract(epoch from min(t) + :period - clock_timestamp())::float8
    from allowances, unnest(used) t
    where subject = :subject and name = :name and t > clock_timestamp() - :period
    """).bindparams(bindparam("period", type_=Interval()))


class Allowance:
    """A quota for each subject, under a name."""

    def __init__(self, name: str, quota: Quota) -> None:
        self._name = name
        self._calls = quota.calls
        self._period = timedelta(seconds=quota.seconds)

    async def take(self, tx: Transaction, subject: str) -> datetime:
        """Use it once; what can be given back. Raises RateLimited when nothing is left."""
        what: dict[str, Any] = {"subject": subject, "name": self._name, "period": self._period}
        taken = (await tx.execute(_TAKE, {**what, "calls": self._calls})).scalar()
        if taken is None:
            wait = (await tx.execute(_WAIT, what)).scalar()
            raise RateLimited("Too often: wait and try again.", retry_after=max(1.0, wait or 0.0))
        moment: datetime = taken
        return moment

    async def give_back(self, tx: Transaction, subject: str, taken: datetime) -> None:
        """Undo what `take` returned."""
        await tx.execute(
            update(allowances)
            .where(allowances.c.subject == subject, allowances.c.name == self._name)
            .values(used=func.array_remove(allowances.c.used, taken))
        )


async def sweep(tx: Transaction) -> None:
    """Forget those not used for long."""
    last = allowances.c.used[func.cardinality(allowances.c.used)]
    await tx.execute(delete(allowances).where(func.coalesce(last < func.now() - KEPT, True)))
