"""What the process holds: tasks, timers, descriptors, memory."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Weight", "descriptors", "resident_kib", "weigh"]

_MEMORY_SHARE = 0.2
# Threads' arenas and caches of the libraries come and go by so much, whatever is said.
_MEMORY_SLACK_KIB = 8 * 1024
# A thread opens its connection when it is first asked; SQLite closes a file only when nobody in the process locks it.
_DATABASES_SLACK = 4


@dataclass(frozen=True)
class Weight:
    """What a process holds when nothing is going on.

    Attributes:
        tasks: of the loop.
        timers: of all loops, but for those that were cancelled.
        descriptors: open ones, but for those of databases.
        databases: open ones of databases.
        memory_kib: what is in RAM.
    """

    tasks: int
    timers: int
    descriptors: int
    databases: int
    memory_kib: int

    def is_no_more_than(self, before: Weight) -> bool:
        """Tell whether nothing has grown since *before*."""
        return (
            self.tasks <= before.tasks
            and self.timers <= before.timers
            and self.descriptors <= before.descriptors
            and self.databases <= before.databases + _DATABASES_SLACK
            and self.memory_kib <= before.memory_kib * (1 + _MEMORY_SHARE) + _MEMORY_SLACK_KIB
        )


def resident_kib(process_id: int) -> int:
    """Return how much memory a process has in RAM."""
    for line in Path(f"/proc/{process_id}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError("no VmRSS")


def weigh() -> Weight:
    """Weigh this process, and the loop that runs."""
    gc.collect()
    # uvloop does not show its timers; as objects they cannot hide.
    timers = [each for each in gc.get_objects() if type(each).__name__ == "TimerHandle" and not each.cancelled()]
    names = descriptors()
    databases = sum(".db" in name for name in names)
    return Weight(len(asyncio.all_tasks()), len(timers), len(names) - databases, databases, resident_kib(os.getpid()))


def descriptors(process_id: int | str = "self") -> list[str]:
    """Return what the open descriptors of a process lead to."""
    names = []
    for number in os.listdir(f"/proc/{process_id}/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that reads this folder
            names.append(os.readlink(f"/proc/{process_id}/fd/{number}"))
    return names
