"""What the clock does to rows: work for `Service.every`."""

from collections.abc import Awaitable, Callable

from chassis.database import Database, Transaction


def sweep(
    database: Database, some: Callable[[Transaction], Awaitable[int]]
) -> Callable[[], Awaitable[None]]:
    """`some`, which says how many rows it did, in one transaction after another until there are none.

    It locks its rows by SKIP LOCKED and finds them by what it changes, so that each is done once, whoever else sweeps.
    """

    async def work() -> None:
        done = 1
        while done:
            async with database.transaction() as tx:
                done = await some(tx)

    return work
