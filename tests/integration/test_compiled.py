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
