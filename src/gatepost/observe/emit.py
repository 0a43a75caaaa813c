"""Hand an event to whoever listens; a listener cannot break a sender."""

from __future__ import annotations

import logging
from collections.abc import Callable

from gatepost.observe.events import Event

__all__ = ["Emitter", "Listener"]

Listener = Callable[[Event], None]

_log = logging.getLogger("gatepost.observe")


class Emitter:
    """Calls its listeners in order, at once, in the caller's thread."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners: tuple[Listener, ...] = listeners

    def __call__(self, event: Event) -> None:
        """Tell every listener; one that raises is logged and left behind."""
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:  # noqa: BLE001 - one of the three places: a listener must not break a sender
                _log.exception("an event listener failed")

    def add(self, listener: Listener) -> None:
        """Let *listener* hear of everything from now on."""
        self._listeners = (*self._listeners, listener)
