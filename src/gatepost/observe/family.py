"""What there is to say about one metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gatepost.observe.board import Series
from gatepost.observe.event import Event

__all__ = ["Family", "Labels", "series_of"]

Labels = Callable[[Any], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric.

    Args:
        name: in the exposition.
        kind: what it is there.
        help: what it says, with the values of its labels.
        labels: their names.
        counts: the events it is made from, and how the values of the labels are read from each; none for a gauge.
        amount: what an event adds to a counter, or what is observed for a histogram.
        buckets: upper bounds of a histogram.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    counts: Mapping[type[Event], Labels] = field(default_factory=dict)
    amount: Callable[[Any], float] | None = None
    buckets: tuple[float, ...] = ()


def series_of(family: Family, labels: tuple[str, ...]) -> tuple[Series, ...]:
    """Return the series of a histogram on the board: one for each bucket (not cumulated), the rest, the sum."""
    return tuple((family.name, *labels, part) for part in (*map(repr, family.buckets), "+Inf", "sum"))
