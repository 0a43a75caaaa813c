"""What a next hop that offers DSN is told of the reports that are wanted: what the client said (RFC 3461 §5.2.1)."""

from __future__ import annotations

from gatepost.model.envelope import Envelope, Notify, Recipient
from gatepost.model.xtext import orcpt_in_ascii

__all__ = ["mail_parameters", "rcpt_parameters"]


def mail_parameters(envelope: Envelope) -> str:
    """Return RET and ENVID for MAIL, as they were given, with a space before each."""
    # RFC 3461 §5.2.1: RET and ENVID go on as they came, and are not made up.
    ret = "" if envelope.ret is None else f" RET={envelope.ret.value}"
    return f"{ret} ENVID={envelope.envid}" if envelope.envid else ret


def rcpt_parameters(recipient: Recipient, *, in_utf8: bool) -> str:
    """Return NOTIFY and ORCPT for RCPT, as they were given, with a space before each.

    Args:
        recipient: whom it is about.
        in_utf8: whether the transaction has SMTPUTF8.
    """
    # RFC 3461 §5.2.1: NOTIFY and ORCPT go on as they came, and NOTIFY is not made up.
    notify, orcpt = recipient.notify, recipient.orcpt
    text = "" if notify is None else " NOTIFY=" + ",".join([str(each.name) for each in Notify if each in notify])
    if not orcpt:
        return text
    # RFC 6533 §3: without SMTPUTF8 an address of type utf-8 is written in ASCII.
    return f"{text} ORCPT={orcpt if in_utf8 else orcpt_in_ascii(orcpt)}"
