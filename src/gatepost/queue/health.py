"""Whether a route is worth trying now: learned from what attempts came to, forgotten at restart.

A route is open, or closed until a moment at which one attempt may probe it.  Two kinds of trouble close it:

- its next hop is down, slow or busy: back-off from seconds to minutes; mail that waits grows older;
- our login or its certificate is refused: a pause from a minute to a quarter of an hour; mail that waits does not.

The first attempt that the next hop answers opens it again.  What somebody paused by hand stays closed until somebody
resumes it, and mail that waits for it grows no older.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gatepost.model.delivery import Cause, Deferred, RemoteReply, Result
from gatepost.model.envelope import MessageId
from gatepost.observe.events import Event, RoutePaused, RouteResumed

__all__ = ["CLOSED", "Health", "cause_of"]

_BACK_OFF, _BACK_OFF_LIMIT = 5.0, 300.0
_PAUSE, _PAUSE_LIMIT = 60.0, 900.0
# One failure can be the message's own: a next hop that breaks down at one message must not stop the others.
_FAILURES_TO_CLOSE = 2
_SUSPECTS_LIMIT = 100
_UNREACHED = RemoteReply.ours(451, "4.4.1", "The next hop could not be reached")
_AWAY = RemoteReply.ours(451, "4.3.2", "The next server takes no mail now")
# RFC 3463 §3.5: X.4.5, more mail than can go at once.
_BUSY = RemoteReply.ours(451, "4.4.5", "Other mail is before it on the way to the next server")

CLOSED = RemoteReply.ours(
    451, "4.3.5", "The way to the next server is closed until the operator of this server opens it again"
)
"""What a sender is told of trouble with our login and our configuration, which is not theirs."""


class Health:
    """What is known about one route.

    Attributes:
        until: when a closed route may be probed; 0 while it is open.
        sleeps_until: until when mail that was tried in vain may sleep.
        last_reply: what was last said in its trouble.
        is_paused_by_hand: whether it stays closed until `resume`, whatever happens.
        keeps_due: whether mail that waits for it stays due, so that it goes at once when the routes are others.
    """

    def __init__(self, name: str, emit: Callable[[Event], None], *, keeps_due: bool = False) -> None:
        self.until = self.sleeps_until = 0.0
        self.keeps_due = keeps_due
        self.last_reply: RemoteReply | None = None
        self.is_paused_by_hand = False
        self._name = name
        self._emit = emit
        self._is_probing = False
        self._suspects: dict[MessageId, float] = {}
        self._failures = 0
        self._refusals = 0
        self._closed_at = 0.0
        self._worked_at = 0.0
        self._paused_at: float | None = None
        self._resumed_at: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether everything may be tried."""
        return not self.until and not self.is_paused_by_hand

    @property
    def is_paused(self) -> bool:
        """Whether our login, its certificate or somebody's hand keeps it closed: nobody grows older by that."""
        return self._paused_at is not None and self._resumed_at is None

    @property
    def reason(self) -> RemoteReply:
        """Why mail waits for it, as a sender may be told."""
        if self.is_open:
            return _BUSY
        if self.is_paused:
            return CLOSED
        reply = self.last_reply or _UNREACHED
        # It was said of another message, and may name its recipients.
        return _AWAY if "@" in reply.text else reply

    def admits(self, now: float) -> bool:
        """Tell whether one more attempt may start."""
        if self.is_paused_by_hand:
            return False
        return not self.until or (now >= self.until and not self._is_probing)

    def pause(self, since: float) -> None:
        """Keep it closed until `resume`; *since* then nobody has grown older by that."""
        if not self.is_paused_by_hand:
            self.is_paused_by_hand = True
            self._begin_pause(since)

    def resume(self, now: float) -> None:
        """Open what was paused by hand, and let whatever else keeps it closed be probed at once."""
        if self.is_paused_by_hand:
            self.is_paused_by_hand = False
            if not self._refusals:
                self._resumed_at = now
        self.probe(now)

    def probe(self, now: float) -> None:
        """Let one attempt see at once whether it is still in trouble."""
        self.until = min(self.until, now)
        self._is_probing = False  # one that began before may hang for minutes at what is no more

    def begin(self) -> None:
        """Take note of an attempt: on a closed route it is the probe."""
        self._is_probing = self.until > 0

    def end(self, began: float) -> None:
        """Take note that an attempt is over, whatever became of it."""
        if began > self._closed_at:
            self._is_probing = False

    def learn(self, message_id: MessageId, results: Sequence[Result], began: float, now: float) -> Cause:
        """Take in what an attempt came to; return whose trouble it was.

        Args:
            message_id: what was tried.
            results: one per recipient.
            began: when the attempt began.
            now: when it ended.
        """
        cause = cause_of(results)
        if cause is Cause.NEXT_HOP and self._breaks_it(message_id, now):
            return Cause.MESSAGE
        if self.until and began <= self._closed_at:
            return cause  # it was under way when the route was closed, and says nothing new
        if cause is Cause.MESSAGE or cause is Cause.PACE:
            self._open(now)
            return cause
        self.last_reply = results[0].reply
        if cause is Cause.ROUTE:
            self._refusals += 1
            self._close(now, _grown(_PAUSE, self._refusals, _PAUSE_LIMIT))
            self._pause(now)
        else:
            self._failures += 1
            if self.until or self._failures >= _FAILURES_TO_CLOSE:
                self._close(now, self.back_off)
        return cause

    @property
    def back_off(self) -> float:
        """How long to leave a next hop alone after its last failure."""
        return _grown(_BACK_OFF, self._failures, _BACK_OFF_LIMIT)

    def stalled(self, since: float, now: float) -> float:
        """Return for how many seconds of that time the route was paused."""
        if self._paused_at is None:
            return 0.0
        end = now if self._resumed_at is None else min(now, self._resumed_at)
        return max(0.0, end - max(since, self._paused_at))

    def _breaks_it(self, message_id: MessageId, now: float) -> bool:
        """Tell whether others got through between two failures of this message: then the trouble is its own."""
        failed_at = self._suspects.pop(message_id, None)
        if len(self._suspects) >= _SUSPECTS_LIMIT:
            del self._suspects[next(iter(self._suspects))]
        self._suspects[message_id] = now
        return failed_at is not None and self._worked_at > failed_at

    def _open(self, now: float) -> None:
        self._worked_at = now
        if not self.until and not self._failures:
            return
        self.until, self._failures, self._refusals, self._is_probing = 0.0, 0, 0, False
        if self.is_paused and not self.is_paused_by_hand:
            self._resumed_at = now
            self._emit(RouteResumed(self._name))

    def _close(self, now: float, seconds: float) -> None:
        self.until = self.sleeps_until = now + seconds
        self._closed_at = now
        self._is_probing = False

    def _pause(self, now: float) -> None:
        self._begin_pause(now)
        said = self.last_reply
        self._emit(RoutePaused(self._name, str(said), self.until, "" if said is None else said.remedy))

    def _begin_pause(self, now: float) -> None:
        if self._resumed_at is not None and now - self._resumed_at > _PAUSE_LIMIT:
            self._paused_at = None  # otherwise it works only off and on, and that is one pause
        if self._paused_at is None:
            self._paused_at = now
        self._resumed_at = None


def cause_of(results: Sequence[Result]) -> Cause:
    """Return whose trouble it is if every recipient was deferred for the same; otherwise the next hop is at work."""
    causes = {result.cause if isinstance(result, Deferred) else None for result in results}
    if Cause.PACE in causes:
        return Cause.PACE
    if Cause.ROUTE in causes and causes <= {Cause.ROUTE, Cause.NEXT_HOP}:
        return Cause.ROUTE
    return Cause.NEXT_HOP if causes == {Cause.NEXT_HOP} else Cause.MESSAGE


def _grown(first: float, times: int, limit: float) -> float:
    return float(min(first * 2 ** min(times - 1, 16), limit)) if times else first
