"""How much an account may send in a day and in a minute, and a credential in a minute, over all processes of the node.

`RecipientQuota` says no at the first recipient that is too many, by what is known here; it waits for nobody.  `Quota`
takes what a message costs when its header is known, just before it is kept, and has the last word.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from gatepost.model.envelope import Transaction
from gatepost.model.identity import Identity
from gatepost.model.reply import Reply
from gatepost.model.verdict import ACCEPT, Refuse, Verdict
from gatepost.policy.policy import Stage
from gatepost.state.counters import Counters
from gatepost.state.windows import MESSAGES, RECIPIENTS, Shortage, Want

__all__ = ["Quota", "RecipientQuota"]


class _Limits:
    """What a message costs, and how much there is; 0 is no limit."""

    def __init__(self, counters: Counters, recipients_per_day: int, messages_per_minute: int) -> None:
        self._counters = counters
        self._recipients = recipients_per_day
        self._messages = messages_per_minute
        self._one = self._all_wants(1)

    def _wants(self, recipients: int) -> Sequence[Want]:
        return self._one if recipients == 1 else self._all_wants(recipients)

    def _all_wants(self, recipients: int) -> Sequence[Want]:
        wants = []
        if self._recipients:
            wants.append(Want(RECIPIENTS, recipients, self._recipients))
        if self._messages:
            wants.append(Want(MESSAGES, 1, self._messages))
        return wants


class RecipientQuota(_Limits):
    """Refuse a recipient when the account seems to have none left.

    Args:
        counters: of the node.
        recipients_per_day: how many an account may write to in 24 hours.
        messages_per_minute: how many messages an account may send in a minute.
    """

    name = "recipient-quota"
    stage: ClassVar[Stage] = Stage.RCPT

    def check(self, transaction: Transaction) -> Verdict:
        """Judge one more recipient."""
        account = transaction.identity.account
        if not account:
            return ACCEPT
        rate = transaction.identity.messages_per_minute
        if rate is not None:
            shortage = self._counters.peek(_key(transaction.identity), (Want(MESSAGES, 1, rate),))
            if shortage is not None:
                return _refusal(_who(transaction.identity), shortage)
        wants = self._wants(len(transaction.recipients) + 1)
        shortage = self._counters.peek(account, wants) if wants else None
        return ACCEPT if shortage is None else _refusal(account, shortage)


class Quota(_Limits):
    """Take what the message costs, or refuse it; the last to be asked.

    Args:
        counters: of the node.
        recipients_per_day: how many an account may write to in 24 hours.
        messages_per_minute: how many messages an account may send in a minute.
    """

    name = "quota"
    stage: ClassVar[Stage] = Stage.HEADER

    async def check(self, transaction: Transaction) -> Verdict:
        """Take it for the whole message."""
        account = transaction.identity.account
        if not account:
            return ACCEPT
        rate = transaction.identity.messages_per_minute
        if rate is not None:
            shortage = await self._counters.take(_key(transaction.identity), (Want(MESSAGES, 1, rate),))
            if shortage is not None:
                return _refusal(_who(transaction.identity), shortage)
        wants = self._wants(len(transaction.recipients))
        shortage = await self._counters.take(account, wants) if wants else None
        if shortage is None:
            return ACCEPT
        if rate is not None:
            self._counters.give_back(_key(transaction.identity), MESSAGES, 1)
        return _refusal(account, shortage)

    def undo(self, transaction: Transaction) -> None:
        """Return it: the message could not be kept."""
        if transaction.identity.account:
            if transaction.identity.messages_per_minute is not None:
                self._counters.give_back(_key(transaction.identity), MESSAGES, 1)
            for want in self._wants(len(transaction.recipients)):
                self._counters.give_back(transaction.identity.account, want.window, want.amount)


def _key(identity: Identity) -> str:
    # No account is named so.
    return f"{identity.account}\n{identity.credential}"


def _who(identity: Identity) -> str:
    return f"{identity.account} with credential {identity.label or identity.credential}"


def _refusal(account: str, shortage: Shortage) -> Refuse:
    # RFC 5321 §4.2.1: the client keeps the mail and tries again, so a 4yz.  452 would make it send the rest at once.
    want = shortage.want
    what = "recipients in a day" if want.window is RECIPIENTS else "messages in a minute"
    reply = Reply.of(451, "4.7.1", f"Too many {what}, try again in {_duration(shortage.seconds)}")
    return Refuse(reply, f"{account} may have {want.limit} {what}")


def _duration(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds > size:
            return f"{math.ceil(seconds / size)} {unit}"
    return f"{math.ceil(seconds)} s"
