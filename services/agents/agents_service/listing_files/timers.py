"""What the clock does to imports: their rows are read, and what is over is forgotten."""

from agents_service.listing_files.service import ListingFileService
from chassis.database import Database

READ_SECONDS = 2.0
FORGET_SECONDS = 600.0


class ImportTimers:
    """Work of the clock."""

    def __init__(self, database: Database, files: ListingFileService) -> None:
        self._database = database
        self._files = files

    async def read_all(self) -> None:
        """Read all imports under way, piece by piece, each in a transaction of its own.

        That a piece was begun is committed first, so that one which ends the process is not begun for ever.
        """
        while True:
            async with self._database.transaction() as tx:
                import_id = await self._files.begin(tx)
            if import_id is None:
                return
            async with self._database.transaction() as tx:
                await self._files.read(tx, import_id)
