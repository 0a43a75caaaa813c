"""Names for messages: sixteen letters and digits, in the order of their making, never the same twice.

Fifty-two bits are microseconds since the epoch and never come twice from one maker, twenty-eight are the maker's own,
drawn once: unique over workers and restarts, also when the clock is set back.
"""

from __future__ import annotations

import re
import secrets
from typing import Final

from gatepost.model.clock import Clock
from gatepost.model.envelope import MessageId

__all__ = ["MessageIds", "is_message_id"]

# Crockford's base 32: in the order of ASCII, one case, and no i, l, o or u to take for something else.
_DIGITS: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS: Final = tuple(high + low for high in _DIGITS for low in _DIGITS)
_PATTERN: Final = re.compile(f"[{_DIGITS}]{{16}}")


def is_message_id(text: str) -> bool:
    """Tell whether *text* has the form of a name of ours."""
    return _PATTERN.fullmatch(text) is not None


class MessageIds:
    """Makes names; each sorts after the one before."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = 0
        self._own = secrets.randbits(28)  # drawing anew for each name costs more than all the rest of it
        self._end = _written(self._own & 0xFFFFF, 2)
        self._start, self._start_written = -1, ""

    def make(self) -> MessageId:
        """Return a new name."""
        last = self._last + 1
        now = int(self._clock.now() * 1_000_000)
        self._last = last = max(last, now)
        start = last >> 12 & 0xFFFFFFFFFF
        if start != self._start:  # once in four milliseconds
            self._start, self._start_written = start, _written(start, 4)
        middle = (last & 0xFFF) << 8 | self._own >> 20
        return MessageId(self._start_written + _PAIRS[middle >> 10] + _PAIRS[middle & 1023] + self._end)


def _written(number: int, pairs: int) -> str:
    return "".join([_PAIRS[number >> 10 * place & 1023] for place in reversed(range(pairs))])
