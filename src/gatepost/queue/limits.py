"""How many attempts run at once on each route, and which messages wait behind them.

A message that cannot start is not kept in memory: a gate holds the ids of the next few, and beyond them only the
place in the spool's order from where to read on.  So a route with a million waiting messages costs as much as one
with a hundred, and other routes do not notice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gatepost.model.envelope import MessageId
from gatepost.observe.events import Event
from gatepost.queue.grouping import NO_ROUTE
from gatepost.queue.health import Health

__all__ = ["Gate", "Gates", "Limits", "Place"]

Place = tuple[float, str]
"""A place in the order in which the spool lists what is due: due time and id."""

_WAITING_LIMIT = 100


@dataclass(frozen=True, slots=True)
class Limits:
    """How much at once.

    Args:
        attempts: deliveries over all routes; more than *per_route*, or one slow route holds up the others.
        per_route: deliveries on one route.
        recipients: recipients of one delivery.
    """

    attempts: int = 100
    per_route: int = 20
    recipients: int = 100

    def __post_init__(self) -> None:
        if min(self.attempts, self.per_route, self.recipients) < 1:
            raise ValueError("a limit is at least one")


class Gate:
    """The way into one route.

    Attributes:
        limit: how many attempts at once.
        running: attempts under way.
        waiting: the next messages, oldest first.
        behind: where the spool holds the first of those that are not in *waiting*; None if there are none.
    """

    def __init__(self, limit: int, health: Health) -> None:
        self.health = health
        self.running = 0
        self.waiting: dict[MessageId, None] = {}
        self.behind: Place | None = None
        self.limit = limit

    def admits(self, now: float) -> bool:
        """Tell whether one more attempt may start."""
        return self.running < self.limit and self.health.admits(now)

    def enter(self) -> None:
        """Start an attempt."""
        self.running += 1
        self.health.begin()

    def leave(self, began: float) -> None:
        """End an attempt that began then."""
        self.running -= 1
        self.health.end(began)

    def hold(self, message_id: MessageId, place: Place) -> None:
        """Remember that a message waits here."""
        if message_id in self.waiting:
            return
        if self.behind is None and self.health.is_open and len(self.waiting) < _WAITING_LIMIT:
            self.waiting[message_id] = None
        elif self.behind is None or place < self.behind:
            self.behind = place

    def wants_more(self, now: float) -> bool:
        """Tell whether messages were left behind that may start now."""
        return self.behind is not None and not self.waiting and self.admits(now)

    def pick_up(self) -> Place:
        """Return where messages were left behind, and forget it."""
        assert self.behind is not None
        place, self.behind = self.behind, None
        return place

    def take(self) -> MessageId:
        """Return the message that has waited longest, and let go of it."""
        message_id = next(iter(self.waiting))
        del self.waiting[message_id]
        return message_id


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
        if name in self._paused:
            gate.health.pause(self._paused[name])
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
            if name in paused:
                gate.health.pause(paused[name])
            elif gate.health.is_paused_by_hand:
                gate.health.resume(now)
