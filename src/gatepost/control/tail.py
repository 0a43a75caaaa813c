"""Live events for one client: chosen, written as the log writes them, and dropped where the client is too slow."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

from gatepost.errors import Malformed
from gatepost.observe.events import Event, Level
from gatepost.observe.log import EventLog, LogFormat

__all__ = ["Tail", "Wanted", "parse_wanted"]

_WAITING_BYTES: Final = 1 << 20
_FOLLOWED: Final = 1000
_LEVELS: Final = get_args(Level)
_FORMS: Final = get_args(LogFormat)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events are wanted; every condition that is given must hold.

    Args:
        login: those of this login, its sessions and its messages.
        session: those of this session and its messages.
        message: those of this message and its bounces.
        level: least level.
        form: how they are written.
    """

    login: str = ""
    session: str = ""
    message: str = ""
    level: Level = "info"
    form: LogFormat = "json"


def parse_wanted(request: Mapping[str, Any]) -> Wanted:
    """Read what a client asks for.

    Raises:
        Malformed: it is not understood.
    """
    names = {name: request.get(name, "") for name in ("login", "session", "message")}
    level, form = request.get("level", "info"), request.get("form", "json")
    if not all(isinstance(value, str) for value in names.values()) or level not in _LEVELS or form not in _FORMS:
        raise Malformed("tail wants login, session and message as text, a level, and json or text as form")
    return Wanted(**names, level=level, form=form)


class Tail:
    """Hears of events, keeps the lines of those that are wanted until they are sent.

    Events name a login, a session or a message, few of them all three: what belongs together is learned on the way.

    Args:
        wanted: which.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._login = wanted.login.casefold()
        self._session = wanted.session
        self._message = wanted.message
        self._is_everything = not (wanted.login or wanted.session or wanted.message)
        # Sessions and messages of what is wanted: the newest of them.
        self._followed: dict[str, None] = {}
        self._lines: deque[str] = deque()
        self._bytes = 0
        self._dropped = 0
        self._come = asyncio.Event()
        self._log = EventLog(self, wanted.level, wanted.form)

    def __call__(self, event: Event) -> None:
        """Hear of *event*."""
        if self._is_everything or self._concerns(event):
            self._log(event)

    def _concerns(self, event: Event) -> bool:
        session, message = getattr(event, "session", ""), getattr(event, "message", "")
        login = getattr(event, "login", "")
        conditions = [
            not self._login
            or login.casefold() == self._login
            or session in self._followed
            or message in self._followed,
            not self._session or session == self._session or message in self._followed,
            not self._message or message == self._message or message in self._followed,
        ]
        if not all(conditions):
            return False
        # A message belongs to its session, a bounce to its message; a session to its login, but not to one message.
        self._follow(message, getattr(event, "bounce", ""), session if self._login and not self._message else "")
        return True

    def _follow(self, *names: str) -> None:
        for name in filter(None, names):
            self._followed.pop(name, None)
            self._followed[name] = None
            if len(self._followed) > _FOLLOWED:
                del self._followed[next(iter(self._followed))]

    def write(self, line: str) -> None:
        """Keep a line, if there is room; otherwise count it."""
        if self._bytes + len(line) > _WAITING_BYTES:
            self._dropped += 1
        else:
            self._lines.append(line)
            self._bytes += len(line)
        self._come.set()

    def reopen(self) -> None:
        """Nothing is open."""

    def close(self) -> None:
        """Nothing is open."""

    async def next(self) -> tuple[list[str], int]:
        """Wait for lines; return some of them, and how many were dropped after all that were kept."""
        await self._come.wait()
        lines: list[str] = []
        size = 0
        while self._lines and size < 65_536:
            lines.append(self._lines.popleft())
            size += len(lines[-1])
        self._bytes -= size
        dropped = 0
        if not self._lines:
            dropped, self._dropped = self._dropped, 0
            self._come.clear()
        return lines, dropped
