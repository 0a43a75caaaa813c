"""Look at the queue: which messages wait, by whatever somebody wants to know them by.

It needs no running server, only a spool to read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from gatepost.errors import SpoolUnavailable
from gatepost.model.envelope import MessageId
from gatepost.model.identity import SenderPattern
from gatepost.queue.grouping import NO_ROUTE, Routes
from gatepost.queue.known_fields import with_fields
from gatepost.spool.spool import Entry, Status

__all__ = ["Listing", "Selection", "find"]

_PAGE = 500


class Listing(Protocol):
    """A spool to look at."""

    def entry(self, message_id: MessageId) -> Entry | None:
        """Read one entry; None if it is not there (any more)."""
        ...

    def header(self, entry: Entry) -> bytes:
        """Read the header section of *entry*."""
        ...

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
        recipient: a recipient that still waits, as a pattern.
        account: login of who submitted it.
        held: only those on hold, or only those that are not.
        is_tried: only those that were tried before, or only those that were not.
        accepted_before: only those accepted before that time.
        accepted_after: only those accepted after that time.
        route: a route that a recipient who still waits would take now.
        ids: only these; all, if there are none.
    """

    sender: SenderPattern | None = None
    is_null_sender: bool = False
    domain: str | None = None
    account: str | None = None
    held: bool | None = None
    recipient: SenderPattern | None = None
    is_tried: bool | None = None
    accepted_before: float | None = None
    accepted_after: float | None = None
    route: str = ""
    ids: tuple[MessageId, ...] = ()

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
        if self.held is not None and self.held != entry.is_held:
            return False
        if self.is_tried is not None and self.is_tried != bool(entry.attempts):
            return False
        if self.accepted_before is not None and entry.accepted_at >= self.accepted_before:
            return False
        if self.accepted_after is not None and entry.accepted_at <= self.accepted_after:
            return False
        if self.ids and entry.id not in self.ids:
            return False
        waiting = [each.recipient.mailbox for each in entry.progress if each.status is Status.PENDING]
        if self.recipient is not None and True not in map(self.recipient.matches, waiting):
            return False
        return self.domain is None or self.domain in [each.ascii_domain for each in waiting]

    def takes(self, entry: Entry, routes: Routes, reader: Listing) -> bool:
        """Tell whether a recipient of *entry* who still waits would take the route that is meant.

        Raises:
            SpoolUnavailable: a route asks for a header field, and the header cannot be read.
        """
        if routes.fields:
            entry = with_fields(entry, routes.fields, reader)
        for each in entry.progress:
            if each.status is Status.PENDING:
                route = routes.route_for(entry.envelope, each.recipient) or NO_ROUTE
                # With a route all its logins are meant, each a way of its own.
                if self.route in (route.name, route.name.partition(":")[0]):
                    return True
        return False


def find(reader: Listing, selection: Selection | None = None, routes: Routes | None = None) -> Iterator[Entry]:
    """Go through the messages that are meant, the oldest first; *routes* are needed where a route is meant.

    It reads short pages: a long read would hold up the server's housekeeping.
    """
    if selection is not None and selection.ids:
        for message_id in sorted(set(selection.ids)):
            one = reader.entry(message_id)
            if one is not None and _is_meant(one, selection, routes, reader):
                yield one
        return
    after: MessageId | None = None
    while page := reader.list(after=after, limit=_PAGE):
        for entry in page:
            if selection is None or _is_meant(entry, selection, routes, reader):
                yield entry
        after = page[-1].id


def _is_meant(entry: Entry, selection: Selection, routes: Routes | None, reader: Listing) -> bool:
    if not selection.matches(entry):
        return False
    try:
        return not selection.route or (routes is not None and selection.takes(entry, routes, reader))
    except SpoolUnavailable:
        return False  # it is gone by now, or damaged: nobody knows where it would go
