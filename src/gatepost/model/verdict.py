"""What a policy decides: a value, never an exception."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gatepost.model.reply import Reply

__all__ = ["ACCEPT", "Accept", "Hold", "Refuse", "Verdict"]


@dataclass(frozen=True, slots=True)
class Accept:
    """Go on."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Say *reply* to the client; *reason* goes to log and audit only."""

    reply: Reply
    reason: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Accept the message, but keep it until somebody releases it; *reason* goes to log and audit."""

    reason: str


Verdict = Accept | Refuse | Hold
ACCEPT: Final = Accept()
