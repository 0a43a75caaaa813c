"""What one caller wants written to the database, and what became of it."""

from __future__ import annotations

import asyncio
import enum
from dataclasses import dataclass

from gatepost.errors import SpoolUnavailable
from gatepost.model.envelope import MessageId
from gatepost.spool.row import Row
from gatepost.spool.spool import Entry

__all__ = ["Alteration", "Change", "Fate", "Rewrite", "Update"]

Update = tuple[float, float, int, str, MessageId]
"""New due, stalled, attempts and progress of a message, and its name."""

Alteration = tuple[bool | None, float | None, bool | None, MessageId]
"""Whether a message is held, when it is due, once more whether it is held, and its name; None changes nothing."""

Rewrite = tuple[float, str, str, MessageId]
"""New due, envelope and progress of a message, and its name."""


class Fate(enum.Enum):
    """What became of a change."""

    WAITS = "waits"
    WRITTEN = "written"
    DROPPED = "dropped"  # its caller went away before the writer took it
    FAILED = "failed"  # it was rolled back
    DOUBTFUL = "doubtful"  # the commit itself failed: after a crash, before the next commit, it might still appear


@dataclass(slots=True, eq=False, repr=False)
class Change:
    """What one caller wants written, whole or not at all.

    Args:
        future: who waits for it.
        entries: messages that are new, each with the length of its body's file, if it has one.
        messages: their rows.
        contents: their names and what the database keeps of their contents.
        updates: new states of messages.
        alterations: what an operator changed.
        rewrites: envelopes that an operator changed.
        removed: messages that are finished.
        body: the body file that `messages` names, if any.
        finished_body: the body file of `removed`, if any.
        can_drop: whether it need not be written when nobody waits for it any more.
        changed: messages that were there before and are not as they were.
    """

    future: asyncio.Future[None]
    entries: tuple[tuple[Entry, int | None], ...] = ()
    messages: tuple[Row, ...] = ()
    contents: tuple[tuple[MessageId, bytes | bytearray], ...] = ()
    updates: tuple[Update, ...] = ()
    alterations: tuple[Alteration, ...] = ()
    rewrites: tuple[Rewrite, ...] = ()
    removed: tuple[MessageId, ...] = ()
    body: MessageId | None = None
    finished_body: MessageId | None = None
    can_drop: bool = False
    changed: tuple[MessageId, ...] = ()
    fate: Fate = Fate.WAITS
    error: SpoolUnavailable | None = None

    def fail(self, error: SpoolUnavailable, fate: Fate = Fate.FAILED) -> None:
        """Note why it was not written."""
        self.fate = fate
        self.error = error
