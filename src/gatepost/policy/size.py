"""How big a message may be, as far as its client says so before it sends it (RFC 1870 §6.1)."""

from __future__ import annotations

from typing import ClassVar

from gatepost.model.envelope import Transaction
from gatepost.model.reply import MESSAGE_TOO_BIG
from gatepost.model.verdict import ACCEPT, Refuse, Verdict
from gatepost.policy.policy import Stage

__all__ = ["DeclaredSize"]


class DeclaredSize:
    """Refuse a declared size over the limit; what is really sent is counted as it arrives.

    Args:
        message_bytes: the server's limit; an account may have a smaller one.
    """

    name = "declared-size"
    stage: ClassVar[Stage] = Stage.MAIL

    def __init__(self, message_bytes: int) -> None:
        self._limit = message_bytes

    def check(self, transaction: Transaction) -> Verdict:
        """Judge SIZE=."""
        declared = transaction.declared_size
        if declared is None:
            return ACCEPT
        own = transaction.identity.max_message_bytes
        limit = self._limit if own is None else min(own, self._limit)
        if declared <= limit:
            return ACCEPT
        # RFC 1870 §6.1: a size over a fixed limit is a 552, in answer to MAIL.
        return Refuse(MESSAGE_TOO_BIG, f"{declared} octets declared, {transaction.identity.account} may send {limit}")
