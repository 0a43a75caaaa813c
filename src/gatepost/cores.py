"""How many cores there are for this process: those it may run on, within the quota of its control group."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cores"]


def cores(root: Path = Path("/")) -> int:
    """Return the lesser of the CPU affinity and the quota, at least one.

    Args:
        root: where ``proc`` and ``sys`` are found.
    """
    quota = _quota(root)
    allowed = len(os.sched_getaffinity(0))
    return max(1, allowed if quota is None else min(allowed, int(quota)))


def _quota(root: Path) -> float | None:
    """Return the smallest quota on the way from our control group to the top, in cores; None if there is none."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            found += [_limit(folder, "cpu.max") for folder in _upwards(root / "sys/fs/cgroup", path)]
        elif "cpu" in controllers.split(","):
            top = root / "sys/fs/cgroup" / controllers
            found += [_limit(folder, "cpu.cfs_quota_us", "cpu.cfs_period_us") for folder in _upwards(top, path)]
    return min((each for each in found if each is not None), default=None)


def _upwards(top: Path, path: str) -> list[Path]:
    # In a container the path may be that of the host, of which only the top is to be seen.
    parts = [part for part in path.split("/") if part and part != ".."]
    return [top.joinpath(*parts[:length]) for length in range(len(parts), -1, -1)]


def _limit(folder: Path, *names: str) -> float | None:
    try:
        words = " ".join((folder / name).read_text(encoding="ascii") for name in names).split()
        quota, period = int(words[0]), int(words[1])
    except (OSError, ValueError, IndexError):
        return None  # "max", or no such file
    return quota / period if quota > 0 and period > 0 else None
