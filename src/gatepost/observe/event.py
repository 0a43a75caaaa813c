"""What an event is: a fact worth counting or keeping, a frozen dataclass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

__all__ = ["Event", "Level"]

Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Event:
    """A fact.

    `name` is its fixed text in the log, `level` how loud it is there, `audited` whether the audit trail keeps it too.
    """

    name: ClassVar[str] = "event"
    level: ClassVar[Level] = "info"
    audited: ClassVar[bool] = False
