"""SIGKILL in the midst of traffic: what had its receipt is there and whole, what was settled is gone."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from contracts.spool_contract import PREFIX, SteppedClock, octets, read
from gatepost.spool.reader import open_reader
from gatepost.spool.sqlite import SqliteSpool

SCRIPT = Path(__file__).with_name("spool_traffic.py")
ROOT = SCRIPT.parent.parent


def run_and_kill(folder: Path, seed: int, seconds: float) -> list[list[str]]:
    """Run traffic for *seconds* after its first word; return the lines it wrote whole."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT.parent / 'src'}"}
    with subprocess.Popen(
        [sys.executable, SCRIPT, folder, str(seed)], stdout=subprocess.PIPE, env=environment
    ) as child:
        assert child.stdout is not None
        written = b""
        try:
            end = None
            while end is None or time.monotonic() < end:
                ready, _, _ = select.select(
                    [child.stdout], [], [], 30.0 if end is None else max(end - time.monotonic(), 0)
                )
                if ready:
                    written += os.read(child.stdout.fileno(), 65536)
                    assert child.poll() is None, "the traffic ended by itself"
                    end = end or time.monotonic() + seconds
        finally:
            child.send_signal(signal.SIGKILL)
        written += child.stdout.read()
    return [line.split() for line in written.decode().split("\n")[:-1]]


@pytest.mark.parametrize("seed", range(5))
async def test_what_had_its_receipt_survives_a_kill(tmp_path: Path, seed: int) -> None:
    folder = tmp_path / "spool"
    expected: dict[str, bytes] = {}
    doubtful: set[str] = set()
    for kill in range(3):
        lines = run_and_kill(folder, seed * 10 + kill, random.Random(seed * 10 + kill).uniform(0.05, 0.4))
        assert lines[0] == ["ready"]
        assert len(lines) > 10
        for word, *rest in lines[1:]:
            if word == "kept":
                expected[rest[0]] = PREFIX + octets(int(rest[1]), int(rest[2]))
            elif word == "bounced":
                expected[rest[0]] = b"bounce"
            elif word == "settling":
                doubtful.add(rest[0])
            elif word == "settled":
                doubtful.discard(rest[0])
                del expected[rest[0]]
        spool = SqliteSpool(folder, clock=SteppedClock(), reserve_bytes=0)
        assert spool.recovered.lost == ()
        found = {}
        after = None
        while page := spool.list(after=after, limit=50):
            found.update({entry.id: await read(spool, entry.id) for entry in page})
            after = page[-1].id
        assert len(found) == spool.count()
        for name, content in expected.items():
            if name not in doubtful:
                assert found[name] == content
        # What nobody was told of may be there, but whole: its content begins as each of ours does.
        for name in found.keys() - expected.keys():
            assert found[name].startswith((PREFIX, b"bounce"))
        assert {path.name for path in (folder / "bodies").iterdir()} <= found.keys()
        expected = found
        doubtful.clear()
        await spool.close()


async def test_a_reader_changes_nothing_in_a_spool_whose_process_was_killed(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    run_and_kill(folder, 1, 0.2)
    before = {name: (folder / name).read_bytes() for name in ("spool.db", "spool.db-wal")}
    assert before["spool.db-wal"]
    with open_reader(folder) as reader:
        count = reader.count()
        for entry in reader.list(limit=1000):
            assert b"".join(reader.content(entry)).startswith((PREFIX, b"bounce"))
    assert {name: (folder / name).read_bytes() for name in before} == before
    spool = SqliteSpool(folder, clock=SteppedClock(), reserve_bytes=0)
    assert spool.count() == count > 0
    await spool.close()
