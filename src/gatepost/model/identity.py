"""Who somebody is once it is known, and secrets that never print."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from gatepost.errors import Malformed
from gatepost.model.address import Mailbox, ascii_domain, parse_domain, parse_mailbox
from gatepost.model.standing import Standing

__all__ = ["Identity", "Secret", "SenderPattern", "Standing", "parse_sender_pattern"]


class Secret:
    """Octets that must not show: `repr`, `str`, logs and tracebacks see three asterisks."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value: Final = value

    def reveal(self) -> bytes:
        """Return the octets."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return NotImplemented if not isinstance(other, Secret) else self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not written down")


@dataclass(frozen=True, slots=True)
class SenderPattern:
    """Addresses somebody may write as.

    Args:
        local: local part in lower case, or None for every one.
        domain: domain in A-labels and lower case, or None for every one.
    """

    local: str | None
    domain: str | None

    def matches(self, mailbox: Mailbox) -> bool:
        """Tell whether *mailbox* is one of them; the case of local parts is not looked at."""
        return (self.domain is None or self.domain == mailbox.ascii_domain) and (
            self.local is None or self.local == mailbox.local.lower()
        )

    def __str__(self) -> str:
        if self.domain is None:
            return "*"
        return f"*@{self.domain}" if self.local is None else str(Mailbox(self.local, self.domain))


def parse_sender_pattern(text: str) -> SenderPattern:
    """Parse ``tim@example.org``, ``*@example.org`` (or ``@example.org``), or ``*`` for everybody.

    Raises:
        Malformed: it is none of these.
    """
    if text == "*":
        return SenderPattern(None, None)
    for start in ("*@", "@"):
        if text.startswith(start):
            return SenderPattern(None, ascii_domain(parse_domain(text.removeprefix(start))))
    if "@" not in text:
        raise Malformed(f"{text!r} is no address; write name@domain, *@domain or *")
    mailbox = parse_mailbox(text)
    # It would print as a pattern for a whole domain, or be taken for one.
    if "*" in mailbox.local:
        raise Malformed(f"{text!r} has an asterisk in a name; write name@domain, *@domain or *")
    return SenderPattern(mailbox.local.lower(), mailbox.ascii_domain)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is logged in, by which credential, and what that allows.

    Args:
        account: login name, as stored.
        credential: id of the credential, as stored.
        label: what its owner calls the credential.
        senders: whom the account may write as.
        only_senders: what this credential narrows that to; empty means no narrowing.
        only_recipients: whom this credential may write to; empty means everybody.
        messages_per_minute: how many messages this credential may send in a minute; None means as many as the account.
        max_message_bytes: the account's own limit, or None for the server's.
        max_recipients: the account's own limit a message, or None for the server's.
        null_sender: whether it may use the null reverse-path; None leaves it to the policy.
        sandbox: whether its mail goes to the sandbox only.
        standing: whether the access token they came with still counts, where somebody watches that.
    """

    account: str
    credential: str
    label: str = ""
    senders: tuple[SenderPattern, ...] = ()
    only_senders: tuple[SenderPattern, ...] = ()
    only_recipients: tuple[SenderPattern, ...] = ()
    messages_per_minute: int | None = None
    max_message_bytes: int | None = None
    max_recipients: int | None = None
    null_sender: bool | None = None
    sandbox: bool = False
    standing: Standing | None = field(default=None, repr=False, compare=False)

    def may_send_as(self, mailbox: Mailbox) -> bool:
        """Tell whether it may write as *mailbox*."""
        return _covers(self.senders, mailbox) and (not self.only_senders or _covers(self.only_senders, mailbox))

    def may_write_to(self, mailbox: Mailbox) -> bool:
        """Tell whether it may write to *mailbox*."""
        return not self.only_recipients or _covers(self.only_recipients, mailbox)


def _covers(patterns: tuple[SenderPattern, ...], mailbox: Mailbox) -> bool:
    for each in patterns:  # noqa: SIM110 - any() would make a generator, for each message twice
        if each.matches(mailbox):
            return True
    return False
