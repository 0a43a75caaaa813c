"""What a route asks of a message's header, read from the spool when its way is looked for.

So a route that is new after a reload finds it in mail that was accepted before, and nothing of it is kept twice.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Protocol

from gatepost.message.asked_fields import asked_fields
from gatepost.spool.spool import Entry

__all__ = ["Headers", "with_fields"]


class Headers(Protocol):
    """What gives out header sections: a spool, or who only reads one."""

    def header(self, entry: Entry) -> bytes:
        """Read the header section of *entry*."""
        ...


def with_fields(entry: Entry, names: AbstractSet[str], spool: Headers) -> Entry:
    """Return *entry* with the values of the header fields in *names*.

    Raises:
        SpoolUnavailable: its header cannot be read.
    """
    if names == {name for name, _ in entry.envelope.fields}:
        return entry
    fields = asked_fields(spool.header(entry), names)
    return replace(entry, envelope=replace(entry.envelope, fields=fields))
