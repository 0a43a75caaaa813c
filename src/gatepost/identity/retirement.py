"""End what was rotated, and warn before a credential ends: looked at each minute by every worker.

A credential that is being rotated goes for good at the end of the overlap, or when nobody has used it for the time
that was set.  Whoever writes it down first tells of it, so each is told of once on a node.  Before the end of any
credential that somebody may still use there is one warning, and a mail with it where somebody is to be told.  That mail
is kept before the warning counts: after a crash between the two it comes twice, and never not at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from gatepost.errors import Unavailable
from gatepost.model.clock import Clock
from gatepost.observe.emit import Emitter
from gatepost.observe.events import CredentialExpiring, CredentialRetired, Event
from gatepost.state.last_used import Use, read_uses

__all__ = ["Retirement", "Warn"]

Warn: TypeAlias = Callable[[CredentialExpiring], Coroutine[None, None, None]]
"""Writes to the owner of a credential; returns once that is durable, and raises `Unavailable` if it is not."""

_LOOK_EVERY: Final = 60.0
# How long another writer is waited for, in seconds; the next look comes anyway.
_PATIENCE: Final = 5.0

_DUE: Final = """
    SELECT a.login, a.contact, c.id, c.label, c.expires, c.warned, c.successor, c.rotated, c.retire_unused
    FROM credentials AS c JOIN accounts AS a ON a.id = c.account_id
    WHERE c.revoked IS NULL AND NOT c.is_canary
      AND (c.successor IS NOT NULL OR c.warned IS NULL AND c.expires > ? AND c.expires <= ?)"""
# Whatever was changed meanwhile stays as it is, and is looked at a minute later.
_RETIRE: Final = """
    UPDATE credentials SET revoked = :now
    WHERE id = :id AND revoked IS NULL AND successor = :successor AND rotated = :rotated AND expires = :expires"""
_WARN: Final = """
    UPDATE credentials SET warned = :now
    WHERE id = :id AND revoked IS NULL AND warned IS NULL AND expires = :expires"""

_log = logging.getLogger("gatepost.identity")


@dataclass(frozen=True, slots=True)
class _Due:
    """A credential that is being rotated, or ends soon."""

    login: str
    contact: str
    id: str
    label: str
    expires: float | None
    warned: float | None
    successor: str | None
    rotated: float | None
    retire_unused: float | None

    def why_retired(self, now: float, use: Use | None) -> str:
        """Return why it goes for good now; empty if it does not."""
        if self.successor is None:
            return ""
        if self.expires is not None and now >= self.expires:
            return "end of the overlap"
        since = max(self.rotated or 0.0, use.time if use else 0.0)
        if self.retire_unused is not None and now - since >= self.retire_unused:
            return f"unused for {_span(self.retire_unused)}"
        return ""

    def needs_warning(self, until: float, use: Use | None) -> bool:
        """Tell whether somebody should hear that it ends before *until*."""
        if self.warned is not None or self.expires is None or self.expires > until:
            return False
        # Who has gone over to the new one needs no warning.
        return self.successor is None or (use is not None and use.time > (self.rotated or 0.0))


class Retirement:
    """Looks after the credentials of one node.

    Args:
        paths: of the accounts databases.
        state_file: of the node; says when credentials were last used.
        warning: how long before the end there is a warning, in seconds; 0 is none.
        clock: what time it is.
        emit: hears of what was done.
        warn: writes to owners; None leaves it at the event.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        state_file: Path,
        warning: float,
        clock: Clock,
        emit: Emitter,
        warn: Warn | None = None,
    ) -> None:
        self._paths = tuple(paths)
        self._state_file = state_file
        self._warning = warning
        self._clock = clock
        self._emit = emit
        self._warn = warn
        self._trouble = ""

    def adapt(self, paths: Sequence[Path], warning: float, warn: Warn | None = None) -> None:
        """Go on with other databases, another time of warning, or another way to write to owners."""
        self._paths, self._warning, self._warn = tuple(paths), warning, warn

    async def run(self) -> None:
        """Look each minute; until cancelled."""
        while True:
            await self.look()
            await self._clock.sleep(_LOOK_EVERY)

    async def look(self) -> None:
        """Do what is due now."""
        trouble, loop = "", asyncio.get_running_loop()
        for path in self._paths:
            try:
                now, warning, warn = self._clock.now(), self._warning, self._warn
                changes = await asyncio.to_thread(self._changes, path, now, warning)
                rest = [each for each in changes if warn is None or not each.contact]
                for event in await asyncio.to_thread(_write, path, rest, now) if rest else ():
                    self._emit(event)
                for each in changes:
                    if warn is None or not each.contact:
                        continue
                    if await asyncio.to_thread(_write_and_mail, path, each, now, warn, loop):
                        self._emit(each.event)
            except (sqlite3.Error, Unavailable) as error:
                trouble = f"{path}: {error}"
        if trouble and trouble != self._trouble:
            _log.warning("credentials cannot be retired", extra={"problem": trouble})
        self._trouble = trouble

    def _changes(self, path: Path, now: float, warning: float) -> list[_Change]:
        with contextlib.closing(_open(path)) as connection:
            due = [_Due(*row) for row in connection.execute(_DUE, (now, now + warning))]
        uses = read_uses(self._state_file, [(each.login, each.id) for each in due]) if due else {}
        changes = []
        for each in due:
            use = uses.get((each.login, each.id))
            reason = each.why_retired(now, use)
            if reason:
                retired = CredentialRetired(each.login, each.id, each.label, each.successor or "", reason)
                changes.append(_Change(_RETIRE, each, retired))
            elif warning and each.needs_warning(now + warning, use):
                changes.append(_Change(_WARN, each, _warning_of(each, use)))
        return changes


