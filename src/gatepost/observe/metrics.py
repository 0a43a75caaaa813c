"""Count events: an event listener that adds to its process's row of the board."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import Any

from gatepost.observe.board import Board
from gatepost.observe.event import Event
from gatepost.observe.families import FAMILIES, LOG_LINES_LOST
from gatepost.observe.family import Family, Labels, series_of

__all__ = ["Metrics"]


class Metrics:
    """Adds what events say to a row of the board; an event listener that takes less than a microsecond for each.

    Args:
        board: of the server.
        number: of the row.
    """

    def __init__(self, board: Board, number: int) -> None:
        self._row = board.row(number)
        self._adding: dict[type[Event], tuple[Callable[[Any], None], ...]] = {}
        for family in FAMILIES:
            for kind, labels in family.counts.items():
                self._adding[kind] = (*self._adding.get(kind, ()), self._adder(family, labels))
        self._lost = self._row.place((LOG_LINES_LOST,))

    def __call__(self, event: Event) -> None:
        """Count *event*."""
        for add in self.for_kind(event.__class__):
            add(event)

    def for_kind(self, kind: type[Event]) -> tuple[Callable[[Any], None], ...]:
        """Return what counts events of a kind."""
        return self._adding.get(kind, ())

    def count_lost_lines(self, count: int) -> None:
        """Add to the log lines that could not be written.  Callable from the log's thread."""
        self._row.values[self._lost] += count

    def _adder(self, family: Family, labels: Labels) -> Callable[[Any], None]:
        places: dict[tuple[str, ...], int] = {}
        values, amount, buckets = self._row.values, family.amount, family.buckets

        def find(chosen: tuple[str, ...]) -> int:
            if family.kind == "histogram":
                place = self._row.place(*series_of(family, chosen))
            else:
                place = self._row.place((family.name, *chosen))
            places[chosen] = place
            return place

        def count(event: Any) -> None:
            chosen = labels(event)
            values[places[chosen] if chosen in places else find(chosen)] += 1

        def add(event: Any) -> None:
            chosen = labels(event)
            values[places[chosen] if chosen in places else find(chosen)] += amount(event) if amount else 1

        def observe(event: Any) -> None:
            chosen, value = labels(event), amount(event) if amount else 0.0
            place = places.get(chosen)
            if place is None:
                place = find(chosen)
            if place:
                values[place + bisect_left(buckets, value)] += 1
                values[place + len(buckets) + 1] += value
            else:
                values[0] += 1

        return observe if buckets else count if amount is None else add
