"""The envelope of a message, the transaction that makes it, the receipt that proves it is kept (RFC 5321 §2.3.1)."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NewType

from gatepost.model.address import Mailbox
from gatepost.model.identity import Identity
from gatepost.model.notify import Notify
from gatepost.model.peer import Peer
from gatepost.model.value import value

__all__ = ["Body", "Envelope", "MessageId", "Notify", "Receipt", "Recipient", "Ret", "Transaction"]

MessageId = NewType("MessageId", str)
"""Name of a message in spool, queue and log: letters and digits, in the order of acceptance."""


class Body(enum.Enum):
    """What the content is made of (RFC 6152 §2)."""

    SEVEN_BIT = "7BIT"
    EIGHT_BIT = "8BITMIME"


class Ret(enum.Enum):
    """How much of the message a report of failure holds (RFC 3461 §4.3)."""

    FULL = "FULL"
    HEADERS = "HDRS"


@value(frozen=True, slots=True)
class Recipient:
    """One forward-path, and what the client asked for with it.

    Args:
        mailbox: whom it is for.
        notify: from NOTIFY= on RCPT; None when not given.
        orcpt: from ORCPT= on RCPT, type and xtext as they came; empty when not given.
    """

    mailbox: Mailbox
    notify: Notify | None = None
    orcpt: str = ""

    def __str__(self) -> str:
        return str(self.mailbox)


@value(frozen=True, slots=True)
class Envelope:
    """Everything but the content.

    Args:
        reverse_path: where a bounce goes; None is the null path.
        recipients: at least one.
        body: what the content really holds, whatever was declared.
        smtputf8: whether an address or a header field is UTF-8, so that a next hop needs SMTPUTF8 (RFC 6531 §3.2).
        account: login name of who submitted it; empty for our own notifications.
        credential: id of the credential it was submitted with; empty for our own notifications.
        label: what its owner called that credential then.
        header_bytes: length of the header section with its empty line, as it will be relayed.
        size_bytes: length of the content, as it will be relayed, without dot-stuffing.
        sandbox: whether it must go to a sandbox, whatever the routes say.
        ret: from RET= on MAIL; None when not given.
        envid: from ENVID= on MAIL, xtext as it came; empty when not given.
        fields: values of header fields that a route asks for, by name in lower case; they are read from the content
            when they are needed, and not written down.
        route: name of the route that an operator chose for it; empty for what the configuration says.
        signatures: how many DKIM signatures of ours it bears: the first ones in its header.
    """

    reverse_path: Mailbox | None
    recipients: tuple[Recipient, ...]
    body: Body = Body.SEVEN_BIT
    smtputf8: bool = False
    account: str = ""
    credential: str = ""
    header_bytes: int = 0
    size_bytes: int = 0
    sandbox: bool = False
    ret: Ret | None = None
    envid: str = ""
    label: str = ""
    fields: tuple[tuple[str, tuple[str, ...]], ...] = ()
    route: str = ""
    signatures: int = 0


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that a message lies durably in the spool.  Only a spool makes one, after its commit."""

    id: MessageId
    size_bytes: int


@dataclass(slots=True)
class Transaction:
    """A mail transaction while it grows, from MAIL to the end of data (RFC 5321 §3.3): what policies see.

    Args:
        identity: who is logged in.
        peer: the other end of the connection.
        reverse_path: from MAIL; None is the null path.
        recipients: those accepted so far.
        pending: the recipient that RCPT asks for now, at that stage only.
        declared_size: from SIZE= on MAIL, in octets; None when not given.
        body: from BODY= on MAIL.
        smtputf8: whether SMTPUTF8 stood on MAIL.
        ret: from RET= on MAIL; None when not given.
        envid: from ENVID= on MAIL, xtext as it came; empty when not given.
        header_from: addresses of the From field, when the header is known.
        header_sender: address of the Sender field, if there is one.
    """

    identity: Identity
    peer: Peer
    reverse_path: Mailbox | None
    recipients: list[Recipient] = field(default_factory=list)
    pending: Recipient | None = None
    declared_size: int | None = None
    body: Body = Body.SEVEN_BIT
    smtputf8: bool = False
    ret: Ret | None = None
    envid: str = ""
    header_from: tuple[Mailbox, ...] = ()
    header_sender: Mailbox | None = None
