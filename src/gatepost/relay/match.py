"""Which mail a route takes: patterns for domains and texts, and all that must fit at once."""

from __future__ import annotations

from dataclasses import dataclass, field

from gatepost.errors import Malformed
from gatepost.model.address import Mailbox, ascii_domain, parse_domain, parse_mailbox
from gatepost.model.envelope import Envelope, Recipient

__all__ = ["DomainPattern", "HeaderPattern", "Match", "TextPattern", "parse_domain_pattern", "sender_key"]


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


def sender_key(text: str) -> str:
    """Return how the address *text*, or ``<>``, is compared: the case of its local part is not looked at.

    Raises:
        Malformed: it is no address.
    """
    return "<>" if text == "<>" else _key(parse_mailbox(text))


def _key(mailbox: Mailbox | None) -> str:
    return "<>" if mailbox is None else f"{mailbox.local.lower()}@{mailbox.ascii_domain}"


class TextPattern:
    """A text in which ``*`` stands for any run of characters, in any case of letters.

    It takes time in proportion to the text, whatever somebody put into it.
    """

    __slots__ = ("_first", "_last", "_middle", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._first, *rest = text.casefold().split("*")
        self._last = rest.pop() if rest else None
        self._middle = rest

    def matches(self, value: str) -> bool:
        """Tell whether *value* as a whole is such a text."""
        value = value.casefold()
        if self._last is None:
            return value == self._first
        if not value.startswith(self._first):
            return False
        place = len(self._first)
        for part in self._middle:
            found = value.find(part, place)
            if found < 0:
                return False
            place = found + len(part)
        return len(value) - place >= len(self._last) and value.endswith(self._last)


@dataclass(frozen=True, slots=True)
class HeaderPattern:
    """A header field that must be there, with one of these values.

    Args:
        name: its name, in lower case.
        values: what its value may be.
    """

    name: str
    values: tuple[TextPattern, ...]

    def matches(self, envelope: Envelope) -> bool:
        """Tell whether a field of that name has such a value."""
        for name, found in envelope.fields:
            if name == self.name:
                return any(pattern.matches(value) for value in found for pattern in self.values)
        return False


@dataclass(frozen=True, slots=True)
class Match:
    """Which mail a route takes: each that is given must match; an empty one matches everything.

    Args:
        recipient_domains: domains of the recipient.
        sender_domains: domains of the reverse-path; the null path is in none of them.
        senders: reverse-paths by `sender_key`, which match beside *sender_domains*.
        accounts: logins of who submitted it.
        credentials: ids or labels of what it was submitted with.
        headers: fields of its header.
        size_over: octets that it must exceed.
        size_up_to: octets that it must not exceed.
        login_domains: domains of the reverse-path for which its login is meant; see `gatepost.route_parts`.

    Attributes:
        is_open: whether it takes everything.
    """

    recipient_domains: tuple[DomainPattern, ...] = ()
    sender_domains: tuple[DomainPattern, ...] = ()
    accounts: frozenset[str] = frozenset()
    senders: frozenset[str] = frozenset()
    credentials: frozenset[str] = frozenset()
    headers: tuple[HeaderPattern, ...] = ()
    size_over: int | None = None
    size_up_to: int | None = None
    login_domains: tuple[DomainPattern, ...] = ()
    is_open: bool = field(init=False, default=True)

    def __post_init__(self) -> None:
        lists = (self.recipient_domains, self.sender_domains, self.accounts, self.senders, self.credentials)
        is_open = not any(lists) and not self.headers and not self.login_domains
        object.__setattr__(self, "is_open", is_open and self.size_over is None and self.size_up_to is None)

    def matches(self, envelope: Envelope, recipient: Recipient) -> bool:
        """Tell whether it takes this recipient's copy."""
        return self.is_open or not self.mismatch(envelope, recipient)

    def mismatch(self, envelope: Envelope, recipient: Recipient) -> str:
        """Return what of this recipient's copy does not match, as the first such key; empty if it takes it."""
        if self.accounts and envelope.account not in self.accounts:
            return "accounts"
        if self.credentials and envelope.credential not in self.credentials and envelope.label not in self.credentials:
            return "credentials"
        sender = envelope.reverse_path
        if (self.sender_domains or self.senders) and not (
            _is_in(self.sender_domains, sender) or _key(sender) in self.senders
        ):
            return "sender_domains" if self.sender_domains else "senders"
        if self.recipient_domains and not _is_in(self.recipient_domains, recipient.mailbox):
            return "recipient_domains"
        if self.size_over is not None and envelope.size_bytes <= self.size_over:
            return "size_over"
        if self.size_up_to is not None and envelope.size_bytes > self.size_up_to:
            return "size_up_to"
        for each in self.headers:
            if not each.matches(envelope):
                return "headers"
        return "" if self.is_login_for(envelope) else "logins"

    def is_login_for(self, envelope: Envelope) -> bool:
        """Tell whether the login of its way is meant for the sender."""
        return not self.login_domains or _is_in(self.login_domains, envelope.reverse_path)


def _is_in(patterns: tuple[DomainPattern, ...], mailbox: Mailbox | None) -> bool:
    if mailbox is not None:
        for each in patterns:
            if each.matches(mailbox):
                return True
    return False
