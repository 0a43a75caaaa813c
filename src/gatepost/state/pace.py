"""How fast mail goes to a provider, over all workers of a node: inside its limits, and slower where it asks for that.

    pace = Pace(file, Limits("smtp.example.net/tim", per_second=0.5, messages_per_day=2000))
    seconds = pace.take(3, clock.now())             # 0: go; otherwise ask again then
    pace.give_back(3, clock.now())                  # nothing reached the provider
    pace.slow_down(began, clock.now())              # it said that this was too fast

Messages are spread evenly, with a tenth of a limit in reserve: what we send at even intervals the provider may get in
a bunch.  Only what goes out counts (leaky bucket, kept as the time from which the next one may go), so an idle hour
saves nothing up for a burst.  What was sent in 24 hours is counted in slices of a quarter of an hour, and every slice
that reaches into the 24 hours counts.

An answer that says "too fast" halves the pace, at most once for all that was on its way then, and lets nothing go for
some seconds, twice as long each time that it comes again soon.  The pace doubles every five minutes until it is what it
was.  Where no limit is known, half of what went out lately is where it begins.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Final

from gatepost.state.pace_file import SLOT_BYTES, PaceFile

__all__ = ["Pace", "PaceLimits"]

# A tenth in reserve, and so much of the time a limit is for may one go early: a timer's error, not a burst.
_SHARE, _EARLY = 0.9, 0.02
_RECOVERY, _MEMORY = 300.0, 3600.0
_SLOWEST = 1 / 60
_HOLD, _HOLD_LIMIT, _SOON = 2.0, 300.0, 60.0
_BUSY = 0.005  # another worker is at it
_LOOK_AGAIN = 300.0
_LARGEST = 1000  # messages, or recipients, that one delivery counts as
_LATELY = 10.0

_SLICE: Final = 900.0
_SLICES: Final = 97  # the 96 of a day, and the one that has begun
# tat: when the next may go; pace: learned, a second, 0 for none; learned_at; hold_until; hold; slice.
_STATE: Final = struct.Struct("=dddddq")
_STATE_AT: Final = 24
_PACE: Final = struct.Struct("=d")
_PACE_AT: Final = 32
_COUNTS: Final = struct.Struct(f"={2 * _SLICES}I")  # messages by slice, and recipients
_COUNTS_AT: Final = 72
assert _STATE_AT + _STATE.size == _COUNTS_AT
assert _COUNTS_AT + _COUNTS.size <= SLOT_BYTES


@dataclass(frozen=True, slots=True)
class PaceLimits:
    """How much somebody takes; 0 is no limit.

    Args:
        subject: whose limits these are; routes with the same share them.
        per_second: messages, or recipients, a second.
        window: the seconds for which that is promised.
        messages_per_day: messages in 24 hours.
        recipients_per_day: recipients in 24 hours.
        recipients_per_message: into messages of so many a delivery is cut.
        counts_recipients: whether *per_second* is about recipients.
    """

    subject: str
    per_second: float = 0.0
    window: float = 1.0
    messages_per_day: int = 0
    recipients_per_day: int = 0
    recipients_per_message: int = 100
    counts_recipients: bool = False


class Pace:
    """The pace of one subject, as one worker sees it.

    Args:
        file: what all workers share.
        limits: those to keep to.
    """

    def __init__(self, file: PaceFile, limits: PaceLimits) -> None:
        self.limits = limits
        self._file = file
        self._memory = file.memory
        self._subject = limits.subject.encode("utf-8", "surrogatepass")
        self._key = file.key(self._subject)
        self._slot = 0
        self._base = limits.per_second * _SHARE
        self._early = limits.window * _EARLY
        self._is_counted = bool(limits.messages_per_day or limits.recipients_per_day)
        self._is_free = not self._base and not self._is_counted
        self._since, self._count, self._before = 0.0, 0, 0  # what went lately, where no limit tells

    def take(self, recipients: int, now: float) -> float:
        """Take what a delivery to so many costs.

        Returns:
            0 if it may go, otherwise the seconds after which to ask again.
        """
        self._find(now)
        if self._is_free:
            self._note(recipients, now)
            if not _PACE.unpack_from(self._memory, self._slot + _PACE_AT)[0]:
                return 0.0
        if not self._file.lock(self._slot):
            return _BUSY
        try:
            return self._take(recipients, now)
        finally:
            self._file.unlock(self._slot)

    def give_back(self, recipients: int, now: float) -> None:
        """Take nothing for a delivery that reached nobody: of the day's limit; the moment is gone."""
        if self._is_counted and self._slot and self._file.lock(self._slot):
            try:
                part, counts = self._counts(now)
                messages = self._messages(recipients)
                for place, amount in ((part % _SLICES, messages), (_SLICES + part % _SLICES, recipients)):
                    counts[place] = max(counts[place] - amount, 0)
                _COUNTS.pack_into(self._memory, self._slot + _COUNTS_AT, *counts)
            finally:
                self._file.unlock(self._slot)

    def slow_down(self, began: float, now: float) -> float:
        """Go slower, for an answer to a delivery that *began* then; return for how many seconds nothing goes at all."""
        self._find(now)
        if not self._file.lock(self._slot):
            return _HOLD
        try:
            tat, _, learned_at, hold_until, hold, part = self._state(now)
            if began <= learned_at:
                return max(hold_until - now, 0.0)  # it was on its way when we slowed down
            pace = max((self._pace(now) or self._lately(now)) / 2, _SLOWEST)
            hold = min(2 * hold, _HOLD_LIMIT) if hold and now - learned_at < hold + _SOON else _HOLD
            _STATE.pack_into(self._memory, self._slot + _STATE_AT, tat, pace, now, now + hold, hold, part)
            return hold
        finally:
            self._file.unlock(self._slot)

    def per_minute(self, now: float) -> float | None:
        """Return how much may go in a minute as things are; None for as much as there is."""
        self._find(now)
        pace = self._pace(now)
        return pace * 60 if pace else None

    # What is in the slot.

    def _find(self, now: float) -> None:
        """Make sure that the slot is ours: it may have gone to another subject, if there are many."""
        file, slot = self._file, self._slot
        if self._memory is not file.memory or not slot or self._memory[slot : slot + len(self._key)] != self._key:
            self._slot = file.slot(self._subject, now)
            self._memory = file.memory

    def _state(self, now: float) -> tuple[float, float, float, float, float, int]:
        """Read the slot; what cannot be, after a clock was put back or the file was damaged, is as if it were not."""
        tat, pace, learned_at, hold_until, hold, part = _STATE.unpack_from(self._memory, self._slot + _STATE_AT)
        if not isfinite(tat):
            tat = now
        if not (isfinite(pace) and pace >= 0 and learned_at <= now):
            pace, learned_at = 0.0, 0.0
        if not (hold_until <= now + _HOLD_LIMIT and 0 <= hold <= _HOLD_LIMIT):
            hold_until, hold = 0.0, 0.0
        return tat, pace, learned_at, hold_until, hold, part

    def _pace(self, now: float) -> float:
        """Return how much may go in a second; 0 for no limit."""
        _, pace, learned_at, *_ = self._state(now)
        if not pace or now - learned_at > _MEMORY:
            return self._base
        grown: float = pace * 2 ** ((now - learned_at) / _RECOVERY)
        return min(grown, self._base) if self._base else grown

    def _take(self, recipients: int, now: float) -> float:
        tat, pace, learned_at, hold_until, hold, part = self._state(now)
        if hold_until > now:
            return hold_until - now
        allowed = self._pace(now)
        if allowed:
            if tat > now + _LARGEST / allowed:
                tat = now  # no delivery owes so much: the clock was put back
            wait = tat - now - self._early
            if wait > 0:
                return wait
        if self._is_counted:
            part, counts = self._counts(now)
            wait = self._short(recipients, part, counts, now)
            if wait:
                return wait
            counts[part % _SLICES] += self._messages(recipients)
            counts[_SLICES + part % _SLICES] += recipients
            _COUNTS.pack_into(self._memory, self._slot + _COUNTS_AT, *counts)
        if pace and (now - learned_at > _MEMORY or (self._base and allowed >= self._base)):
            pace = 0.0  # as fast as ever
        if allowed:
            cost = recipients if self.limits.counts_recipients else self._messages(recipients)
            tat = max(tat, now) + cost / allowed
        _STATE.pack_into(self._memory, self._slot + _STATE_AT, tat, pace, learned_at, hold_until, hold, part)
        return 0.0

    def _messages(self, recipients: int) -> int:
        return -(-recipients // self.limits.recipients_per_message)

    def _counts(self, now: float) -> tuple[int, list[int]]:
        """Return the slice of this moment, and what was sent by slice, without what is over."""
        counts = list(_COUNTS.unpack_from(self._memory, self._slot + _COUNTS_AT))
        last = self._state(now)[5]
        this = int(now // _SLICE)
        if last > this and last - this < _SLICES:
            this = last  # a clock that was put back a little
        elif not 0 <= this - last < _SLICES:
            counts = [0] * len(counts)
        else:
            for part in range(last + 1, this + 1):
                counts[part % _SLICES] = counts[_SLICES + part % _SLICES] = 0
        return this, counts

    def _short(self, recipients: int, part: int, counts: Sequence[int], now: float) -> float:
        """Return how long until a day has room for so many; 0 if it has."""
        wait = 0.0
        limits = self.limits
        for limit, amount, first in (
            (limits.messages_per_day, self._messages(recipients), 0),
            (limits.recipients_per_day, recipients, _SLICES),
        ):
            # A delivery that is larger than the limit goes alone.
            lacking = sum(counts[first : first + _SLICES]) + min(amount, limit) - limit
            if not limit or lacking <= 0:
                continue
            for old in range(part - _SLICES + 1, part + 1):
                lacking -= counts[first + old % _SLICES]
                if lacking <= 0:
                    wait = max(wait, (old + _SLICES) * _SLICE - now)
                    break
        return min(wait, _LOOK_AGAIN)

    # What went lately, in this worker.

    def _note(self, recipients: int, now: float) -> None:
        if now - self._since >= _LATELY:
            self._before = self._count if now - self._since < 2 * _LATELY else 0
            self._since, self._count = now, 0
        self._count += recipients if self.limits.counts_recipients else 1

    def _lately(self, now: float) -> float:
        return max(self._count / max(now - self._since, 1.0), self._before / _LATELY)
