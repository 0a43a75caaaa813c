"""End what was rotated, and warn before a credential ends: looked at each minute by every worker.

A credential that is being rotated goes for good at the end of the overlap, or when nobody has used it for the time
that was set.  Whoever writes it down first tells of it, so each is told of once.  Before the end of any credential that
somebody may still use there is one warning, and a mail with it where somebody is to be told.  That mail is kept before
the warning counts: after a crash between the two it comes twice, and never not at all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from gatepost.errors import Unavailable
from gatepost.identity.ledger import Change, Due, Ledger
from gatepost.model.clock import Clock
from gatepost.observe.emit import Emitter
from gatepost.observe.events import CredentialExpiring, CredentialRetired
from gatepost.state.last_used import Use, read_uses

__all__ = ["Retirement", "Warn"]

Warn: TypeAlias = Callable[[CredentialExpiring], Coroutine[None, None, None]]
"""Writes to the owner of a credential; returns once that is durable, and raises `Unavailable` if it is not."""

_LOOK_EVERY: Final = 60.0

_log = logging.getLogger("gatepost.identity")


class Retirement:
    """Looks after the credentials of one node.

    Args:
        ledgers: of the accounts databases.
        state_file: of the node; says when credentials were last used.
        warning: how long before the end there is a warning, in seconds; 0 is none.
        clock: what time it is.
        emit: hears of what was done.
        warn: writes to owners; None leaves it at the event.
    """

    def __init__(
        self,
        ledgers: Sequence[Ledger],
        state_file: Path,
        warning: float,
        clock: Clock,
        emit: Emitter,
        warn: Warn | None = None,
    ) -> None:
        self._ledgers = tuple(ledgers)
        self._state_file = state_file
        self._warning = warning
        self._clock = clock
        self._emit = emit
        self._warn = warn
        self._trouble = ""

    def adapt(self, ledgers: Sequence[Ledger], warning: float, warn: Warn | None = None) -> None:
        """Go on with other databases, another time of warning, or another way to write to owners."""
        self._ledgers, self._warning, self._warn = tuple(ledgers), warning, warn

    async def run(self) -> None:
        """Look each minute; until cancelled."""
        while True:
            await self.look()
            await self._clock.sleep(_LOOK_EVERY)

    async def look(self) -> None:
        """Do what is due now."""
        trouble = ""
        for ledger in self._ledgers:
            try:
                await self._settle(ledger, self._clock.now(), self._warning, self._warn)
            except Unavailable as error:
                trouble = str(error)
        if trouble and trouble != self._trouble:
            _log.warning("credentials cannot be retired", extra={"problem": trouble})
        self._trouble = trouble

    async def _settle(self, ledger: Ledger, now: float, warning: float, warn: Warn | None) -> None:
        mailed = []
        for change in await self._changes(ledger, now, warning):
            event = change.event
            if warn is not None and isinstance(event, CredentialExpiring) and event.contact:
                mailed.append((change, partial(warn, event)))
            elif await ledger.note(change, now):
                self._emit(event)
        for change, tell in mailed:
            if await ledger.note(change, now, tell):
                self._emit(change.event)

    async def _changes(self, ledger: Ledger, now: float, warning: float) -> list[Change]:
        found = await ledger.due(now, now + warning)
        if not found:
            return []
        uses = await asyncio.to_thread(read_uses, self._state_file, [(each.login, each.id) for each in found])
        last_used = await ledger.last_used({key[1]: use.time for key, use in uses.items()})
        changes = []
        for due in found:
            used = last_used.get(due.id, 0.0)
            reason = _why_retired(due, now, used, ledger.lag)
            if reason:
                retired = CredentialRetired(due.login, due.id, due.label, due.successor or "", reason)
                changes.append(Change(due, True, retired))
            elif warning and _needs_warning(due, now + warning, used):
                changes.append(Change(due, False, _warning_of(due, uses.get((due.login, due.id)), used)))
        return changes


def _why_retired(due: Due, now: float, used: float, lag: float) -> str:
    """Return why it goes for good now; empty if it does not."""
    if due.successor is None:
        return ""
    if due.expires is not None and now >= due.expires:
        return "end of the overlap"
    since = max(due.rotated or 0.0, used)
    if due.retire_unused is not None and now - since >= due.retire_unused + lag:
        return f"unused for {_span(due.retire_unused)}"
    return ""


def _needs_warning(due: Due, until: float, used: float) -> bool:
    """Tell whether somebody should hear that it ends before *until*."""
    if due.warned is not None or due.expires is None or due.expires > until:
        return False
    # Who has gone over to the new one needs no warning.
    return due.successor is None or used > (due.rotated or 0.0)


def _warning_of(due: Due, use: Use | None, used: float) -> CredentialExpiring:
    return CredentialExpiring(
        login=due.login,
        credential=due.id,
        label=due.label,
        contact=due.contact,
        expires=due.expires or 0.0,
        successor=due.successor or "",
        last_used=used,
        address=use.address if use else "",
        mechanism=use.mechanism if use else "",
        client=use.client if use else "",
    )


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
