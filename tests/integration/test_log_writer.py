"""The log's writer against real files and pipes: full, stuck, broken, rotated."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from gatepost.observe import writer as writing
from gatepost.observe.writer import LogWriter

SECONDS = 10.0


def lost(count: int) -> str:
    return f"lost {count}"


def wait_for(path: Path, text: str) -> None:
    """Wait until *path* holds *text*."""
    done = threading.Event()
    for _ in range(int(SECONDS / 0.01)):
        if path.exists() and text in path.read_text():
            return
        done.wait(0.01)
    raise AssertionError(f"{text!r} never came: {path.read_text() if path.exists() else 'no file'}")


def test_lines_are_written_in_order_and_appended(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    writer = LogWriter(path, lost)
    for number in range(5000):
        writer.write(str(number))
    writer.close()
    writer.close()
    assert path.read_text().splitlines() == ["before", *map(str, range(5000))]
    assert path.stat().st_mode & 0o777 == path.stat().st_mode & 0o644


def test_a_new_file_is_not_for_everybody(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = LogWriter(path, lost)
    writer.close()
    assert path.stat().st_mode & 0o007 == 0


def test_a_file_that_cannot_be_opened_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        LogWriter(tmp_path / "nowhere" / "log", lost)


def test_a_rotated_file_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = LogWriter(path, lost)
    writer.write("one")
    wait_for(path, "one")
    path.rename(tmp_path / "log.1")
    writer.write("two")
    wait_for(path, "two")
    path.unlink()
    writer.write("three")
    wait_for(path, "three")
    writer.close()
    assert (tmp_path / "log.1").read_text() == "one\n"
    assert path.read_text() == "three\n"


def test_a_stuck_pipe_stops_nobody_and_loses_only_what_is_beyond_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_LINES_WAITING", 100)
    reading, written = os.pipe()
    fcntl.fcntl(written, fcntl.F_SETPIPE_SZ, 4096)
    writer = LogWriter(written, lost)
    total = 2000
    for number in range(total):
        writer.write(f"{number:0100}")  # never waits, though nobody reads
    received = b""
    reader_done = threading.Event()

    def read() -> None:
        nonlocal received
        while piece := os.read(reading, 65536):
            received += piece
        reader_done.set()

    threading.Thread(target=read, daemon=True).start()
    while writer._lines:
        reader_done.wait(0.01)
    writer.write("last")
    writer.close(SECONDS)
    os.close(written)
    assert reader_done.wait(SECONDS)
    os.close(reading)
    lines = received.decode().splitlines()
    kept = [int(line) for line in lines if line.isdigit()]
    dropped = sum(int(line.removeprefix("lost ")) for line in lines if line.startswith("lost "))
    assert kept == sorted(kept)
    assert 100 <= len(kept) < total
    assert len(kept) + dropped == total
    assert "last" in lines


def test_a_broken_pipe_breaks_nothing() -> None:
    reading, written = os.pipe()
    os.close(reading)
    writer = LogWriter(written, lost)
    writer.write("nobody hears this")
    writer.close(SECONDS)
    assert not writer._thread.is_alive()
    os.close(written)


def test_a_full_disk_costs_lines_and_says_how_many(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "log"
    is_full = threading.Event()
    is_full.set()
    refused = threading.Event()
    real = os.write

    def write(descriptor: int, octets: bytes) -> int:
        if is_full.is_set():
            refused.set()
            raise OSError(28, "No space left on device")
        return real(descriptor, octets)

    monkeypatch.setattr(os, "write", write)
    writer = LogWriter(path, lost)
    writer.write("one")
    assert refused.wait(SECONDS)
    is_full.clear()
    writer.write("two")
    writer.close(SECONDS)
    assert path.read_text().splitlines() == ["two", "lost 1"]


def test_a_descriptor_that_somebody_made_non_blocking_is_waited_for() -> None:
    reading, written = os.pipe()
    fcntl.fcntl(written, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(written, False)
    writer = LogWriter(written, lost)
    for number in range(200):
        writer.write(f"{number:0100}")
    received = b""
    while received.count(b"\n") < 200:
        received += os.read(reading, 1024)
    writer.close(SECONDS)
    os.close(written)
    os.close(reading)
    assert [int(line) for line in received.split()] == list(range(200))
