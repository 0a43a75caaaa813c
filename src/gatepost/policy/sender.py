"""Who may write as whom: MAIL FROM, the From field and the Sender field must belong to the one who logged in."""

from __future__ import annotations

from typing import ClassVar

from gatepost.model.address import Mailbox
from gatepost.model.envelope import Transaction
from gatepost.model.identity import Identity
from gatepost.model.reply import NOT_YOUR_ADDRESS, NOT_YOUR_FROM
from gatepost.model.verdict import ACCEPT, Refuse, Verdict
from gatepost.policy.policy import Stage

__all__ = ["HeaderFrom", "OwnSender"]


class OwnSender:
    """Refuse a reverse-path the identity has no right to.

    The null path is the business of `null_sender`, a policy of its own.

    Args:
        detail_separator: what sets off a detail that everybody may add to an address of theirs; None for no details.
    """

    name = "own-sender"
    stage: ClassVar[Stage] = Stage.MAIL

    def __init__(self, *, detail_separator: str | None = "+") -> None:
        self._separator = detail_separator

    def check(self, transaction: Transaction) -> Verdict:
        """Judge the reverse-path."""
        mailbox, identity = transaction.reverse_path, transaction.identity
        # RFC 6409 §6.1: a server may refuse a sender that the login has no right to.
        if mailbox is None or _owns(identity, mailbox, self._separator):
            return ACCEPT
        return Refuse(NOT_YOUR_ADDRESS, f"{_who(identity)} may not send as {mailbox}")


class HeaderFrom:
    """Refuse a message that shows its readers an author or sender the identity has no right to.

    Args:
        detail_separator: as for `OwnSender`.
    """

    name = "header-from"
    stage: ClassVar[Stage] = Stage.HEADER

    def __init__(self, *, detail_separator: str | None = "+") -> None:
        self._separator = detail_separator

    def check(self, transaction: Transaction) -> Verdict:
        """Judge every address of From, and the one of Sender."""
        identity = transaction.identity
        shown = [("From", mailbox) for mailbox in transaction.header_from]
        if transaction.header_sender is not None:
            shown.append(("Sender", transaction.header_sender))
        for field, mailbox in shown:
            if not _owns(identity, mailbox, self._separator):
                return Refuse(NOT_YOUR_FROM, f"{_who(identity)} may not write as {mailbox} in {field}")
        return ACCEPT


def _owns(identity: Identity, mailbox: Mailbox, separator: str | None) -> bool:
    if identity.may_send_as(mailbox):
        return True
    if not separator:
        return False
    plain = mailbox.without_detail(separator)
    return plain is not mailbox and identity.may_send_as(plain)


def _who(identity: Identity) -> str:
    return f"{identity.account} with credential {identity.label or identity.credential}"
