"""Whom a login may write to, and how many recipients one transaction may have (RFC 5321 §4.5.3.1.8)."""

from __future__ import annotations

from typing import ClassVar

from gatepost.model.envelope import Transaction
from gatepost.model.reply import NOT_YOUR_RECIPIENT, TOO_MANY_RECIPIENTS
from gatepost.model.verdict import ACCEPT, Refuse, Verdict
from gatepost.policy.policy import Stage

__all__ = ["AllowedRecipients", "RecipientLimit"]

# RFC 5321 §4.5.3.1.8: a server takes at least 100; fewer are for an account that shall not send to many.
_DEFAULT = 100


class AllowedRecipients:
    """Refuse a recipient that the credential may not write to."""

    name = "allowed-recipients"
    stage: ClassVar[Stage] = Stage.RCPT

    def check(self, transaction: Transaction) -> Verdict:
        """Judge one more recipient."""
        identity, pending = transaction.identity, transaction.pending
        if not identity.only_recipients or pending is None or identity.may_write_to(pending.mailbox):
            return ACCEPT
        who = f"{identity.account} with credential {identity.label or identity.credential}"
        return Refuse(NOT_YOUR_RECIPIENT, f"{who} may not write to {pending.mailbox}")


class RecipientLimit:
    """Refuse a recipient when there are enough; the client sends the rest in another transaction.

    Args:
        recipients: the server's limit; an account may have a smaller one.
    """

    name = "recipient-limit"
    stage: ClassVar[Stage] = Stage.RCPT

    def __init__(self, recipients: int = _DEFAULT) -> None:
        self._limit = recipients

    def check(self, transaction: Transaction) -> Verdict:
        """Judge one more recipient."""
        own = transaction.identity.max_recipients
        limit = self._limit if own is None else min(own, self._limit)
        if len(transaction.recipients) < limit:
            return ACCEPT
        # RFC 5321 §4.5.3.1.10: too many is a 452, and those before it stand.
        return Refuse(TOO_MANY_RECIPIENTS, f"{transaction.identity.account} may have {limit} recipients a message")
