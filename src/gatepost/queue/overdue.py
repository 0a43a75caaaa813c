"""Ends attempts that take too long: one lazy timer for all of them, where one each would be set and never ring."""

from __future__ import annotations

import asyncio

__all__ = ["Overdue"]


class Overdue:
    """Watches tasks."""

    def __init__(self) -> None:
        self._due: dict[asyncio.Task[object], float] = {}
        self._ended: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = 0.0

    def watch(self, seconds: float) -> asyncio.Task[object]:
        """Let the current task have so long, then cancel it; return it, for `forget`."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        due = self._due[task] = loop.time() + seconds
        if self._timer is None or due < self._rings_at:
            self._ring_at(loop, due)
        return task

    def forget(self, task: asyncio.Task[object]) -> None:
        """Let a task have all the time it wants again."""
        self._due.pop(task, None)
        if task in self._ended:  # it came to its end all the same
            self._ended.discard(task)
            task.uncancel()

    def has_ended(self, task: asyncio.Task[object]) -> bool:
        """Tell whether a task that was cancelled was so by us, and by nobody else; then it may go on."""
        if task not in self._ended:
            return False
        self._ended.discard(task)
        return task.uncancel() == 0

    def _ring_at(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = due
        self._timer = loop.call_at(due, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        for task in [task for task, due in self._due.items() if due <= now]:
            del self._due[task]
            self._ended.add(task)
            task.cancel()
        if self._due:
            self._ring_at(loop, min(self._due.values()))
