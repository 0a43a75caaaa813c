"""The parent, where the system lets it down."""

from __future__ import annotations

import errno
import os
import time
from typing import Any

import pytest

from gatepost.supervisor import Supervisor, _Child


def test_a_fork_that_fails_is_tried_again_and_ends_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", fork)
    nothing: Any = None
    supervisor = Supervisor(nothing, (), nothing, nothing, workers=1)
    child = _Child("worker 0", lambda _: 0, due=0.0)
    before = set(os.listdir("/proc/self/fd"))
    supervisor._start_again(child)
    assert set(os.listdir("/proc/self/fd")) == before
    assert not child.lives
    assert child.due is not None
    assert child.due > time.monotonic() + 5
