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
from gatepost.spool.spool import Entry
from gatepost.spool.sqlite import SqliteSpool

SCRIPT = Path(__file__).with_name("spool_traffic.py")
ROOT = SCRIPT.parent.parent


def run_and_kill(folder: Path, seed: int, seconds: float) -> list[list[str]]:
    """Run traffic for *seconds* after its first dozen words; return the lines it wrote whole."""
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
                    if end is None and written.count(b"\n") > 12:
                        end = time.monotonic() + seconds
        finally:
            child.send_signal(signal.SIGKILL)
        written += child.stdout.read()
    return [line.split() for line in written.decode().split("\n")[:-1]]


class Told:
    """What a process said before it was killed.

    Attributes:
        expected: contents of the messages that must be there.
        doubtful: messages that may be there, or not.
        holds: whether a message is on hold; None if it may be, or not.
        flying: messages that were in flight.
        landed: messages that were not, any more.
    """

    def __init__(self) -> None:
        self.expected: dict[str, bytes] = {}
        self.doubtful: set[str] = set()
        self.holds: dict[str, bool | None] = {}
        self.flying: set[str] = set()
        self.landed: set[str] = set()

    def hear(self, word: str, name: str, *rest: str) -> None:
        match word:
            case "kept":
                self.expected[name] = PREFIX + octets(int(rest[0]), int(rest[1]))
            case "bounced":
                self.expected[name] = b"bounce"
            case "settling":
                self.doubtful.add(name)
            case "settled":
                self.doubtful.discard(name)
                del self.expected[name]
            case "holding":
                self.holds[name] = None
            case "held":
                self.holds[name] = rest[0] == "1"
            case "attempting":
                self.flying.add(name)
            case "landing":
                self.flying.discard(name)
            case "landed":
                self.landed.add(name)

    def check(self, entry: Entry) -> None:
        assert self.holds.get(entry.id, False) in (None, entry.is_held)
        # The crash counts for what was in flight, and for nothing that had landed.
        assert not (entry.crashes and entry.id in self.landed)
        assert entry.crashes or entry.id not in self.flying

    def begin_anew(self, found: dict[str, Entry], contents: dict[str, bytes]) -> None:
        self.expected = contents
        self.holds = {name: entry.is_held for name, entry in found.items()}
        for each in (self.doubtful, self.flying, self.landed):
            each.clear()


@pytest.mark.parametrize("seed", range(5))
async def test_what_had_its_receipt_survives_a_kill(tmp_path: Path, seed: int) -> None:
    folder = tmp_path / "spool"
    told = Told()
    for kill in range(3):
        lines = run_and_kill(folder, seed * 10 + kill, random.Random(seed * 10 + kill).uniform(0.05, 0.4))
        assert lines[0] == ["ready"]
        assert len(lines) > 10
        for words in lines[1:]:
            told.hear(*words)
        spool = SqliteSpool(folder, clock=SteppedClock(), reserve_bytes=0)
        assert spool.recovered.lost == ()
        found: dict[str, Entry] = {}
        after = None
        while page := spool.list(after=after, limit=50):
            found.update({entry.id: entry for entry in page})
            after = page[-1].id
        contents = {entry.id: await read(spool, entry.id) for entry in found.values()}
        assert len(found) == spool.count()
        for name, content in told.expected.items():
            if name not in told.doubtful:
                assert contents[name] == content
        for entry in found.values():
            told.check(entry)
        # What nobody was told of may be there, but whole: its content begins as each of ours does.
        for name in found.keys() - told.expected.keys():
            assert contents[name].startswith((PREFIX, b"bounce"))
        assert {path.name for path in (folder / "bodies").iterdir()} <= found.keys()
        told.begin_anew(found, contents)
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
