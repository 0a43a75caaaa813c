"""Check passwords away from the loop: a pool of hashing threads with a bounded queue, and a memory of good ones.

The pool's threads have the lowest priority, so that hashing never takes the processor from the loop, and rest as long
as they worked in vain: who guesses gets half of their time at most, for caches and memory are shared.  The memory keeps
no password and no hash of one alone: a keyed hash of name, password and stored verifier, for some minutes.  A changed
verifier misses by itself; a "no" is never remembered.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Final, Generic, TypeAlias, TypeVar

from gatepost.errors import StoreUnavailable
from gatepost.identity.store import Account, Credential
from gatepost.identity.verifiers import Check, check_of, matching, stands
from gatepost.model.clock import Clock
from gatepost.model.identity import Secret
from gatepost.state.keys import Keys

__all__ = ["HashingPool", "PasswordMemory", "Passwords"]

T = TypeVar("T")

# What is checked, by its tags, and what of it would let its bringer in.
_Key: TypeAlias = tuple[tuple[bytes, ...], tuple[bool, ...]]

_LOWEST_PRIORITY: Final = 19


class HashingPool:
    """Threads that hash.

    Args:
        threads: how many.
        queue_limit: how many checks may wait for a thread.
        rest: does nothing for so many seconds.
    """

    def __init__(self, threads: int = 1, queue_limit: int = 64, rest: Callable[[float], None] = time.sleep) -> None:
        self._rest = rest
        self._executor = ThreadPoolExecutor(threads, "hashing", initializer=_yield_to_others)
        self._room = threading.BoundedSemaphore(threads + queue_limit)

    async def run(self, work: Callable[[], T], is_vain: Callable[[T], bool] = lambda _: False) -> T:
        """Do *work* in a thread, which rests afterwards if *is_vain* tells that it came to nothing.

        Raises:
            StoreUnavailable: too many wait already.
        """
        if not self._room.acquire(blocking=False):
            raise StoreUnavailable("too many logins wait for a hashing thread")
        future: Future[T] = Future()
        future.add_done_callback(self._make_room)  # also when its client has gone and it never ran
        try:
            self._executor.submit(self._do, future, work, is_vain).add_done_callback(partial(_hand_on, future))
        except BaseException:
            future.cancel()
            raise
        return await asyncio.wrap_future(future)

    def _do(self, future: Future[T], work: Callable[[], T], is_vain: Callable[[T], bool]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        began = time.thread_time()
        result = work()
        future.set_result(result)
        if is_vain(result):
            self._rest(time.thread_time() - began)

    def _make_room(self, _future: Future[T]) -> None:
        self._room.release()

    def close(self) -> None:
        """Forget what waits; let go of the threads."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _hand_on(future: Future[Any], task: Future[None]) -> None:
    """Tell who waits what else came of it than a result: it was forgotten, or raised."""
    if task.cancelled():
        future.cancel()
    elif (error := task.exception()) is not None and not future.done():
        future.set_exception(error)


def _yield_to_others() -> None:
    # Linux counts priority by thread; elsewhere, or where it is not allowed, these threads are like any other.
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
        # The loop's thread is SCHED_BATCH: on waking it takes the processor from nobody else than SCHED_IDLE at once.
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


class PasswordMemory:
    """Remembers which password opened which verifier.

    Args:
        keys: of the node.
        clock: what time it is.
        seconds: how long something is remembered; 0 is not at all.
        entries: how many at once; the one not used for longest is forgotten first.
    """

    def __init__(self, keys: Keys, clock: Clock, seconds: float = 300, entries: int = 10_000) -> None:
        self._key = keys.derive("verified passwords")
        self._clock = clock
        self._seconds = seconds
        self._entries = entries
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def tag(self, login: str, password: Secret, verifier: Secret) -> bytes:
        """Return what stands for these three, and for no others."""
        hashed = hashlib.blake2b(key=self._key, digest_size=32)
        for part in (login.encode(), password.reveal(), verifier.reveal()):
            hashed.update(len(part).to_bytes(8, "big"))
            hashed.update(part)
        return hashed.digest()

    def knows(self, tag: bytes) -> bool:
        """Tell whether *tag* was remembered and its time is not over; that time does not start anew."""
        until = self._until.get(tag)
        if until is None:
            return False
        if self._clock.monotonic() >= until:
            del self._until[tag]
            return False
        self._until.move_to_end(tag)
        return True

    def remember(self, tag: bytes) -> None:
        """Remember *tag*."""
        if self._seconds <= 0 or self._entries <= 0:
            return
        self._until[tag] = self._clock.monotonic() + self._seconds
        self._until.move_to_end(tag)
        if len(self._until) > self._entries:
            self._until.popitem(last=False)


class _Shared(Generic[T]):
    """Work that several wait for; when all have gone, it is cancelled."""

    def __init__(self, work: Coroutine[None, None, T]) -> None:
        self._task = asyncio.create_task(work)
        self._waiting = 0

    async def result(self) -> T:
        self._waiting += 1
        try:
            return await asyncio.shield(self._task)
        finally:
            self._waiting -= 1
            if self.is_left:
                self._task.cancel()

    @property
    def is_left(self) -> bool:
        """Whether nobody waits for it any more."""
        return not self._waiting


def _is_no(found: int | None) -> bool:
    return found is None


class Passwords:
    """Finds the credential of an account that a password opens.

    The same password for the same account is hashed once for all who bring it at the same time, such as the fifty
    connections of an application after a restart.
    """

    def __init__(self, pool: HashingPool, memory: PasswordMemory) -> None:
        self._pool = pool
        self._memory = memory
        self._running: dict[_Key, _Shared[int | None]] = {}

    async def find(
        self,
        account: Account,
        password: Secret,
        admits: Callable[[Credential], bool] = stands,
        pad: Callable[[Account], Account] | None = None,
    ) -> Credential | None:
        """Return the credential that *password* opens, whatever its state; a decoy takes as long and never opens.

        Args:
            account: whose password it would be.
            password: as it came over the wire.
            admits: tells whether a credential would let its bringer in: only then is it known again without hashing,
                and only then is anything spared.
            pad: returns an account with what makes a no for it cost what every no costs.

        Raises:
            StoreUnavailable: too many checks wait already.
        """
        for each in check_of(account).all:
            if self._memory.knows(self._memory.tag(account.login, password, each.verifier)) and admits(each.credential):
                return each.credential
        check = check_of(account if pad is None else pad(account), admits)
        tags = tuple([self._memory.tag(account.login, password, each.verifier) for each in check.all])
        found = await self._match((tags, check.opens), check, password)
        if found is None:
            return None
        if check.opens[found]:
            self._memory.remember(tags[found])
        return check.all[found].credential

    async def _match(self, key: _Key, check: Check, password: Secret) -> int | None:
        shared = self._running.get(key)
        if shared is None:
            shared = self._running[key] = _Shared(self._pool.run(lambda: matching(check, password), _is_no))
        try:
            return await shared.result()
        finally:
            # Who comes now begins anew, also when it was cancelled because all had gone.
            if self._running.get(key) is shared and shared.is_left:
                del self._running[key]

    def close(self) -> None:
        """Let go of the threads."""
        self._pool.close()
