"""Look at the queue: which messages wait.

It needs no running server, only a spool to read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from gatepost.model.envelope import MessageId
from gatepost.model.identity import SenderPattern
from gatepost.spool.spool import Entry, Status

__all__ = ["Listing", "Selection", "find"]

_PAGE = 500


class Listing(Protocol):
    """A spool to look at."""

    def list(self, *, after: MessageId | None = None, limit: int = 100) -> Sequence[Entry]:
        """List entries in the order of acceptance, a page at a time."""
        ...


@dataclass(frozen=True, slots=True)
class Selection:
    """Which messages are meant; every condition that is given must hold.

    Args:
        sender: a pattern of the reverse-path.
        is_null_sender: only those with the null reverse-path.
        domain: domain in A-labels of a recipient that still waits.
        account: login of who submitted it.
    """

    sender: SenderPattern | None = None
    is_null_sender: bool = False
    domain: str | None = None
    account: str | None = None

    def matches(self, entry: Entry) -> bool:
        """Tell whether *entry* is meant."""
        envelope = entry.envelope
        sender = envelope.reverse_path
        if self.is_null_sender and sender is not None:
            return False
        if self.sender is not None and (sender is None or not self.sender.matches(sender)):
            return False
        if self.account is not None and self.account != envelope.account:
            return False
        return self.domain is None or any(
            each.status is Status.PENDING and each.recipient.mailbox.ascii_domain == self.domain
            for each in entry.progress
        )


def find(reader: Listing, selection: Selection | None = None) -> Iterator[Entry]:
    """Go through the messages that are meant, the oldest first.

    It reads short pages: a long read would hold up the server's housekeeping.
    """
    after: MessageId | None = None
    while page := reader.list(after=after, limit=_PAGE):
        for entry in page:
            if selection is None or selection.matches(entry):
                yield entry
        after = page[-1].id
