"""Accounts in a file that somebody else writes: read whole, and again when it has changed, in a thread.

What was read last stays in force while the file is missing, half-written or wrong; the event `StoreOutdated` says why,
and `StoreBack` that it is over.  A file that is replaced counts at the next look-up.  One that is changed in place
counts once it has stood still for a second and ends with a newline: until then somebody may still be writing it.
"""

from __future__ import annotations

import asyncio
import collections
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from gatepost.errors import StoreUnavailable
from gatepost.identity.store import ARGON2ID, HASH, MECHANISM_SCHEMES, SCRAM_SHA_256, Account, Credential, Survey, Work
from gatepost.model.clock import Clock
from gatepost.observe.events import Event, StoreBack, StoreOutdated

__all__ = ["SIZE_LIMIT", "Contents", "FileStore", "Reader", "read_file"]

SIZE_LIMIT: Final = 64 << 20
"""Largest file that is read, in octets, unless a smaller one is the limit."""

_SETTLING_SECONDS: Final = 1.0
_WRITABLE_BY_OTHERS: Final = 0o022


class Contents(NamedTuple):
    """What a file holds.

    Args:
        accounts: by login.
        likenesses: for each login with a hash that another program made, one of the same cost that nothing opens.
    """

    accounts: Mapping[str, Account]
    likenesses: Mapping[str, str] = {}


Reader = Callable[[bytes], Contents]
"""Makes accounts of octets; slow at will.  Raises `ValueError` with ``line: what is wrong, what to do``."""


class _Mark(NamedTuple):
    """What tells one state of a file from another."""

    device: int
    inode: int
    modified: int
    changed: int
    size: int

    def is_same_file(self, other: _Mark) -> bool:
        return (self.device, self.inode) == (other.device, other.inode)


def _mark(status: os.stat_result) -> _Mark:
    return _Mark(status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)