class _Change(NamedTuple):
    """What is to be written down about a credential, and what to tell of it."""

    statement: str
    due: _Due
    event: Event

    @property
    def contact(self) -> str:
        """Who is to be told by mail; empty for nobody."""
        return self.event.contact if isinstance(self.event, CredentialExpiring) else ""

    def values(self, now: float) -> Mapping[str, object]:
        due = self.due
        return {
            "now": now,
            "id": due.id,
            "successor": due.successor,
            "rotated": due.rotated,
            "expires": due.expires,
        }


def _write(path: Path, changes: Sequence[_Change], now: float) -> list[Event]:
    """Write changes down; return what came about by us, and not by another worker."""
    with contextlib.closing(_open(path)) as connection:  # which undoes what is not whole
        connection.execute("BEGIN IMMEDIATE")
        told = [each.event for each in changes if connection.execute(each.statement, each.values(now)).rowcount]
        connection.execute("COMMIT")
    return told


def _write_and_mail(path: Path, change: _Change, now: float, warn: Warn, loop: asyncio.AbstractEventLoop) -> bool:
    """Write one change down and have its owner told by the *loop*, both or none; tell whether it came about by us.

    All of it is done by one thread, which comes to its end also when nobody waits for it any more.
    """
    assert isinstance(change.event, CredentialExpiring)
    with contextlib.closing(_open(path)) as connection:  # which undoes what is not whole
        connection.execute("BEGIN IMMEDIATE")
        if not connection.execute(change.statement, change.values(now)).rowcount:
            return False
        asyncio.run_coroutine_threadsafe(warn(change.event), loop).result()
        connection.execute("COMMIT")
        return True


def _warning_of(due: _Due, use: Use | None) -> CredentialExpiring:
    return CredentialExpiring(
        login=due.login,
        credential=due.id,
        label=due.label,
        contact=due.contact,
        expires=due.expires or 0.0,
        successor=due.successor or "",
        last_used=use.time if use else 0.0,
        address=use.address if use else "",
        mechanism=use.mechanism if use else "",
        client=use.client if use else "",
    )


def _open(path: Path) -> sqlite3.Connection:
    # As `gatepost.identity.database` does it: the log is moved by the command line alone.
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        isolation_level=None,
        timeout=_PATIENCE,
        check_same_thread=False,
    )
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
