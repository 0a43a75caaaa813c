"""What mechanisms from elsewhere do beside the loop: some threads, a bounded queue, and an end to all patience."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from gatepost.errors import StoreUnavailable

__all__ = ["Beside"]

_THREADS: Final = 4
_QUEUE: Final = 64
_PATIENCE: Final = 30.0


class Beside:
    """Threads of their own, made when first needed: nothing that waits there keeps a password from being checked.

    They have the ordinary priority, since they wait for others rather than compute.

    Args:
        threads: how many.
        queue_limit: how much may wait for one.
        patience: how long somebody waits for what is done there, in seconds.
    """

    def __init__(self, threads: int = _THREADS, queue_limit: int = _QUEUE, patience: float = _PATIENCE) -> None:
        self._threads = threads
        self._patience = patience
        self._room = threading.BoundedSemaphore(threads + queue_limit)
        self._executor: ThreadPoolExecutor | None = None

    async def run(self, work: Callable[[], object]) -> object:
        """Return what *work* returns.

        Raises:
            StoreUnavailable: too much waits already, or it takes too long; it is then left alone.
        """
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self._threads, "beside")
        if not self._room.acquire(blocking=False):
            raise StoreUnavailable("too many logins wait for what a mechanism does in a thread")
        try:
            future = self._executor.submit(work)
        except BaseException:
            self._room.release()
            raise
        future.add_done_callback(self._make_room)  # also when nobody waits for it any more
        try:
            async with asyncio.timeout(self._patience):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise StoreUnavailable(f"what a mechanism waits for takes longer than {self._patience:g} s") from None

    def _make_room(self, _future: Future[object]) -> None:
        self._room.release()

    def close(self) -> None:
        """Forget what waits; let go of the threads."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
