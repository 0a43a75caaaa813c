"""What to write, gathered into batches: as large as they get without letting a client wait.

A batch is one transaction and one sync, and changes of thread cost more than rows.  While the loop has other work, what
that brings rides along; once it has none, the batch goes, or waits a moment for messages that are just being sent.
Results of deliveries, for which no client waits, go with the next message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from gatepost.spool.change import Change

__all__ = ["Gathering"]

# A turn of the loop so short had nothing else to do; longer than this no client waits for others.
_IDLE_TURN_SECONDS: Final = 30e-6
_GATHERING_SECONDS: Final = 0.005
# While others are sending, a message waits for them so long: half as many syncs are worth it to all of them.
_COMPANY_SECONDS: Final = 0.002
# Settlements wait for company: so many of them, or so long.
_RIDE_ALONG: Final = 8
_RIDE_ALONG_SECONDS: Final = 0.01


class Gathering:
    """Collects changes and hands them over.

    Args:
        hand_over: takes a batch.
    """

    def __init__(self, hand_over: Callable[[list[Change]], None]) -> None:
        self._take = hand_over
        self._waiting: list[Change] = []
        self._is_closing_in = False  # a client waits: the end of the loop's work is looked for
        self._since = 0.0
        self._turn_began = 0.0
        self._later: asyncio.TimerHandle | None = None
        self._expected = 0
        self._is_waiting_for_company = False

    def expect(self, change: int) -> None:
        """Note that a message is being sent (1), or comes now or not at all (-1)."""
        self._expected += change

    def add(self, change: Change, *, can_wait: bool = False) -> None:
        """Take *change*; if it *can_wait*, for a while longer."""
        self._waiting.append(change)
        if self._is_closing_in:
            if self._is_waiting_for_company and not self._expected:
                self._look_again()
            return
        loop = change.future.get_loop()
        if not can_wait or len(self._waiting) >= _RIDE_ALONG:
            self._is_closing_in = True
            self._since = self._turn_began = loop.time()
            loop.call_soon(self._look, loop)
        elif self._later is None:
            self._wait(loop, _RIDE_ALONG_SECONDS, self.hand_over)

    def _wait(self, loop: asyncio.AbstractEventLoop, seconds: float, then: Callable[[], None]) -> None:
        if self._later is not None:
            self._later.cancel()
        self._later = loop.call_later(seconds, then)

    def _look_again(self) -> None:
        # Not now: the loop may be busy, and the writer's thread would fight with it for the interpreter.
        loop = asyncio.get_running_loop()
        self._is_waiting_for_company = False
        if self._later is not None:
            self._later.cancel()
            self._later = None
        self._turn_began = loop.time()
        loop.call_soon(self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hand over if the last turn of the loop did nothing else, or somebody waited long enough."""
        if not self._is_closing_in:
            return
        now = loop.time()
        if now - self._turn_began < _IDLE_TURN_SECONDS or now - self._since > _GATHERING_SECONDS:
            if self._expected and now - self._since < _COMPANY_SECONDS:
                self._is_waiting_for_company = True
                self._wait(loop, _COMPANY_SECONDS, self._look_again)
            else:
                self.hand_over()
        else:
            self._turn_began = now
            loop.call_soon(self._look, loop)

    def hand_over(self) -> None:
        """Hand over what there is now."""
        self._is_closing_in = self._is_waiting_for_company = False
        if self._later is not None:
            self._later.cancel()
            self._later = None
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._take(waiting)
