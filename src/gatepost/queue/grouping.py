"""Sort the recipients of a message into deliveries: one for all who share a next hop (RFC 5321 §4.5.4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gatepost.model.delivery import Cause, Deferred, Delivered, RemoteReply, Result
from gatepost.model.envelope import Envelope, Recipient
from gatepost.model.value import value
from gatepost.relay.transport import Delivery, Transport
from gatepost.state.pace import Pace

__all__ = ["NO_ROUTE", "Group", "Route", "Routes", "group", "is_left_over"]


class Route(Protocol):
    """A way out that somebody configured."""

    @property
    def name(self) -> str:
        """What it is called in the configuration."""
        ...

    @property
    def transport(self) -> Transport:
        """What carries mail along it."""
        ...

    @property
    def pace(self) -> Pace | None:
        """How fast mail may go; None for as fast as it can."""
        ...


class Routes(Protocol):
    """Who knows the way.

    Attributes:
        fields: names of the header fields that are asked for, in lower case: `Envelope.fields` must hold them.
    """

    fields: frozenset[str]

    def route_for(self, envelope: Envelope, recipient: Recipient) -> Route | None:
        """Return the route for a recipient, or None if no route takes it."""
        ...


class _Nowhere:
    """Stands where a route is missing: a fault of the configuration, so mail waits and never bounces for it."""

    name = "(no route)"
    pace = None

    @property
    def transport(self) -> Transport:
        """Return itself: it defers everything."""
        return self

    async def deliver(self, delivery: Delivery) -> Sequence[Result]:
        """Defer each recipient as trouble with the route."""
        # RFC 3463 §3.4: X.3.5 is a system that is not configured for the delivery.
        return [
            Deferred(RemoteReply.ours(451, "4.3.5", f"No route is configured for {recipient}"), cause=Cause.ROUTE)
            for recipient in delivery.recipients
        ]

    async def close(self) -> None:
        """Nothing is open."""


NO_ROUTE = _Nowhere()


@value(frozen=True, slots=True)
class Group:
    """Recipients that go together.

    Args:
        route: the way they go.
        indices: their places among the recipients of the envelope.
    """

    route: Route
    indices: tuple[int, ...]


def group(envelope: Envelope, indices: Sequence[int], routes: Routes, limit: int) -> list[Group]:
    """Sort the recipients at *indices* by route, in their order, at most *limit* in one group."""
    if len(indices) == 1:
        index = indices[0]
        return [Group(routes.route_for(envelope, envelope.recipients[index]) or NO_ROUTE, (index,))]
    by_name: dict[str, tuple[Route, list[int]]] = {}
    for index in indices:
        route = routes.route_for(envelope, envelope.recipients[index]) or NO_ROUTE
        by_name.setdefault(route.name, (route, []))[1].append(index)
    return [
        Group(route, tuple(members[start : start + limit]))
        for route, members in by_name.values()
        for start in range(0, len(members), limit)
    ]


def is_left_over(result: Result, results: Sequence[Result]) -> bool:
    """Tell whether the recipient of *result* is for another transaction: the next hop, or we, had enough."""
    # RFC 5321 §4.5.3.1.10: 452 after some recipients means "too many", and the rest is sent again at once.
    return (
        isinstance(result, Deferred)
        and result.reply.code == 452
        and (not result.reply.is_remote or any(isinstance(each, Delivered) for each in results))
    )