class FileStore:
    """The accounts in the file at *path*.

    Args:
        path: the file.
        read: makes accounts of it.
        clock: what time it is.
        name: of the store.
        size_limit: a larger file is refused.
        emit: hears that a changed file cannot be used.
    """

    def __init__(
        self,
        path: Path,
        read: Reader,
        clock: Clock,
        *,
        name: str = "file",
        size_limit: int = SIZE_LIMIT,
        emit: Callable[[Event], None] | None = None,
    ) -> None:
        self.name = name
        self._path, self._read, self._clock, self._limit, self._emit = path, read, clock, size_limit, emit
        self._contents: Contents | None = None
        self._problem = self._flaw = ""
        self._was_outdated = self._is_closed = False
        self._mark: _Mark | None = None
        self._moving: _Mark | None = None
        self._moving_since = 0.0
        # Held open, so that no new file can be taken for the one that was read.
        self._descriptor: int | None = None
        self._version = 0
        self._surveyed: int | None = None
        self._lock = asyncio.Lock()

    async def find(self, login: str) -> Account | None:
        """Return the account with that prepared name, as it is now."""
        contents = await self._current()
        return contents.accounts.get(login)

    async def has_changed(self) -> bool:
        """Tell whether anything may have changed since the last `survey`."""
        await self._current()
        return self._version != self._surveyed

    async def survey(self, now: float) -> Survey:
        """Look at all accounts."""
        contents, version = await self._current(), self._version
        survey = await asyncio.to_thread(_survey, contents, now)
        self._surveyed = version
        return survey

    def close(self) -> None:
        """Let go of the file."""
        self._is_closed = True
        self._let_go()

    def _let_go(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    async def _current(self) -> Contents:
        if self._is_due():
            async with self._lock:
                if self._is_due():  # nobody else did it while we waited
                    await self._load()
        if self._contents is None:
            raise StoreUnavailable(self._problem)
        return self._contents

    def _is_due(self) -> bool:
        """Tell whether the file should be read."""
        try:
            mark = _mark(self._path.stat())
        except OSError as error:
            self._tell(f"{self._path}: {error.strerror}")
            return False
        if mark == self._mark:
            # Also when it was missing for a while.
            self._moving = None
            self._tell(self._flaw)
            return False
        if self._contents is None or self._mark is None or not mark.is_same_file(self._mark):
            return True
        now = self._clock.monotonic()
        if mark != self._moving:
            self._moving, self._moving_since = mark, now
        return now - self._moving_since >= _SETTLING_SECONDS

    async def _load(self) -> None:
        try:
            descriptor, mark, octets = await asyncio.to_thread(read_file, self._path, self._limit)
        except (OSError, ValueError) as error:
            reason = f" {error.strerror}" if isinstance(error, OSError) else str(error)
            self._flaw = f"{self._path}:{reason}"
            # Looked at again when it changes, also when it is only given to others.
            self._mark = self._seen()
            self._tell(self._flaw)
            return
        if self._seen() != mark or self._is_closed:
            os.close(descriptor)
            self._tell(f"{self._path}:1: was changed while it was read")
            return
        was_changed_in_place = self._mark is not None and mark.is_same_file(self._mark)
        self._let_go()
        self._descriptor, self._mark, self._moving = descriptor, mark, None
        try:
            if was_changed_in_place and self._contents is not None and octets and not octets.endswith(b"\n"):
                line = octets.count(b"\n") + 1
                raise ValueError(f"{line}: was changed in place, and does not end with a newline: is it whole?")
            self._contents = await asyncio.to_thread(self._read, octets)
        except ValueError as error:
            self._flaw = f"{self._path}:{error}"
        else:
            self._flaw = ""
            self._version += 1
        self._tell(self._flaw)

    def _seen(self) -> _Mark | None:
        try:
            return _mark(self._path.stat())
        except OSError:
            return None

    def _tell(self, problem: str) -> None:
        """Tell once what is wrong; an empty *problem* is that all is well again."""
        if problem == self._problem:
            return
        self._problem = problem
        if self._contents is not None and self._emit is not None and (problem or self._was_outdated):
            self._was_outdated = bool(problem)
            self._emit(StoreOutdated(self.name, problem) if problem else StoreBack(self.name))


def read_file(path: Path, size_limit: int) -> tuple[int, _Mark, bytes]:
    """Read a file that only its owner may write; return it, still open, what marks its state, and what it holds.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no file, is too large, or may be written by others: ``line: what is wrong, what to do``.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        with open(descriptor, "rb", closefd=False) as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("1: is no file; name one")
            if status.st_mode & _WRITABLE_BY_OTHERS:
                raise ValueError(f"1: can be written by others than its owner; run: chmod go-w {path}")
            octets = file.read(size_limit + 1)
        if len(octets) > size_limit:
            raise ValueError(f"1: is larger than {size_limit >> 10} KiB; name the right file")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, _mark(status), octets


def _survey(contents: Contents, now: float) -> Survey:
    lacking: dict[str, set[frozenset[str]]] = {scheme: set() for scheme in MECHANISM_SCHEMES.values()}
    iterations: collections.Counter[int] = collections.Counter()
    work: collections.Counter[Work] = collections.Counter()
    ends: list[float] = []
    for account in contents.accounts.values():
        iterations[account.iterations] += 1
        for each in account.credentials:
            if each.revoked is None and each.expires is not None and each.expires > now:
                ends.append(each.expires)
            if account.is_active and _stands(each, now):
                for scheme, listeners in lacking.items():
                    if scheme not in each.verifiers:
                        listeners.add(each.listeners)
        if any(each.verifiers for each in account.credentials):
            work[_work(account, contents.likenesses.get(account.login, ""))] += 1
    return Survey(
        {scheme: frozenset(listeners) for scheme, listeners in lacking.items()},
        iterations,
        work,
        min(ends, default=None),
    )


def _stands(credential: Credential, now: float) -> bool:
    return credential.revoked is None and (credential.expires is None or credential.expires > now)


def _work(account: Account, likeness: str) -> Work:
    kinds = {_kind(each) for each in account.credentials}
    return Work(SCRAM_SHA_256 in kinds, ARGON2ID in kinds, likeness if HASH in kinds else "")


def _kind(credential: Credential) -> str:
    for scheme in (ARGON2ID, SCRAM_SHA_256, HASH):
        if scheme in credential.verifiers:
            return scheme
    return ""
