"""What an extension may add to a session: a line of the EHLO reply, and parameters of MAIL and RCPT (RFC 5321 §2.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gatepost.session.params import MailParameters, RecipientParameters

__all__ = ["Extension", "Moment"]


@dataclass(frozen=True, slots=True)
class Moment:
    """The facts about a connection at the time of EHLO.

    Args:
        is_tls: whether it is encrypted.
        offers_tls: whether STARTTLS would work.
        mechanisms: SASL mechanisms that would work; empty once logged in.
        message_bytes: largest message that would be taken.
        recipients: how many a message may have; None where that is not limited.
        reports: whether we deliver what is taken, and send reports about it.
    """

    is_tls: bool
    offers_tls: bool
    mechanisms: tuple[str, ...]
    message_bytes: int
    recipients: int | None
    reports: bool = True


@dataclass(frozen=True, slots=True)
class Extension:
    """One ESMTP extension.

    Args:
        keyword: as registered with IANA.
        announce: gives the line of the EHLO reply at a moment, or None where the extension does not hold.
        mail_parameters: for each keyword on MAIL, a reader of its value (None when it has none); raises `Malformed`.
        recipient_parameters: the same on RCPT.
    """

    keyword: str
    announce: Callable[[Moment], str | None]
    mail_parameters: Mapping[str, Callable[[str | None, MailParameters], None]] = field(default_factory=dict)
    recipient_parameters: Mapping[str, Callable[[str | None, RecipientParameters], None]] = field(default_factory=dict)
