"""What the clock does: projects lapse, holds run out."""

from collections.abc import Awaitable, Callable

from chassis.database import Database, Transaction

# Readers see a hold that ran out as free at once; the event that tells the other services waits for this at most.
EXPIRE_SECONDS = 5.0
LAPSE_SECONDS = 60.0


def sweep(
    database: Database, some: Callable[[Transaction], Awaitable[int]]
) -> Callable[[], Awaitable[None]]:
    """Work for a timer: `some`, which says how many it did, in one transaction after another until there are none."""

    async def work() -> None:
        done = 1
        while done:
            async with database.transaction() as tx:
                done = await some(tx)

    return work
