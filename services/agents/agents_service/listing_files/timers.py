"""What the clock does to imports: their rows are read, and what is over is forgotten."""

from collections.abc import Awaitable, Callable

from agents_service.listing_files.service import ListingFileService
from chassis.database import Database

READ_SECONDS = 2.0
FORGET_SECONDS = 600.0


def reading(database: Database, files: ListingFileService) -> Callable[[], Awaitable[None]]:
    """Work for a timer: piece by piece of all imports under way, each in a transaction of its own, until there are none.

    That a piece was begun is committed first, so that one which ends the process is not begun for ever.
    """

    async def work() -> None:
        while True:
            async with database.transaction() as tx:
                import_id = await files.begin(tx)
            if import_id is None:
                return
            async with database.transaction() as tx:
                await files.read(tx, import_id)

    return work
