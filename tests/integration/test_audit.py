"""The audit trail on a real disk: appended at once, chained over restarts and rotation; its trouble stops nobody."""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gatepost.cli.audit import audit
from gatepost.observe import audit as auditing
from gatepost.observe.audit import AuditTrail, try_file
from gatepost.observe.events import (
    AuditResumed,
    AuditTroubled,
    Event,
    LoginFailed,
    RecipientDelivered,
    SessionOpened,
)
from gatepost.observe.verify import verify

SECONDS = 60.0


def login(text: str = "tim") -> LoginFailed:
    return LoginFailed("s", "submission", "192.0.2.1", text, "", "", "PLAIN", "wrong secret", "535 5.7.8 no")


def lines(*paths: Path) -> list[dict[str, Any]]:
    # A process that opens the file while another writes may see half a line, and ends it: then there is an empty one.
    return [json.loads(line) for path in paths for line in path.read_bytes().splitlines() if line]


def whole(*paths: Path) -> bool:
    verdict = verify((str(path), path.read_bytes().splitlines(keepends=True)) for path in paths)
    assert verdict.first is None, verdict
    return True


def wait_for(path: Path) -> None:
    done = threading.Event()
    for _ in range(int(SECONDS / 0.01)):
        if path.exists():
            return
        done.wait(0.01)
    raise AssertionError(f"{path} never came")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


@pytest.fixture
def told() -> list[Event]:
    return []


@pytest.fixture
def trail(path: Path, told: list[Event]) -> Iterator[AuditTrail]:
    trail = AuditTrail(path, 3, told.append)
    yield trail
    trail.close()


def test_a_line_is_there_when_the_call_returns(trail: AuditTrail, path: Path) -> None:
    trail(login("bob"))
    begin, line = lines(path)
    assert begin["event"] == "audit chain begun"
    assert (line["event"], line["login"], line["reason"]) == ("login failed", "bob", "wrong secret")
    assert (line["worker"], line["pid"], line["number"]) == (3, os.getpid(), 2)
    assert whole(path)


def test_what_is_not_audited_is_left_out(trail: AuditTrail, path: Path) -> None:
    trail(SessionOpened("s", "submission", "192.0.2.1"))
    assert len(lines(path)) == 1


def test_hostile_text_ends_no_line(trail: AuditTrail, path: Path) -> None:
    trail(login('\n{"time":"\r\udc80\x7f\x00 "}'))
    assert len(lines(path)) == 2
    assert whole(path)


def test_the_file_is_not_for_everybody(trail: AuditTrail, path: Path) -> None:
    assert path.stat().st_mode & 0o007 == 0


