"""What the clock tells of a class of failed logins: its distribution, and how far it is from the reference class."""

from __future__ import annotations

import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["ALLOWED", "Verdict", "judge", "table"]

ALLOWED: Final = 0.03
"""How far the median of a class may be from that of the reference class, as a part of the latter."""

_HALVINGS: Final = 200


@dataclass(frozen=True)
class Verdict:
    """One class beside the reference class; times are in seconds, distances parts of the reference's median.

    Args:
        name: of the class.
        count: how many tries.
        median: of their times.
        p5: time that one of twenty is below.
        p95: time that one of twenty is above.
        distance: of its median from that of the reference class.
        from_itself: distance between the medians of its two halves, however it is halved: 19 of 20 times no more.
        bar: how far it may be from the reference class.
    """

    name: str
    count: int
    median: float
    p5: float
    p95: float
    distance: float
    from_itself: float
    bar: float

    @property
    def is_apart(self) -> bool:
        """Whether the clock tells it from the reference class."""
        return abs(self.distance) > self.bar


def judge(times: Mapping[str, Sequence[float]], reference: str) -> list[Verdict]:
    """Lay each class beside the one that is named as *reference*.

    Where a class, or the reference, is further from itself than what is allowed, the clock cannot tell more than that.
    """
    middle = statistics.median(times[reference])
    verdicts, own = [], _from_itself(times[reference]) / middle
    for name, those in times.items():
        ordered = sorted(those)
        from_itself = _from_itself(those) / middle
        verdicts.append(
            Verdict(
                name,
                len(those),
                statistics.median(those),
                _quantile(ordered, 0.05),
                _quantile(ordered, 0.95),
                statistics.median(those) / middle - 1,
                from_itself,
                max(ALLOWED, from_itself, own),
            )
        )
    return verdicts


def _from_itself(times: Sequence[float]) -> float:
    chance, shuffled, distances = random.Random(1), list(times), []
    for _ in range(_HALVINGS):
        chance.shuffle(shuffled)
        halves = [statistics.median(shuffled[start::2] or shuffled) for start in (0, 1)]
        distances.append(abs(halves[0] - halves[1]))
    return _quantile(sorted(distances), 0.95)


def _quantile(ordered: Sequence[float], part: float) -> float:
    return ordered[int(part * (len(ordered) - 1) + 0.5)]


def table(title: str, verdicts: Sequence[Verdict], reference: str) -> str:
    """Return a table of them."""
    lines = [f"{title}; times in ms", "", "| class | tries | p5 | median | p95 | from reference | from itself | |"]
    lines.append("|---|--:|--:|--:|--:|--:|--:|---|")
    for each in verdicts:
        said = "APART" if each.is_apart else ("reference" if each.name == reference else "")
        times = " | ".join(f"{moment * 1000:.3f}" for moment in (each.p5, each.median, each.p95))
        lines.append(
            f"| {each.name} | {each.count} | {times} | {each.distance:+.2%} | {each.from_itself:.2%} | {said} |"
        )
    return "\n".join(lines) + "\n"
