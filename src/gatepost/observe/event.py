"""What an event is: a fact worth counting or keeping, a frozen dataclass."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

__all__ = ["Event", "Level"]

Level = Literal["debug", "info", "warning", "error", "critical"]


class Event:
    """A fact; each kind of it is a dataclass or a `value`.

    `name` is its fixed text in the log, `level` how loud it is there, `audited` whether the audit trail keeps it too.
    """

    __slots__ = ()

    name: ClassVar[str] = "event"
    level: ClassVar[Level] = "info"
    audited: ClassVar[bool] = False

    __dataclass_fields__: ClassVar[dict[str, Any]]
