"""When to try again, and when to give up: a pure function of age and attempts (RFC 5321 §4.5.4.1)."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol, Self

from gatepost.model.envelope import Envelope, MessageId

__all__ = ["Schedule", "Schedules"]

# Part of a wait that is added by chance, so that what failed together does not come back together.
_JITTER = 0.1


class Schedules(Protocol):
    """Who knows which schedule holds."""

    def of(self, envelope: Envelope, route: str, /) -> Schedule:
        """Return that of a message on a route."""
        ...


@dataclass(frozen=True, slots=True)
class Schedule:
    """Waits between attempts, and the age at which mail goes back.

    Args:
        waits: wait after the first failed attempt, the second and so on; the last one holds for all that follow.
        give_up_after: age at which a recipient fails; time in which only a route was in trouble is not counted.
        delay_notice: age at which a sender hears that it takes long; None for never.
    """

    # RFC 5321 §4.5.4.1: the first retries may come soon, the later ones at least 30 minutes apart; 4-5 days in all.
    waits: tuple[timedelta, ...] = tuple(timedelta(minutes=number) for number in (1, 5, 15, 30, 60, 120, 240))
    give_up_after: timedelta = timedelta(days=5)
    delay_notice: timedelta | None = timedelta(hours=4)
    _seconds: tuple[float, ...] = field(init=False, repr=False, compare=False)
    _patience: float = field(init=False, repr=False, compare=False)
    _silence: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        seconds = tuple(wait.total_seconds() for wait in self.waits)
        if not seconds or min(seconds) <= 0:
            raise ValueError("a schedule needs waits longer than nothing")
        if self.give_up_after <= timedelta(0):
            raise ValueError("give_up_after must be longer than nothing")
        if self.delay_notice is not None and self.delay_notice <= timedelta(0):
            raise ValueError("delay_notice must be longer than nothing")
        object.__setattr__(self, "_seconds", seconds)
        object.__setattr__(self, "_patience", self.give_up_after.total_seconds())
        silence = math.inf if self.delay_notice is None else self.delay_notice.total_seconds()
        object.__setattr__(self, "_silence", silence)

    def of(self, _envelope: Envelope, _route: str) -> Self:
        """Return itself: it holds for all mail."""
        return self

    def next_try(self, message_id: MessageId, attempts: int, at: float) -> float:
        """Return when a recipient that was tried *attempts* times, last at *at*, is tried again; at once if never.

        The same arguments always give the same time: what is added by chance comes from the id.
        """
        if attempts <= 0:
            return at
        wait = self._seconds[min(attempts, len(self._seconds)) - 1]
        chance = zlib.crc32(f"{message_id}/{attempts}".encode()) / 0xFFFFFFFF
        return at + wait * (1 + _JITTER * chance)

    def deadline(self, accepted_at: float, stalled: float) -> float:
        """Return when a message accepted then is given up, if a route kept it for *stalled* seconds."""
        return accepted_at + stalled + self._patience

    def notice_at(self, accepted_at: float) -> float:
        """Return when the sender of a message accepted then hears that it takes long."""
        return accepted_at + self._silence
