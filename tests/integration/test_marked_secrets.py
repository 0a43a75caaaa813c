"""After all that can be done with secrets, none of them stands in a file, an output or the list of processes."""

from __future__ import annotations

import base64
import contextlib
import resource
import sqlite3
import sys

import pytest

from integration.marked_run import BROKEN, MarkedRun
from secret_scan import files, findings
from servers import Authority

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> MarkedRun:
    made = MarkedRun(tmp_path_factory.mktemp("marked"), authority)
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    # A worker is killed as a bug would kill it; its memory may hold anything.
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    try:
        made.do()
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
    return made


@pytest.mark.timeout(400)
def test_no_secret_stands_anywhere(run: MarkedRun) -> None:
    assert len(run.secrets) > 70
    assert findings(run.places, run.secrets) == []


def test_what_was_looked_through_is_what_there_is(run: MarkedRun) -> None:
    """Each place holds what it must hold after such a run: an empty one would prove nothing."""
    state = run.server.folder / "state"
    log, trouble = run.places[str(run.server.log)], run.places[str(run.server.trouble)]
    assert b"login failed" in log
    assert b'"level":"debug"' in log.replace(b" ", b"")
    assert b"Traceback" in log + trouble
    assert BROKEN.encode() in log + trouble
    assert b"Fatal Python error: Segmentation fault" in trouble
    assert b"nobody@example.org" in run.places[str(run.server.folder / "audit.log")]
    assert b"login failed" in run.places["output of tail"]
    assert b"gatepost_session_" in run.places["metrics"]
    with contextlib.closing(sqlite3.connect(state / "accounts.db")) as database:
        assert database.execute("SELECT count(*) FROM verifiers").fetchone()[0] > 10
    for name in ("accounts.db", "state.db", "secret.key"):
        assert str(state / name) in run.places
    assert any("/spool/" in place for place in run.places)
    lines = [content for place, content in run.places.items() if place.endswith("/cmdline")]
    assert sum(b"serve" in each for each in lines) >= 3
    assert any(b"BREAK_WHILE" in content for place, content in run.places.items() if place.endswith("/environ"))
    assert any(b"--secret-stdin" in each for place, each in run.places.items() if "/cmdline of " in place)
    assert b"manifest.json" in run.places[str(run.server.folder / "backup.tar")]
    assert run.relay.used_mechanisms
    assert run.service.with_password
    assert len(run.provider.questions) >= 4


def test_a_secret_that_is_put_there_is_found(run: MarkedRun) -> None:
    for place, text in (
        ("a spool's file", run.server.folder / "state" / "spool" / "0" / "planted"),
        ("a file of state", run.server.folder / "state" / "planted"),
    ):
        secret = run.secrets["chosen"].encode()
        text.write_bytes(b'{"login": "' + base64.b64encode(b"\0ann\0" + secret) + b'"}')
        try:
            found = findings(files(run.server.folder), run.secrets)
        finally:
            text.unlink()
        assert [each for each in found if each.startswith("chosen, base64") and str(text) in each], place
    with contextlib.closing(sqlite3.connect(run.server.folder / "state" / "accounts.db")) as database, database:
        database.execute("UPDATE accounts SET state_reason = ?", (run.secrets["relay"],))
    assert [each for each in findings(files(run.server.folder), run.secrets) if each.startswith("relay, ")]
