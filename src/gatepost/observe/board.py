"""Numbers that all processes of a server share: memory that the parent makes before it forks, a row for each process.

    board = Board(workers=4)          # in the parent, before the first fork
    row = board.row(2)                # in worker 2: nobody else writes there
    place = row.place(("gatepost_spool_bytes_total",))
    row.values[place] += 1
    board.totals()                    # in any process: the sum of each series over all rows

A process that takes the place of a dead one goes on with its row, so no number ever falls; a SIGKILL costs none.  It
is plain memory and no file: where a disk is full, writing into a mapped file ends a process with SIGBUS.
"""

from __future__ import annotations

import json
import mmap
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

__all__ = ["Board", "Row", "Series"]

Series = tuple[str, ...]
"""Name of a metric, then the values of its labels."""

_SERIES: Final = 1024  # in one row
_NAMES_BYTES: Final = 128 * _SERIES
_VALUES_AT: Final = 8  # after how many series there are, and how many octets their names take
_NAMES_AT: Final = _VALUES_AT + 8 * _SERIES
_ROW_BYTES: Final = _NAMES_AT + _NAMES_BYTES


class Row:
    """The numbers of one process.

    Attributes:
        values: the numbers; their places are found by `place`.  Place 0 counts what found no place.
    """

    def __init__(self, memory: memoryview) -> None:
        self._head = memory[:_VALUES_AT].cast("Q")
        self.values = memory[_VALUES_AT:_NAMES_AT].cast("d")
        self._names = memory[_NAMES_AT:]
        self._places = {series: place for place, series in enumerate(self._series(), 1)}

    def place(self, series: Series, *following: Series) -> int:
        """Return the place of *series*, and keep those right behind it for *following*, which come only together.

        When there is no room for more, everybody gets place 0: labels have few values, so that does not happen.
        """
        place = self._places.get(series)
        return place if place is not None else self._add((series, *following))

    def _add(self, block: tuple[Series, ...]) -> int:
        count, end = divmod(self._head[0], _NAMES_BYTES)
        names = "".join(json.dumps(series) + "\n" for series in block).encode()
        if count + len(block) >= _SERIES or end + len(names) >= _NAMES_BYTES:
            return 0
        self._names[end : end + len(names)] = names
        # Whoever reads, or takes the place of a dead process, goes by this number: it grows when the names are there.
        self._head[0] = (count + len(block)) * _NAMES_BYTES + end + len(names)
        for place, series in enumerate(block, count + 1):
            self._places[series] = place
        return count + 1

    def _series(self) -> list[Series]:
        lines = bytes(self._names[: self._head[0] % _NAMES_BYTES]).splitlines()
        return [tuple(json.loads(line)) for line in lines]

    def read(self) -> Mapping[Series, float]:
        """Return every number."""
        series = self._series()
        return dict(zip(series, self.values[1 : len(series) + 1], strict=True))


class Board:
    """The rows of a server's processes.

    Args:
        workers: how many there are.

    Attributes:
        workers: how many there are.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._memory = memoryview(mmap.mmap(-1, _ROW_BYTES * (workers + 1)))

    @property
    def parent(self) -> int:
        """Number of the parent's row; workers have theirs by their own number."""
        return self.workers

    def row(self, number: int) -> Row:
        """Return the row of a process, for that process to write."""
        start = number * _ROW_BYTES
        return Row(self._memory[start : start + _ROW_BYTES])

    def totals(self) -> Mapping[Series, float]:
        """Return the sum of each series over all rows, what found no place under ``("",)``."""
        totals: dict[Series, float] = defaultdict(float)
        for number in range(self.workers + 1):
            row = self.row(number)
            totals["",] += row.values[0]
            for series, value in row.read().items():
                totals[series] += value
        return totals
