"""Which way a message goes: the first route that matches it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from gatepost.model.envelope import Envelope, Recipient
from gatepost.relay.discard import Discard
from gatepost.relay.match import Match
from gatepost.relay.sandbox import Sandbox
from gatepost.relay.transport import Transport
from gatepost.state.pace import Pace

__all__ = ["Route", "Router"]


@dataclass(frozen=True, slots=True)
class Route:
    """A transport, and which mail takes it.

    Args:
        name: what it is called.
        transport: what carries the mail.
        match: which mail.
        pace: how fast it may go; None for as fast as it can.
    """

    name: str
    transport: Transport
    match: Match = field(default_factory=Match)
    pace: Pace | None = None

    @property
    def is_sandbox(self) -> bool:
        """Whether it takes mail that must stay here."""
        transport = self.transport
        return isinstance(transport, Sandbox) or (isinstance(transport, Discard) and transport.takes_sandbox)


class Router:
    """The routes, in the order of the configuration.

    Attributes:
        fields: names of the header fields that some route asks for, in lower case: `Envelope.fields` must hold them.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self.fields = frozenset(each.name for route in self.routes for each in route.match.headers)

    def route_for(self, envelope: Envelope, recipient: Recipient) -> Route | None:
        """Return the route of this recipient's copy, or None if it may go nowhere.

        A route that an operator chose for a message comes first, as long as there is one of that name.  Mail that must
        stay in a sandbox takes the first sandbox route that matches, else the first that keeps it, and
        never another.
        """
        routes = self.routes
        if envelope.sandbox:
            routes = tuple(route for route in routes if route.is_sandbox)
        if envelope.route:
            for route in routes:
                # Its own login comes after those that are for some senders.
                of_it = route.name.partition(":")[0] == envelope.route and route.match.is_login_for(envelope)
                if of_it or (":" in envelope.route and route.name == envelope.route):
                    return route
        for route in routes:
            if route.match.matches(envelope, recipient):
                return route
        if not envelope.sandbox:
            return None
        return next((route for route in routes if isinstance(route.transport, Sandbox)), None)

    def passed_over(self, envelope: Envelope, recipient: Recipient) -> list[tuple[Route, str]]:
        """Return the routes before that of this recipient's copy, each with the key that does not match.

        The key is ``sandbox`` for a route that is none, where the mail must stay in one.
        """
        taken, passed = self.route_for(envelope, recipient), []
        for route in self.routes:
            if envelope.sandbox and not route.is_sandbox:
                passed.append((route, "sandbox"))
            elif route is taken:
                break
            else:
                passed.append((route, route.match.mismatch(envelope, recipient)))
        return passed

    async def close(self) -> None:
        """Let go of every transport."""
        # All at once: each may wait a while for a next hop that does not answer QUIT, and there may be many.
        await asyncio.gather(*[route.transport.close() for route in self.routes])
