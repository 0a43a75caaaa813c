"""Whether one of several hosts is worth trying now: one that failed rests, ever longer, and is probed by one delivery.

Forgotten at restart.  Times are of the event loop.
"""

from __future__ import annotations

from gatepost.model.delivery import RemoteReply

__all__ = ["HostRest"]

_REST, _REST_LIMIT = 5.0, 300.0


class HostRest:
    """What is known about one host; all who deliver to it share this.

    Attributes:
        host: its name and port.
        until: when its rest is over; 0 while it works.
        last_reply: what was last said in its trouble.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self.until = 0.0
        self.last_reply: RemoteReply | None = None
        self._failures = 0
        self._rests_since = 0.0
        self._is_probing = False

    def is_ready(self, now: float) -> bool:
        """Tell whether one more delivery may go there first."""
        return not self.until or (now >= self.until and not self._is_probing)

    def begin(self) -> None:
        """Take note of a try: while it rests, that is the probe."""
        self._is_probing = self.until > 0

    def end(self, began: float) -> None:
        """Take note that a try is over, whatever became of it."""
        if began >= self._rests_since:  # clocks stand still within a turn of the event loop
            self._is_probing = False

    def fail(self, reply: RemoteReply, began: float, now: float) -> bool:
        """Let it rest; return whether that is new: not for who began before the rest did."""
        if self.until and began <= self._rests_since:
            return False
        self._failures += 1
        self.until = now + min(_REST * 2 ** min(self._failures - 1, 16), _REST_LIMIT)
        self.last_reply = reply
        self._rests_since = now
        self._is_probing = False
        return True

    def work(self, began: float) -> bool:
        """Take note that it works; return whether that is new."""
        if not self.until or began <= self._rests_since:
            return False
        self.until, self._failures, self._is_probing, self.last_reply = 0.0, 0, False, None
        return True
