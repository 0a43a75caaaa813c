"""What accounts have used of their quotas, counted over all processes of the node, and over a window that slides.

    counters = Counters(database, clock)
    shortage = counters.peek("tim@example.org", [Want(RECIPIENTS, 3, 1000)])          # waits for nobody
    shortage = await counters.take("tim@example.org", [Want(RECIPIENTS, 3, 1000), Want(MESSAGES, 1, 500)])
    counters.give_back("tim@example.org", RECIPIENTS, 3)                              # it came to nothing
    await counters.run()                                                              # until cancelled
    await counters.close()

A process sets aside a block of an account's quota in the state file, one transaction for all that asks, and spends it
from memory: most messages cost no write.  What is set aside counts as used, so that no account can have more than its
quota whatever happens, a crash included.  A block is small (a 50th of a day's quota), smaller when little is left, and
what remains of it is given back two seconds after the account was last seen, when its slice of time is over, and at the
end.  A process that is killed takes its blocks with it: they stay counted until they leave the window.  So a crash
costs an account that was sending at that moment a 50th of its day, and never lets it have more; nobody has to find out
what the dead had spent.  A power cut may cost the file its last changes, and let an account have these again.

While the state file is in trouble each process counts by itself, from what was known, and writes that down when it can.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from gatepost.errors import StateUnavailable
from gatepost.model.clock import Clock
from gatepost.state.database import Change, Database
from gatepost.state.windows import MESSAGES, RECIPIENTS, Shortage, Used, Want, Window, add_up, shortage_of

__all__ = ["Counters"]

# An account that was not seen for so long gets nothing kept for it, in seconds.
_IDLE: Final = 2.0
_TURN: Final = 1.0
# What is known of others is looked up again after so many seconds.
_FRESH: Final = 1.0
# So much of what is left is set aside at once, at most.
_SHARE: Final = 8
_PRUNE_EVERY: Final = 3600.0

_USED: Final = "SELECT slice, amount FROM quota WHERE account = ? AND quota = ? AND slice BETWEEN ? AND ?"
_ADD: Final = """
    INSERT INTO quota (account, quota, slice, amount) VALUES (?1, ?2, ?3, max(?4, 0))
    ON CONFLICT (account, quota, slice) DO UPDATE SET amount = max(amount + ?4, 0)"""
_FORGET: Final = "DELETE FROM quota WHERE account = ? AND quota = ? AND slice NOT BETWEEN ? AND ?"
_PRUNE: Final = "DELETE FROM quota WHERE quota = ? AND slice NOT BETWEEN ? AND ?"


@dataclass(slots=True)
class _Block:
    """What this process has of one window for one account.

    Args:
        slice: the block was set aside in this slice, and is good in it only.
        left: what is left of the block.
        used: what all processes used and set aside, as it was when last looked at.
        owed: what was spent while nothing could be written.
    """

    slice: int
    left: int = 0
    used: Used = field(default_factory=dict)
    owed: Used = field(default_factory=dict)

    def free(self, want: Want, now: float) -> int:
        """Return what nobody took."""
        first, last = want.window.reach(now)
        return want.limit - sum(
            [amount for some in (self.used, self.owed) for part, amount in some.items() if first <= part <= last]
        )


@dataclass(slots=True)
class _Purse:
    """What this process has for one account."""

    blocks: dict[Window, _Block] = field(default_factory=dict)
    seen_at: float = 0.0
    looked_at: float = float("-inf")
    asking: asyncio.Task[Shortage | None] | None = None

    def block(self, window: Window, now: float) -> _Block:
        """Return the block of *window*, an empty one if there is none."""
        block = self.blocks.get(window)
        if block is None:
            block = self.blocks[window] = _Block(window.slice(now))
        return block

    def covers(self, wants: Sequence[Want], now: float) -> bool:
        """Tell whether enough was set aside for *wants*."""
        for want in wants:
            window = want.window
            block = self.blocks.get(window)
            if block is None or block.left < want.amount or block.slice != now // window.slice_seconds:
                return False
        return True

    def spend(self, wants: Sequence[Want], now: float) -> bool:
        """Take *wants* from what was set aside, if that is enough."""
        if not self.covers(wants, now):
            return False
        for want in wants:
            self.blocks[want.window].left -= want.amount
        return True

    def spend_on_trust(self, wants: Sequence[Want], now: float) -> Shortage | None:
        """Take *wants* also from what seems to be free, and owe it."""
        for want in wants:
            block = self.block(want.window, now)
            if want.amount > block.left + block.free(want, now):
                return shortage_of(want, add_up(block.used, block.owed), now)
        for want in wants:
            block, window = self.blocks[want.window], want.window
            spent = min(block.left, want.amount)
            block.left -= spent
            block.owed = window.current(add_up(block.owed, {window.slice(now): want.amount - spent}), now)
        return None


@dataclass(frozen=True, slots=True)
class _Ask:
    """What is asked of the file: *need* or nothing, and a block ahead."""

    window: Window
    need: int
    limit: int
    slice: int
    first: int
    last: int


_Answer = tuple[int, bool, Used]  # what was set aside, whether there was enough, and what is used in all
_By = tuple[str, Window, int, int]  # account, window, slice, and by how much more or less it used


class Counters:
    """The quotas of all accounts, as one process sees them.

    Args:
        database: the node's state file.
        clock: what time it is.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._purses: dict[str, _Purse] = {}
        self._pruned_at = clock.monotonic()

    def peek(self, account: str, wants: Sequence[Want]) -> Shortage | None:
        """Tell whether there seems to be enough, by what is known here; waits for nobody, and takes nothing."""
        purse = self._purse(account)
        now = self._clock.now()
        if purse.covers(wants, now):
            return None
        self._look(account, purse, wants, now)
        for want in wants:
            block = purse.block(want.window, now)
            if want.amount > block.left + max(block.free(want, now), 0):
                return shortage_of(want, add_up(block.used, block.owed), now)
        return None

    async def take(self, account: str, wants: Sequence[Want]) -> Shortage | None:
        """Take all of *wants*, or nothing and return what there is too little of."""
        while True:
            purse = self._purse(account)
            now = self._clock.now()
            if purse.spend(wants, now):
                self._stock_up(account, purse, wants, now)
                return None
            if purse.asking is not None:
                # Who asked first asked for more than it needs; if that is not enough we ask ourselves.
                with contextlib.suppress(StateUnavailable):
                    await asyncio.shield(purse.asking)
                continue
            purse.asking = asyncio.create_task(self._ask(account, purse, wants, is_needed=True))
            try:
                # What was set aside is not lost when who waits for it hangs up.
                shortage = await asyncio.shield(purse.asking)
            except StateUnavailable:
                # Trouble with the state file must stop no mail: go by what was known, and write it down later.
                return self._purse(account).spend_on_trust(wants, self._clock.now())
            if shortage is not None:
                return shortage

    def give_back(self, account: str, window: Window, amount: int) -> None:
        """Return what was taken a moment ago and came to nothing."""
        purse = self._purses.get(account)
        if purse is not None and window in purse.blocks:
            block, this = purse.blocks[window], window.slice(self._clock.now())
            forgiven = min(block.owed.get(this, 0), amount)
            block.owed = add_up(block.owed, {this: -forgiven})
            block.left += amount - forgiven

    async def run(self) -> None:
        """Give back what is not used, and forget what is over; until cancelled."""
        while True:
            await self._clock.sleep(_TURN)
            now = self._clock.monotonic()
            idle = [name for name, purse in self._purses.items() if now - purse.seen_at >= _IDLE and not purse.asking]
            await self._settle(idle)
            if now - self._pruned_at >= _PRUNE_EVERY:
                self._pruned_at = now
                with contextlib.suppress(StateUnavailable):
                    await self._database.write(lambda connection: _forget_all(connection, self._clock.now()))

    async def close(self) -> None:
        """Give everything back."""
        asking = [purse.asking for purse in self._purses.values() if purse.asking is not None]
        await asyncio.gather(*asking, return_exceptions=True)
        await self._settle(list(self._purses))

    # What is in memory

    def _purse(self, account: str) -> _Purse:
        purse = self._purses.get(account)
        if purse is None:
            purse = self._purses[account] = _Purse()
        purse.seen_at = self._clock.monotonic()
        return purse

    def _look(self, account: str, purse: _Purse, wants: Sequence[Want], now: float) -> None:
        """Learn what other processes took, if that was not looked up a moment ago."""
        if purse.seen_at - purse.looked_at < _FRESH:
            return
        purse.looked_at = purse.seen_at
        with contextlib.suppress(StateUnavailable):
            for want in wants:
                rows = self._database.read(_USED, (account, want.window.name, *want.window.reach(now)))
                purse.block(want.window, now).used = dict(rows)

    def _stock_up(self, account: str, purse: _Purse, wants: Sequence[Want], now: float) -> None:
        """Ask for the next block, when little is left of this one, before anybody has to wait for it."""
        if purse.asking is not None:
            return
        for want in wants:
            block = purse.blocks[want.window]
            if block.left < want.limit // want.window.part // 4 and block.free(want, now) >= _SHARE:
                purse.asking = asyncio.create_task(self._ask(account, purse, wants, is_needed=False))
                purse.asking.add_done_callback(_hear)
                return

    # What is in the file

    async def _ask(self, account: str, purse: _Purse, wants: Sequence[Want], *, is_needed: bool) -> Shortage | None:
        """Set aside what is lacking, and a block ahead; return what there is too little of.

        Raises:
            StateUnavailable: nothing can be written.
        """
        now = self._clock.now()
        asks: list[_Ask] = []
        changes: list[_By] = []
        owed: list[Used] = []
        for want in wants:
            window, block = want.window, purse.block(want.window, now)
            if block.slice != (this := window.slice(now)):
                # What is left of a slice that is over goes back to it.
                changes.append((account, window, block.slice, -block.left))
                block.slice, block.left = this, 0
            owed.append(window.current(block.owed, now))
            changes.extend((account, window, part, amount) for part, amount in owed[-1].items())
            need = max(want.amount - block.left, 0) if is_needed else 0
            asks.append(_Ask(window, need, want.limit, this, *window.reach(now)))
        try:
            answers = await self._database.write(_setting_aside(account, asks, changes))
        finally:
            purse.asking = None
        purse.looked_at = self._clock.monotonic()
        short = None
        for want, paid, (granted, is_enough, used) in zip(wants, owed, answers, strict=True):
            block = purse.blocks[want.window]
            block.owed = add_up(block.owed, {part: -amount for part, amount in paid.items()})
            block.used = used
            block.left += granted
            if not is_enough and short is None:
                short = shortage_of(want, used, now)
        return short

    async def _settle(self, accounts: Sequence[str]) -> None:
        """Write down what *accounts* did not use, or owe, and forget them."""
        now = self._clock.now()
        settled = {account: self._purses.pop(account) for account in accounts}
        changes: list[_By] = []
        for account, purse in settled.items():
            for window, block in purse.blocks.items():
                used = add_up(window.current(block.owed, now), {block.slice: -block.left})
                changes.extend((account, window, part, amount) for part, amount in used.items())
        if not changes:
            return
        try:
            await self._database.write(lambda connection: _add(connection, changes))
        except StateUnavailable:
            # What is not given back stays counted; what is owed is written down when that can be done.
            for account in {each[0] for each in changes}:
                purse = self._purses.setdefault(account, settled[account])
                for window, block in settled[account].blocks.items() if purse is not settled[account] else ():
                    known = purse.block(window, now)
                    known.owed = add_up(known.owed, block.owed)


