"""The search for secrets finds them in every form, wherever they stand."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secret_scan import files, findings, forms, processes, wait_for_begin

SECRET = 'Zq7 wörd+/"&%-Quartz'


@pytest.mark.parametrize("form", sorted(forms(SECRET)))
def test_each_form_is_found(tmp_path: Path, form: str) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "log").write_bytes(b"before " + forms(SECRET)[form] + b" after")
    (tmp_path / "clean").write_bytes(b"nothing here")
    found = findings(files(tmp_path), {"tim's": SECRET})
    assert f"tim's, {form}: in {tmp_path}/below/log" in found
    assert not any("clean" in each for each in found)


@given(before=st.binary(max_size=7), after=st.binary(max_size=7))
def test_base64_is_found_whatever_stands_beside_it(before: bytes, after: bytes) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        assert findings({"log": encode(before + SECRET.encode() + after)}, {"tim's": SECRET})


def test_another_secret_is_not_found() -> None:
    everything = b" ".join(forms(SECRET).values())
    assert findings({"log": everything}, {"other": "Zq7 wörd+/-Wombat"}) == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_command_lines_and_environments_are_looked_through() -> None:
    words = [sys.executable, "-c", "input()", "--token", "on-the-command-line"]
    environment = {**os.environ, "PASSWORD": "in-the-environment"}
    with subprocess.Popen(words, stdin=subprocess.PIPE, env=environment) as child:
        wait_for_begin(child)
        found = findings(processes(os.getpid()), {"a": "on-the-command-line", "b": "in-the-environment"})
        child.communicate(b"\n", timeout=60)
    assert f"a, plain: in /proc/{child.pid}/cmdline" in found
    assert f"b, plain: in /proc/{child.pid}/environ" in found