def test_it_is_synced_within_a_second(trail: AuditTrail, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = threading.Event()
    monkeypatch.setattr(auditing.os, "fdatasync", lambda _descriptor: synced.set())
    trail(login())
    assert synced.wait(SECONDS)


def test_the_end_syncs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trail = AuditTrail(path, 0, print)
    count: list[int] = []
    monkeypatch.setattr(auditing.os, "fdatasync", count.append)
    trail(login())
    trail.close()
    assert count


def test_a_new_chain_names_the_end_of_the_one_before(path: Path) -> None:
    for _ in range(3):
        one, other = AuditTrail(path, 0, print), AuditTrail(path, 1, print)
        for _ in range(5):
            one(login())
            other(login())
        one.close()
        other.close()
    assert whole(path)
    text = path.read_bytes().splitlines(keepends=True)
    last_of_first_chain = next(number for number, line in enumerate(text) if b'"number":6,' in line)
    del text[last_of_first_chain]
    path.write_bytes(b"".join(text))
    assert verify([("x", text)]).first is not None


def test_half_a_line_that_a_kill_left_is_ended_and_told_of(path: Path) -> None:
    trail = AuditTrail(path, 0, print)
    trail(login())
    trail.close()
    with path.open("ab") as file:
        file.write(b'{"time":"2026-01-01T00:00:00.000Z","level":"in')
    trail = AuditTrail(path, 0, print)
    trail(login())
    trail.close()
    assert whole(path)


@pytest.mark.parametrize("is_told", [False, True], ids=["by itself", "when told"])
def test_a_chain_goes_on_in_the_next_file(trail: AuditTrail, path: Path, tmp_path: Path, is_told: bool) -> None:
    trail(login("one"))
    path.rename(tmp_path / "audit.log.1")
    if is_told:
        trail.reopen()
    wait_for(path)
    trail(login("two"))
    trail.close()
    assert [line.get("login") for line in lines(path)] == ["two"]
    assert lines(path)[0]["number"] == 3
    assert whole(tmp_path / "audit.log.1", path)
    assert whole(path)


class Disk:
    """Stands before os.write, and fails as a full disk does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room: int | None = None
        self._real = os.write
        monkeypatch.setattr(auditing.os, "write", self.write)

    def write(self, descriptor: int, octets: bytes) -> int:
        if self.room is None:
            return self._real(descriptor, octets)
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        room, self.room = self.room, 0
        return self._real(descriptor, octets[:room])


@pytest.mark.parametrize("room", [0, 1, 50])
def test_a_full_disk_costs_lines_and_says_how_many(
    trail: AuditTrail, path: Path, told: list[Event], monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    disk = Disk(monkeypatch)
    trail(login("before"))
    disk.room = room
    for _ in range(5):
        trail(login("lost"))
    assert [type(event) for event in told] == [AuditTroubled], "told once"
    disk.room = None
    trail(login("after"))
    assert told[1:] == [AuditResumed(5)]
    trail.close()
    found = [json.loads(line) for line in path.read_bytes().splitlines() if line.endswith(b"}")]
    assert [line.get("login", line["event"]) for line in found] == [
        "audit chain begun",
        "before",
        "audit resumed",
        "after",
    ]
    assert found[2]["lost"] == 5
    assert whole(path)


def test_a_disk_that_cannot_sync_is_told_of(
    trail: AuditTrail, path: Path, told: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = threading.Semaphore(0)

    def fail(_descriptor: int) -> None:
        tried.release()
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(auditing.os, "fdatasync", fail)
        trail(login())
        assert tried.acquire(timeout=SECONDS)
        trail._turn.set()
        assert tried.acquire(timeout=SECONDS), "it is tried again"
        trail(login())
        trail(login())
        assert len(told) == 1
        assert "cannot be synced: Input/output error" in str(told[0])
    assert len(lines(path)) == 4, "lines are written all the same"


def test_a_file_that_cannot_be_opened_stops_nobody_and_is_tried_again(tmp_path: Path, told: list[Event]) -> None:
    folder = tmp_path / "mounted later"
    trail = AuditTrail(folder / "audit.log", 0, told.append)
    trail(login())
    assert [type(event) for event in told] == [AuditTroubled]
    folder.mkdir()
    trail.reopen()
    wait_for(folder / "audit.log")
    trail(login("here"))
    trail.close()
    assert [line.get("login") for line in lines(folder / "audit.log")] == [None, "here"]
    assert told[1:] == [AuditResumed(1)]
    assert whole(folder / "audit.log")


def test_a_file_is_tried_before_the_start(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        try_file(tmp_path / "nowhere" / "audit.log")
    try_file(tmp_path / "audit.log")
    assert (tmp_path / "audit.log").read_bytes() == b""


def write_some(path: Path, worker: int, count: int) -> None:
    """Be a process that writes, until it is killed or done."""
    trail = AuditTrail(path, worker, lambda _event: None)
    for number in range(count):
        trail(RecipientDelivered(f"m{worker}-{number}", "d@e.f", "smart", "h" * (number % 300), "250 ok", 1, 0.3))
    trail.close()


def write_until(stop: Path, path: Path, worker: int) -> None:
    """Be a process that writes until *stop* is there, and then says how much it was."""
    trail = AuditTrail(path, worker, lambda _event: None)
    count = 0
    while not stop.exists():
        for _ in range(50):
            trail(RecipientDelivered(f"m{worker}-{count}", "d@e.f", "smart", "h" * (count % 300), "250 ok", 1, 0.3))
            count += 1
        time.sleep(0.001)
    trail.close()
    stop.with_suffix(f".{worker}").write_text(str(count))


def test_four_processes_write_whole_chains_while_the_file_is_rotated(path: Path, tmp_path: Path) -> None:
    children = []
    stop = tmp_path / "stop"
    for worker in range(4):
        child = os.fork()
        if child == 0:
            try:
                write_until(stop, path, worker)
            finally:
                os._exit(0)
        children.append(child)
    old = []
    for number in range(3):
        wait_for(path)
        size = path.stat().st_size
        while path.stat().st_size < size + 100_000:
            time.sleep(0.01)
        old.append(path.rename(tmp_path / f"audit.{number}"))
    wait_for(path)
    stop.touch()
    for child in children:
        os.waitpid(child, 0)
    assert whole(*old, path)
    found = [line["message"] for line in lines(*old, path) if line["event"] == "delivered"]
    counts = [int(stop.with_suffix(f".{worker}").read_text()) for worker in range(4)]
    assert sorted(found) == sorted(f"m{worker}-{number}" for worker in range(4) for number in range(counts[worker]))


def test_a_process_that_is_killed_leaves_a_chain_that_goes_on_in_the_next(path: Path) -> None:
    for _ in range(5):
        child = os.fork()
        if child == 0:
            write_some(path, 0, 10**9)
        wait_for(path)
        size = path.stat().st_size
        while path.stat().st_size < size + 20_000:
            time.sleep(0.002)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    write_some(path, 0, 1)
    assert whole(path)


class TestTheVerb:
    """gatepost audit verify."""

    @pytest.fixture
    def written(self, path: Path) -> Path:
        write_some(path, 0, 10)
        return path

    def test_a_whole_trail(self, written: Path) -> None:
        done = CliRunner().invoke(audit, ["verify", str(written)])
        assert done.exit_code == 0
        assert "whole" in done.stdout

    def test_a_whole_trail_as_json(self, written: Path) -> None:
        done = CliRunner().invoke(audit, ["verify", "--json", str(written)])
        assert json.loads(done.stdout) == {
            "whole": True,
            "lines": 11,
            "chains": 1,
            "continued": 0,
            "torn": 0,
            "first": None,
        }

    def test_a_broken_trail_is_named_by_file_and_line(self, written: Path) -> None:
        written.write_bytes(written.read_bytes().replace(b"m0-3", b"m0-9"))
        done = CliRunner().invoke(audit, ["verify", str(written)])
        assert done.exit_code == 1
        assert done.stdout == ""
        assert done.stderr.startswith(f"{written}:5: was changed")
        done = CliRunner().invoke(audit, ["verify", "--json", str(written)])
        assert done.exit_code == 1
        assert json.loads(done.stdout)["first"]["line"] == 5

    def test_a_rotated_trail_in_order(self, written: Path, tmp_path: Path) -> None:
        text = written.read_bytes().splitlines(keepends=True)
        (tmp_path / "old").write_bytes(b"".join(text[:5]))
        written.write_bytes(b"".join(text[5:]))
        assert CliRunner().invoke(audit, ["verify", str(tmp_path / "old"), str(written)]).exit_code == 0
        assert CliRunner().invoke(audit, ["verify", str(written), str(tmp_path / "old")]).exit_code == 1
        newer = CliRunner().invoke(audit, ["verify", str(written)])
        assert newer.exit_code == 0
        assert "older file" in newer.stderr

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        done = CliRunner().invoke(audit, ["verify", str(tmp_path / "nothing")])
        assert done.exit_code == 1
        assert "No such file" in done.stderr

    def test_without_a_file_it_is_that_of_the_configuration(self, written: Path, tmp_path: Path) -> None:
        config = tmp_path / "gatepost.toml"
        route = '[[route]]\nname = "box"\ntransport = "sandbox"\npath = "box"\n'
        config.write_text(f'hostname = "mail.example.org"\n{route}[observe]\naudit_file = "{written}"\n')
        assert CliRunner().invoke(audit, ["verify", "--config", str(config)]).exit_code == 0
        config.write_text(f'hostname = "mail.example.org"\n{route}')
        done = CliRunner().invoke(audit, ["verify", "--config", str(config)])
        assert done.exit_code == 1
        assert "audit_file: is not set" in done.stderr
