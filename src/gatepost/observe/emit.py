"""Hand an event to whoever listens; a listener cannot break a sender."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from gatepost.observe.events import Event

__all__ = ["Emitter", "Listener"]

Listener = Callable[[Event], None]
_Divided = Callable[[type[Event]], Sequence[Listener]]

_log = logging.getLogger("gatepost.observe")


class Emitter:
    """Calls its listeners in order, at once, in the caller's thread."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners: list[tuple[Listener, type[Event]]] = [(each, Event) for each in listeners]
        self._of_kind: dict[type[Event], tuple[Listener, ...]] = {}

    def __call__(self, event: Event) -> None:
        """Tell every listener; one that raises is logged and left behind."""
        kind = event.__class__
        listeners = self._of_kind.get(kind)
        for listener in self._find(kind) if listeners is None else listeners:
            try:
                listener(event)
            except Exception:  # noqa: BLE001 - one of the three places: a listener must not break a sender
                _log.exception("an event listener failed")

    def _find(self, kind: type[Event]) -> tuple[Listener, ...]:
        found: list[Listener] = []
        for listener, wanted in self._listeners:
            if issubclass(kind, wanted):
                # One that does something else for each kind of event says what, and is not asked each time.
                divided: _Divided | None = getattr(listener, "for_kind", None)
                found += (listener,) if divided is None else divided(kind)
        self._of_kind[kind] = tuple(found)
        return self._of_kind[kind]

    def add(self, listener: Listener, wanted: type[Event] = Event) -> None:
        """Let *listener* hear of everything from now on, or of one kind of event."""
        self._listeners.append((listener, wanted))
        self._of_kind.clear()
