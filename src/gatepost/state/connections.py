"""How many connections each worker has, and from where: a table in memory that all workers of a node share.

The parent makes a `ConnectionTable` before it forks, and each worker writes only its own `Column`, so there is no lock
and nobody waits.  Networks are not stored but counted in two rows of cells, by two parts of their hash (a count-min
sketch): the lesser of the two is never too small, and too big only if another network shares both cells.  A network is
always in the same cells because a fork inherits the seed of `hash`, which no stranger knows.  Nothing is allocated
while the server runs, and the memory of a worker is bounded: half a MiB of open connections, half of arrivals.
"""

from __future__ import annotations

import mmap
import struct
from typing import Final

__all__ = ["Column", "ConnectionTable"]

_MINUTE: Final = 60.0
# Connections that are open: 2 rows of cells of 32 bits.
_OPEN_CELLS: Final = 1 << 16
_OPEN_MASK: Final = _OPEN_CELLS - 1
# Connections that came in this minute and in the one before: 2 rows of 2 cells, each with the minute it is of.
_ARRIVAL_CELLS: Final = 1 << 14
_ARRIVAL_MASK: Final = _ARRIVAL_CELLS - 1
_MOST: Final = 1 << 32


class ConnectionTable:
    """The counts of all workers.

    Args:
        workers: how many there are.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        opened = 2 * _OPEN_CELLS * workers * 4
        arrivals = 2 * _ARRIVAL_CELLS * 2 * workers * 4
        # The system gives it pages when they are first touched.
        self.memory = mmap.mmap(-1, opened + 2 * arrivals + 2 * workers * 4)
        words = memoryview(self.memory).cast("I")
        self.arrival_offset = opened
        self.total_offset = opened + 2 * arrivals
        self.opened = words[: opened // 4]
        self.arrivals = words[opened // 4 : (opened + arrivals) // 4]
        self.minutes = words[(opened + arrivals) // 4 : self.total_offset // 4]
        self.totals = words[self.total_offset // 4 :][:workers]
        self._used = words[self.total_offset // 4 :][workers:]

    def column(self, worker: int) -> Column:
        """Return what worker number *worker* writes; what one of that number left behind is cleared."""
        if self._used[worker]:
            self.clear(worker)
        self._used[worker] = 1
        return Column(self, worker)

    def clear(self, worker: int) -> None:
        """Forget what worker number *worker* counted; it must have ended."""
        for cells in (self.totals, self.opened, self.arrivals, self.minutes, self._used):
            nothing = memoryview(bytes(len(cells) // self.workers * 4)).cast("I")
            cells[worker :: self.workers] = nothing


class Column:
    """What one worker counts, and what it can see of the others.

    Attributes:
        is_alone: whether there are no other workers.
    """

    __slots__ = (
        "_arrival_offset",
        "_arrivals",
        "_both",
        "_each",
        "_memory",
        "_minutes",
        "_opened",
        "_total_offset",
        "_totals",
        "_worker",
        "_workers",
        "is_alone",
    )

    def __init__(self, table: ConnectionTable, worker: int) -> None:
        self._worker = worker
        self._workers = table.workers
        self._memory = table.memory
        self._arrival_offset = table.arrival_offset
        self._total_offset = table.total_offset
        self._opened = table.opened
        self._arrivals = table.arrivals
        self._minutes = table.minutes
        self._totals = table.totals
        # One cell of all workers stands in one piece, and is read as one.
        self._each = struct.Struct(f"{table.workers}I").unpack_from
        self._both = struct.Struct(f"{2 * table.workers}I").unpack_from
        self.is_alone = table.workers == 1

    def enter(self, network: str) -> None:
        """Count an open connection from *network*."""
        self._totals[self._worker] += 1
        if not self.is_alone:
            first, second = self._open_cells(network)
            self._opened[first + self._worker] += 1
            self._opened[second + self._worker] += 1

    def leave(self, network: str) -> None:
        """Forget an open connection from *network*."""
        self._totals[self._worker] -= 1
        if not self.is_alone:
            first, second = self._open_cells(network)
            self._opened[first + self._worker] -= 1
            self._opened[second + self._worker] -= 1

    def _open_cells(self, network: str) -> tuple[int, int]:
        place = hash(network)
        workers = self._workers
        return (place & _OPEN_MASK) * workers, (_OPEN_CELLS + (place >> 16 & _OPEN_MASK)) * workers

    @property
    def total(self) -> int:
        """How many connections all workers have."""
        return sum(self._each(self._memory, self._total_offset))

    def elsewhere(self, network: str, enough: int) -> int:
        """Return how many connections from *network* the other workers have.

        Args:
            network: as it was entered.
            enough: the number may be inexact, but never too small, as long as it is no greater than this.
        """
        if self.is_alone:
            return 0
        count = _MOST
        for cell in self._open_cells(network):
            counts = self._each(self._memory, 4 * cell)
            count = min(count, sum(counts) - counts[self._worker])
            if count <= enough:
                break
        return count

    def arrive(self, network: str, now: float, limit: int) -> bool:
        """Count that a connection came from *network*, unless that makes more than *limit* within a minute.

        What came in the minute of the clock before this one counts by the part of it that is less than a minute ago.

        Args:
            network: where it comes from.
            now: seconds, by a clock that all workers share.
            limit: how many may come.
        """
        place = hash(network)
        pair = 2 * self._workers
        rows = (place >> 32 & _ARRIVAL_MASK) * pair, (_ARRIVAL_CELLS + (place >> 46 & _ARRIVAL_MASK)) * pair
        minute = int(now / _MINUTE)
        shift = self._worker + (self._workers if minute & 1 else 0)
        arrivals, minutes = self._arrivals, self._minutes
        # Told first and looked at then: of two workers that do so at the same time, one at least sees the other.
        for row in rows:
            index = row + shift
            if minutes[index] == minute:
                arrivals[index] += 1
            else:
                arrivals[index] = 1
                minutes[index] = minute
        ago = 1.0 - (now / _MINUTE - minute)
        for row in rows:
            # All there is, however old, is mostly few enough.
            counts = self._both(self._memory, self._arrival_offset + 4 * row)
            if sum(counts) <= limit or self._came(row, counts, minute, ago) <= limit:
                return True
        for row in rows:
            arrivals[row + shift] -= 1
        return False

    def _came(self, row: int, counts: tuple[int, ...], minute: int, ago: float) -> float:
        came = 0.0
        for number, count in enumerate(counts):
            stamp = self._minutes[row + number]
            if stamp == minute:
                came += count
            elif stamp == minute - 1:
                came += count * ago
        return came
