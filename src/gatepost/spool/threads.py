"""Threads that wait for the disk in the loop's place.

In place of asyncio's executors, whose futures, locks and callbacks cost three times what this does, for each piece of a
large body.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

__all__ = ["Threads"]

T = TypeVar("T")


class Threads:
    """So many threads, which begin to live with the first piece of work and take one after the other.

    Args:
        count: how many.
        name: of each, before its number.
    """

    def __init__(self, count: int, name: str) -> None:
        self._names = [f"{name}-{number}" for number in range(count)]
        self._works: queue.SimpleQueue[_Work[Any] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._is_stopped = False

    def run(self, work: Callable[..., T], *arguments: object) -> asyncio.Future[T]:
        """Let a thread do *work*; what it returns or raises is what the future holds.

        Whoever cancels the future does not hear of it, but the work is done.

        Raises:
            RuntimeError: after `stop`, or no thread can be started.
        """
        if self._is_stopped:
            raise RuntimeError("the threads have stopped")
        if len(self._threads) < len(self._names):
            self._start()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._works.put(_Work(future, work, arguments))
        return future

    def stop(self) -> None:
        """Do what waits, and end the threads; waits for all of it."""
        self._is_stopped = True
        for _ in self._threads:
            self._works.put(None)
        for thread in self._threads:
            thread.join()

    def _start(self) -> None:
        for name in self._names[len(self._threads) :]:
            # Daemons: a process that forgot to stop them can end.
            thread = threading.Thread(target=self._serve, name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no room for one more: those that live do it all, until the next work tries again
                if not self._threads:
                    raise
                return
            self._threads.append(thread)

    def _serve(self) -> None:
        while (work := self._works.get()) is not None:
            work.do()
            del work  # what it holds is large, and the next may be long in coming


class _Work(Generic[T]):
    """One call, and who waits for its end."""

    __slots__ = ("_arguments", "_error", "_future", "_result", "_work")

    _result: T

    def __init__(self, future: asyncio.Future[T], work: Callable[..., T], arguments: tuple[object, ...]) -> None:
        self._future = future
        self._work = work
        self._arguments = arguments
        self._error: BaseException | None = None

    def do(self) -> None:
        """Call; in a thread."""
        try:
            self._result = self._work(*self._arguments)
        except BaseException as error:  # noqa: BLE001 - it is raised where the end is waited for
            self._error = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._future.get_loop().call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        if self._future.done():
            return
        if self._error is None:
            self._future.set_result(self._result)
        else:
            self._future.set_exception(self._error)
            self._error = None  # no circle of error, frame and this
