"""How many attempts run at once on each route, and which messages wait behind them.

A message that cannot start is not kept in memory: a gate holds the ids of the next few, and beyond them only, for each
lane, the place in the spool's order from where to read on.  So a route with a million waiting messages costs as much as
one with a hundred, and other routes do not notice.  The lanes take turns, so that nobody waits behind all mail of
another account.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gatepost.model.delivery import Cause, Delivered, Result
from gatepost.model.envelope import MessageId
from gatepost.observe.events import Event
from gatepost.queue.grouping import NO_ROUTE, Group
from gatepost.queue.health import Health, cause_of
from gatepost.queue.rota import Rota
from gatepost.state.paused_routes import paused_since

__all__ = ["Gate", "Gates", "Limits", "Line", "Place"]

Place = tuple[float, str]
"""A place in the order in which the spool lists what is due: due time and id."""

_WAITING_LIMIT = 100
_FEW = 10
# As many lanes as may wait at one gate; a message of another is found at a later sweep.
_LINES_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class Limits:
    """How much at once.

    Args:
        attempts: deliveries over all routes; more than *per_route*, or one slow route holds up the others.
        per_route: deliveries on one route.
        recipients: recipients of one delivery.
        seconds: how long one delivery may take.
    """

    attempts: int = 100
    per_route: int = 20
    recipients: int = 100
    seconds: float = 3600.0

    def __post_init__(self) -> None:
        if min(self.attempts, self.per_route, self.recipients) < 1 or self.seconds <= 0:
            raise ValueError("a limit is at least one, and a time more than nothing")


class Line:
    """Who waits at a gate of one lane.

    Attributes:
        names: the next messages, oldest first.
        behind: where the spool holds the first of those that are not in *names*; None if there are none.
    """

    __slots__ = ("behind", "names")

    def __init__(self) -> None:
        self.names: dict[MessageId, None] = {}
        self.behind: Place | None = None


class Gate:
    """The way into one route.

    Attributes:
        limit: how many attempts at once.
        running: attempts under way.
        lines: who waits, by lane.
        rests_until: before that nothing starts, so that the route keeps its pace.
    """

    def __init__(self, limit: int, health: Health) -> None:
        self.health = health
        self.running = 0
        self.lines: Rota[Line] = Rota()
        self.limit = limit
        self._names = 0
        self.rests_until = 0.0

    def admits(self, now: float) -> bool:
        """Tell whether one more attempt may start."""
        return self.running < self.limit and now >= self.rests_until and self.health.admits(now)

    @property
    def opens_at(self) -> float:
        """When to ask again, if it does not admit now for another reason than that it is full."""
        return max(self.health.until, self.rests_until)

    def let_in(self, of: Group, now: float) -> bool:
        """Start an attempt, if one may start; where it must wait for the pace, nothing starts until then."""
        if not self.admits(now):
            return False
        pace = of.route.pace
        wait = 0.0 if pace is None else pace.take(len(of.indices), now)
        if wait:
            # The time of day is not finer than that, and who asks again at the same moment would ask for ever.
            self.rests_until = now + max(wait, 0.001)
            return False
        self.enter()
        return True

    def learn(
        self,
        message_id: MessageId,
        of: Group,
        results: Sequence[Result],
        began: float,
        now: float,
        *,
        is_way: bool = True,
    ) -> Cause:
        """Take in what an attempt came to; return whose trouble it was.

        What a route came to that is none any more (*is_way*) says nothing of the one that has its name now.
        """
        cause = self.health.learn(message_id, results, began, now) if is_way else cause_of(results)
        pace = of.route.pace
        if pace is not None and cause is not Cause.MESSAGE:
            if cause is Cause.PACE:
                self.rests_until = max(self.rests_until, now + pace.slow_down(began, now))
            if not any(isinstance(each, Delivered) for each in results):
                pace.give_back(len(results), now)
        return cause

    def enter(self) -> None:
        """Start an attempt."""
        self.running += 1
        self.health.begin()

    def leave(self, began: float) -> None:
        """End an attempt that began then."""
        self.running -= 1
        self.health.end(began)

    def hold(self, message_id: MessageId, lane: int, place: Place) -> bool:
        """Remember that a message waits here; tell whether there was room to."""
        line = self.lines.get(lane)
        if line is None:
            if len(self.lines) >= _LINES_LIMIT:
                return False
            line = Line()
            self.lines.put(lane, line)
        if message_id in line.names:
            return True
        if line.behind is None and self.health.is_open and self._names < _WAITING_LIMIT:
            line.names[message_id] = None
            self._names += 1
        elif line.behind is None or place < line.behind:
            line.behind = place
        return True

    def take(self, read: Callable[[int, Place, int], list[Place]]) -> MessageId | None:
        """Let go of the message whose turn it is.

        Args:
            read: reads the places of a lane that are due, from one on, so many at most.

        Returns:
            It; None if those that were left behind are not there any more.
        """
        lane, line = self.lines.turn()
        if not line.names and line.behind is not None:
            places = read(lane, line.behind, _FEW + 1)
            line.behind = places.pop() if len(places) > _FEW else None
            line.names = dict.fromkeys([MessageId(name) for _, name in places])
            self._names += len(places)
        message_id = next(iter(line.names), None)
        if message_id is not None:
            del line.names[message_id]
            self._names -= 1
        if not line.names and line.behind is None:
            self.lines.discard(lane)
        return message_id

    def forget(self) -> None:
        """Let go of all: everything is looked at again."""
        self.lines.clear()
        self._names = 0


class Gates(dict[str, Gate]):
    """The gates by name of the route; each is made when it is first asked for.

    Args:
        limit: how many attempts at once each admits.
        emit: hears of routes that are paused and work again.
    """

    def __init__(self, limit: int, emit: Callable[[Event], None]) -> None:
        super().__init__()
        self._limit = limit
        self._emit = emit
        self._paused: Mapping[str, float] = {}

    def __missing__(self, name: str) -> Gate:
        gate = self[name] = Gate(self._limit, Health(name, self._emit, keeps_due=name == NO_ROUTE.name))
        since = paused_since(self._paused, name)
        if since is not None:
            gate.health.pause(since)
        return gate

    def adapt(self, limit: int) -> None:
        """Admit that many attempts at each from now on."""
        self._limit = limit
        for gate in self.values():
            gate.limit = limit

    def pause(self, paused: Mapping[str, float], now: float) -> None:
        """Keep those closed that were *paused* by hand, each since then, and resume those that are no more."""
        self._paused = dict(paused)
        for name, gate in self.items():
            since = paused_since(paused, name)
            if since is not None:
                gate.health.pause(since)
            elif gate.health.is_paused_by_hand:
                gate.health.resume(now)
