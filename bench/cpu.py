"""The processor time that one side's processes have used, PostgreSQL's share for its database included. Linux only."""

import os
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
POSTGRES = "PostgreSQL"


@dataclass(frozen=True)
class Meter:
    """`processes` are the side's own, by name. Of PostgreSQL, all counts but the backends of other databases."""

    processes: dict[str, int]
    postmaster: int
    database: str

    def read(self) -> dict[str, float]:
        """Seconds used so far, by process."""
        used = {name: _seconds(pid) for name, pid in self.processes.items()}
        # Children that have ended are in their parent's count, so that none is lost between two readings.
        used[POSTGRES] = _seconds(self.postmaster, with_ended_children=True) + sum(
            _seconds(pid) for pid in children(self.postmaster) if self._counts(pid)
        )
        return used

    def _counts(self, pid: int) -> bool:
        database = _database_of(pid)
        return database is None or database == self.database


def children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def _seconds(pid: int, *, with_ended_children: bool = False) -> float:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:  # It has just ended: its parent counts it from now on.
        return 0.0
    # The second field, the program's name, may hold spaces; user, system and the children's two are the 14th to 17th.
    fields = stat.rpartition(")")[2].split()
    counted = fields[11:15] if with_ended_children else fields[11:13]
    return sum(map(int, counted)) / TICKS_PER_SECOND


def _database_of(pid: int) -> str | None:
    """The database a backend serves, from the title it gives itself; None for PostgreSQL's own processes."""
    try:
        title = Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0].split()
    except OSError:
        return None
    # postgres: crm_app propmubi 127.0.0.1(43210) idle
    is_backend = len(title) > 3 and "(" in title[3]
    return title[2] if is_backend else None
