"""Write the metrics as Prometheus reads them (text format 0.0.4): the board's numbers, and gauges read just now."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Final

from gatepost.observe.board import Series
from gatepost.observe.families import FAMILIES, UNCOUNTED
from gatepost.observe.family import Family, series_of

__all__ = ["CONTENT_TYPE", "expose"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})

Values = dict[tuple[str, ...], float]


def expose(totals: Mapping[Series, float], gauges: Mapping[Series, float]) -> str:
    """Return the whole text.

    Args:
        totals: of counters and histograms, as `Board.totals` gives them.
        gauges: what was read just now; one that is missing is left out.
    """
    found: dict[str, Values] = defaultdict(dict)
    for series, value in (*totals.items(), *gauges.items()):
        found[series[0] or UNCOUNTED][series[1:]] = value
    return "".join(f"{line}\n" for family in FAMILIES for line in _lines(family, found[family.name]))


def _lines(family: Family, values: Values) -> Iterator[str]:
    if not values and family.kind == "gauge":
        return
    yield f"# HELP {family.name} {family.help.translate({10: ' ', 92: '/'})}"
    yield f"# TYPE {family.name} {family.kind}"
    if family.kind == "histogram":
        yield from _histogram(family, values)
        return
    if not values and not family.labels:
        values = {(): 0.0}
    for labels, value in sorted(values.items()):
        yield f"{family.name}{_labels(family.labels, labels)} {_number(value)}"


def _histogram(family: Family, values: Values) -> Iterator[str]:
    chosen = {labels[: len(family.labels)] for labels in values}
    if not family.labels:
        chosen.add(())
    bounds = [*map(_number, family.buckets), "+Inf"]
    for labels in sorted(chosen):
        *counts, total = (values.get(series[1:], 0.0) for series in series_of(family, labels))
        cumulated = list(accumulate(counts))
        for bound, count in zip(bounds, cumulated, strict=True):
            yield f"{family.name}_bucket{_labels((*family.labels, 'le'), (*labels, bound))} {_number(count)}"
        yield f"{family.name}_sum{_labels(family.labels, labels)} {_number(total)}"
        yield f"{family.name}_count{_labels(family.labels, labels)} {_number(cumulated[-1])}"


def _labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    pairs = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in zip(names, values, strict=True))
    return f"{{{pairs}}}" if pairs else ""


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("+Inf" if value > 0 else "-Inf")
    return str(int(value)) if value == int(value) else repr(value)
