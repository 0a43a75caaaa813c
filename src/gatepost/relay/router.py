"""Which way a message goes: the first route that matches sender, account and recipient."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gatepost.errors import Malformed
from gatepost.model.address import Mailbox, ascii_domain, parse_domain
from gatepost.model.envelope import Envelope, Recipient
from gatepost.relay.discard import Discard
from gatepost.relay.sandbox import Sandbox
from gatepost.relay.transport import Transport

__all__ = ["DomainPattern", "Match", "Route", "Router", "parse_domain_pattern"]


@dataclass(frozen=True, slots=True)
class DomainPattern:
    """One domain, or all below it.

    Args:
        domain: in A-labels and lower case; empty for every domain.
        is_below: whether it stands for what is below the domain, not for the domain itself.
    """

    domain: str
    is_below: bool = False

    def matches(self, mailbox: Mailbox) -> bool:
        """Tell whether the domain of *mailbox* is one of them."""
        if not self.domain:
            return True
        if self.is_below:
            return mailbox.ascii_domain.endswith(f".{self.domain}")
        return mailbox.ascii_domain == self.domain

    def __str__(self) -> str:
        return "*" if not self.domain else f"*.{self.domain}" if self.is_below else self.domain


def parse_domain_pattern(text: str) -> DomainPattern:
    """Parse ``example.org``, ``*.example.org`` for what is below it, or ``*`` for every domain.

    Raises:
        Malformed: it is none of these.
    """
    if text == "*":
        return DomainPattern("")
    domain = text.removeprefix("*.")
    if not domain:
        raise Malformed("bad domain")
    return DomainPattern(ascii_domain(parse_domain(domain)), is_below=domain != text)


@dataclass(frozen=True, slots=True)
class Match:
    """Which mail a route takes: each list that is given must match; an empty one matches everything.

    Args:
        recipient_domains: domains of the recipient.
        sender_domains: domains of the reverse-path; the null path is in none of them.
        accounts: logins of who submitted it.
    """

    recipient_domains: tuple[DomainPattern, ...] = ()
    sender_domains: tuple[DomainPattern, ...] = ()
    accounts: frozenset[str] = frozenset()

    def matches(self, envelope: Envelope, recipient: Recipient) -> bool:
        """Tell whether it takes this recipient's copy."""
        if self.accounts and envelope.account not in self.accounts:
            return False
        sender = envelope.reverse_path
        if self.sender_domains and (sender is None or not any(each.matches(sender) for each in self.sender_domains)):
            return False
        return not self.recipient_domains or any(each.matches(recipient.mailbox) for each in self.recipient_domains)


@dataclass(frozen=True, slots=True)
class Route:
    """A transport, and which mail takes it."""

    name: str
    transport: Transport
    match: Match = field(default_factory=Match)

    @property
    def is_sandbox(self) -> bool:
        """Whether it takes mail that must stay here."""
        transport = self.transport
        return isinstance(transport, Sandbox) or (isinstance(transport, Discard) and transport.takes_sandbox)


class Router:
    """The routes, in the order of the configuration."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)

    def route_for(self, envelope: Envelope, recipient: Recipient) -> Route | None:
        """Return the route of this recipient's copy, or None if it may go nowhere.

        Mail that must stay in a sandbox takes the first sandbox route that matches, else the first that keeps it, and
        never another.
        """
        routes = self.routes
        if envelope.sandbox:
            routes = tuple(route for route in routes if route.is_sandbox)
        for route in routes:
            if route.match.matches(envelope, recipient):
                return route
        if not envelope.sandbox:
            return None
        return next((route for route in routes if isinstance(route.transport, Sandbox)), None)

    async def close(self) -> None:
        """Let go of every transport."""
        for route in self.routes:
            await route.transport.close()
