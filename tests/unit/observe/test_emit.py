"""Handing events to listeners."""

from __future__ import annotations

import logging

import pytest

from gatepost.observe.emit import Emitter
from gatepost.observe.events import Event, ServerStopped

STOPPED = ServerStopped("test")


def test_every_listener_hears_in_order() -> None:
    heard: list[tuple[str, Event]] = []
    emit = Emitter(lambda event: heard.append(("first", event)))
    emit.add(lambda event: heard.append(("second", event)))
    emit(STOPPED)
    assert heard == [("first", STOPPED), ("second", STOPPED)]


def test_a_listener_that_fails_breaks_neither_the_sender_nor_the_others(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_event: Event) -> None:
        raise RuntimeError("listener")

    heard: list[Event] = []
    with caplog.at_level(logging.ERROR, "gatepost.observe"):
        Emitter(fail, heard.append)(STOPPED)
    assert heard == [STOPPED]
    assert "an event listener failed" in caplog.text
