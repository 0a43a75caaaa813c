"""What the clock tells of a class of failed logins: its distribution, and how far it is from the reference class."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["ALLOWED", "Verdict", "judge", "table"]

ALLOWED: Final = 0.03
"""How far the median of a class may be from that of the reference class, as a part of the latter."""


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
        from_itself: distance between the medians of its two halves.
    """

    name: str
    count: int
    median: float
    p5: float
    p95: float
    distance: float
    from_itself: float

    @property
    def is_apart(self) -> bool:
        """Whether the clock tells it from the reference class."""
        return abs(self.distance) > max(ALLOWED, self.from_itself)


def judge(times: Mapping[str, Sequence[float]], reference: str) -> list[Verdict]:
    """Lay each class beside the one that is named as *reference*; the tries of a class are in their order."""
    middle = statistics.median(times[reference])
    verdicts = []
    for name, those in times.items():
        ordered = sorted(those)
        # Every second one: what drifts in the course of a run is in both halves.
        halves = [statistics.median(those[start::2] or those) for start in (0, 1)]
        verdicts.append(
            Verdict(
                name,
                len(those),
                statistics.median(those),
                ordered[int(0.05 * (len(ordered) - 1) + 0.5)],
                ordered[int(0.95 * (len(ordered) - 1) + 0.5)],
                statistics.median(those) / middle - 1,
                abs(halves[0] - halves[1]) / middle,
            )
        )
    return verdicts


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
