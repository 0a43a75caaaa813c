"""Which gatepost the tests test: in their own process the sources, as servers what operators install."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import gatepost.session.wire

ROOT = Path(__file__).resolve().parents[2]
COMPILED = ROOT / "build" / "compiled"


@pytest.mark.sources
def test_tests_run_the_sources_themselves() -> None:
    assert gatepost.session.wire.__file__ == str(ROOT / "src/gatepost/session/wire.py")


@pytest.mark.skipif(
    str(COMPILED) not in os.environ.get("PYTHONPATH", ""), reason="pytest was started by hand: make test compiles first"
)
@pytest.mark.skipif(
    not Path(sysconfig.get_path("include"), "Python.h").exists() or shutil.which("gcc") is None,
    reason="gcc and python3-dev are missing, so nothing can be compiled",
)
def test_servers_that_tests_start_are_compiled() -> None:
    script = "import gatepost.session.wire; print(gatepost.session.wire.__file__)"
    found = subprocess.check_output([sys.executable, "-c", script], text=True).strip()
    assert found.startswith(f"{COMPILED}/gatepost/session/wire.")
    assert found.endswith(".so")


def test_weak_references_end_with_what_they_refer_to() -> None:
    """mypyc forgets them where a class has one of Python's above it; loggers keep some to their handlers."""
    script = """\
import asyncio, gc, weakref
from gatepost.observe.log import EventLog, _LineHandler
from gatepost.observe.writer import DirectWriter
from gatepost.relay.replies import BadReply
from gatepost.session.wire import Gone, Wire

ended = []
writer = DirectWriter(1)
makers = (
    lambda: _LineHandler(writer, EventLog(writer)),
    Gone,
    lambda: BadReply("no reply"),
    lambda: Wire(asyncio.new_event_loop()),
)
for number, make in enumerate(makers):
    for in_cycle in (False, True):
        made = make()
        made.own = [made] if in_cycle else None
        kept = [weakref.ref(made, lambda one: ended.append(one)) for _ in range(3)]
        gc.collect()
        del made
        gc.collect()
        assert [each() for each in kept] == [None] * 3, number
        assert len(ended) == 3 and set(map(id, ended)) == set(map(id, kept)), number
        ended.clear()
print("well")
"""
    assert subprocess.check_output([sys.executable, "-X", "faulthandler", "-c", script], text=True) == "well\n"
