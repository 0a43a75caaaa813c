"""What a policy is: a name, the stage at which it is asked, and a check that returns a verdict."""

from __future__ import annotations

import enum
from collections.abc import Awaitable
from typing import Protocol

from gatepost.model.envelope import Transaction
from gatepost.model.verdict import Verdict

__all__ = ["Policy", "Stage"]


class Stage(enum.Enum):
    """When a policy is asked."""

    MAIL = "mail"  # after MAIL was parsed
    RCPT = "rcpt"  # for each RCPT; the recipient is `Transaction.pending`
    HEADER = "header"  # the header section is known, before the message is kept

    __hash__ = object.__hash__  # that of Enum is Python, and asked three times a message


class Policy(Protocol):
    """One rule.

    `check` is a coroutine function where it asks somebody, else a plain one, which costs less.  One that waits for
    an answer at MAIL or RCPT says so with ``waits = True``.  One that takes something for a message has a method
    ``undo(transaction)``, which is called when the message could not be kept.
    """

    name: str

    @property
    def stage(self) -> Stage:
        """When it is asked."""
        ...

    def check(self, transaction: Transaction) -> Verdict | Awaitable[Verdict]:
        """Judge *transaction* as it stands."""
        ...
