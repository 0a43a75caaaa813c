"""Who may use the null reverse-path: programs that answer or report, and nobody else by default (RFC 5321 §4.5.5)."""

from __future__ import annotations

from typing import ClassVar

from gatepost.model.envelope import Transaction
from gatepost.model.reply import NULL_SENDER_REFUSED
from gatepost.model.verdict import ACCEPT, Refuse, Verdict
from gatepost.policy.policy import Stage

__all__ = ["NullSender"]


class NullSender:
    """Refuse the null reverse-path.

    Args:
        allow: what holds for an identity that says nothing about it.
    """

    name = "null-sender"
    stage: ClassVar[Stage] = Stage.MAIL

    def __init__(self, *, allow: bool = False) -> None:
        self._allow = allow

    def check(self, transaction: Transaction) -> Verdict:
        """Judge the reverse-path, if it is null."""
        if transaction.reverse_path is not None:
            return ACCEPT
        identity = transaction.identity
        if self._allow if identity.null_sender is None else identity.null_sender:
            return ACCEPT
        why = "nobody may by default" if identity.null_sender is None else "the account may not"
        return Refuse(NULL_SENDER_REFUSED, f"{identity.account} used the null sender: {why}")