def _setting_aside(account: str, asks: Sequence[_Ask], changes: Sequence[_By]) -> Change[list[_Answer]]:
    """Return what makes *changes*, and then sets aside what is asked for: all of it or nothing."""

    def change(connection: sqlite3.Connection) -> list[_Answer]:
        _add(connection, changes)
        found: list[tuple[_Ask, Used, int]] = []
        for ask in asks:
            key = (account, ask.window.name, ask.first, ask.last)
            connection.execute(_FORGET, key)
            used = dict(connection.execute(_USED, key))
            found.append((ask, used, ask.limit - sum(used.values())))
        are_enough = all(ask.need <= free for ask, _, free in found)
        answers: list[_Answer] = []
        for ask, used, free in found:
            ahead = max(min(ask.limit // ask.window.part, (free - ask.need) // _SHARE), 0)
            granted = ask.need + ahead if are_enough else 0
            if granted:
                _add(connection, [(account, ask.window, ask.slice, granted)])
                used[ask.slice] = used.get(ask.slice, 0) + granted
            answers.append((granted, ask.need <= free, used))
        return answers

    return change


def _add(connection: sqlite3.Connection, changes: Sequence[_By]) -> None:
    connection.executemany(_ADD, [(account, window.name, part, by) for account, window, part, by in changes])


def _forget_all(connection: sqlite3.Connection, now: float) -> None:
    connection.executemany(_PRUNE, [(window.name, *window.reach(now)) for window in (RECIPIENTS, MESSAGES)])


def _hear(asking: asyncio.Task[Shortage | None]) -> None:
    """Nobody waits for it, and who needs it asks again."""
    if not asking.cancelled():
        asking.exception()
