"""Four processes write one log: every line is there once and whole, while the file is rotated, cut, full or a pipe."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from gatepost.observe import target as targets
from gatepost.observe.target import Target
from gatepost.observe.writer import DirectWriter, LogWriter

SECONDS = 60.0
PROCESSES = 4


def line_of(process: int, number: int) -> str:
    """Make a line that shows whether it is whole; some are longer than what a pipe takes in one piece."""
    length = 9_000 if number % 97 == 0 else number % 400
    return f"<{process} {number} {'x' * length} {process} {number}>"


def is_whole(line: str) -> bool:
    words = line.removeprefix("<").removesuffix(">").split()
    return len(words) in (4, 5) and line == line_of(int(words[0]), int(words[1]))


def names(text: str) -> Counter[tuple[int, int]]:
    """Return which lines are there, after seeing that each is whole."""
    found: Counter[tuple[int, int]] = Counter()
    for line in text.splitlines():
        assert is_whole(line), line[:200]
        process, number = line[1:].split()[:2]
        found[int(process), int(number)] += 1
    return found


class Writers:
    """Processes that write until they are stopped."""

    def __init__(self, folder: Path, target: Path | int) -> None:
        self._stop = folder / "stop"
        self.children = []
        # A SIGHUP may come before a slow child has its handler: it waits until then, and ends no child.
        former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        for process in range(PROCESSES):
            child = os.fork()
            if child == 0:
                try:
                    self._write(process, target)
                    os._exit(0)
                finally:
                    os._exit(1)
            self.children.append(child)
        signal.pthread_sigmask(signal.SIG_SETMASK, former)

    def _write(self, process: int, target: Path | int) -> None:
        targets._LOCK_PATIENCE = SECONDS  # however long another one is held up while it writes
        writer = LogWriter(target, lambda count: f"lost {count}")
        signal.signal(signal.SIGHUP, lambda *_: writer.reopen())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        count = 0
        while not self._stop.exists():
            for _ in range(20):
                writer.write(line_of(process, count))
                count += 1
            time.sleep(0.002)
            while len(writer._lines) > 1_000:  # no more than it can take: none is to be dropped
                time.sleep(0.002)
        writer.close(SECONDS)
        self._stop.with_suffix(f".{process}").write_text(str(count))

    def end(self, killed: int | None = None) -> Counter[tuple[int, int]]:
        """Stop them; return which lines they wrote, but for those of the one that was killed."""
        self._stop.touch()
        ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in self.children]
        assert ends == [-signal.SIGKILL if process == killed else 0 for process in range(PROCESSES)]
        whole = [process for process in range(PROCESSES) if process != killed]
        counts = {process: int(self._stop.with_suffix(f".{process}").read_text()) for process in whole}
        return Counter({(process, number): 1 for process in whole for number in range(counts[process])})


def wait_for_growth(path: Path, octets: int = 200_000) -> None:
    deadline = time.monotonic() + SECONDS
    while not (path.exists() and path.stat().st_size >= octets):
        assert time.monotonic() < deadline, f"{path} does not grow"
        time.sleep(0.005)


@pytest.mark.parametrize("is_told", [False, True], ids=["without SIGHUP", "with SIGHUP"])
def test_rotation_by_renaming_loses_no_line(tmp_path: Path, is_told: bool) -> None:
    path = tmp_path / "log"
    writers = Writers(tmp_path, path)
    old = []
    for number in range(4):
        wait_for_growth(path)
        old.append(path.rename(tmp_path / f"log.{number}"))
        if is_told:
            for child in writers.children:
                os.kill(child, signal.SIGHUP)
    wait_for_growth(path)
    wanted = writers.end()
    assert names("".join(each.read_text() for each in (*old, path))) == wanted


def test_rotation_by_copying_and_cutting_tears_no_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writers = Writers(tmp_path, path)
    copies = []
    for _ in range(4):
        wait_for_growth(path)
        copy = path.read_text()
        os.truncate(path, 0)
        # A copy may end in the middle of a batch that is being written; what it lacks was cut.
        copies.append(copy[: copy.rfind("\n") + 1])
    wait_for_growth(path)
    wanted = writers.end()
    last = path.read_text()
    assert "\0" not in last
    assert not names("".join(copies) + last) - wanted, "no line comes twice"
    # Between two cuts nothing is missing, and after the last one nothing to the end.
    for text in (*copies, last):
        for process in range(PROCESSES):
            numbers = sorted(number for each, number in names(text) if each == process)
            assert numbers == list(range(numbers[0], numbers[-1] + 1)) if numbers else text is not last
            if text is last:
                assert numbers[-1] == max(number for each, number in wanted if each == process)


def test_a_pipe_gets_whole_lines_also_longer_ones_than_it_takes_at_once(tmp_path: Path) -> None:
    reading, written = os.pipe()
    fcntl.fcntl(written, fcntl.F_SETPIPE_SZ, 4096)
    writers = Writers(tmp_path, written)
    received = bytearray()
    done = threading.Event()

    def read() -> None:
        while piece := os.read(reading, 65_536):
            received.extend(piece)
        done.set()

    threading.Thread(target=read, daemon=True).start()
    while len(received) < 2_000_000:
        time.sleep(0.01)
    wanted = writers.end()
    os.close(written)
    assert done.wait(SECONDS)
    os.close(reading)
    assert names(received.decode()) == wanted


def test_a_process_that_is_killed_spoils_no_line_of_others(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writers = Writers(tmp_path, path)
    wait_for_growth(path)
    os.kill(writers.children[0], signal.SIGKILL)
    wait_for_growth(path, 600_000)
    wanted = writers.end(killed=0)
    lines = path.read_text().splitlines()
    broken = [line for line in lines if not is_whole(line)]
    assert len(broken) <= 1, "the one that it was at"
    found = names("\n".join(line for line in lines if is_whole(line)))
    assert {name: count for name, count in found.items() if name[0] != 0} == dict(wanted)


def test_standard_output_in_a_file_is_appended_to_after_it_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)  # as the shell does for "> log"
    target = Target(descriptor)
    assert target.put([b"one\n"]) == 1
    os.truncate(path, 0)
    assert target.put([b"two\n"]) == 1
    os.close(descriptor)
    assert path.read_bytes() == b"two\n"


def test_a_renamed_idle_log_is_opened_anew_when_told(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = LogWriter(path, str)
    path.rename(tmp_path / "log.1")
    writer.reopen()
    deadline = time.monotonic() + SECONDS
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    writer.close()


def test_lines_go_to_the_old_file_while_its_name_is_taken_by_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "log"
    target = Target(path)
    target.put([b"one\n"])
    path.rename(tmp_path / "log.1")
    path.mkdir()
    target.follow()
    assert target.put([b"two\n"]) == 1
    path.rmdir()
    target.follow()
    assert target.put([b"three\n"]) == 1
    target.close()
    assert (tmp_path / "log.1").read_bytes() == b"one\ntwo\n"
    assert path.read_bytes() == b"three\n"


class TestAFullDisk:
    """Half a line that found room is taken away again."""

    @pytest.fixture
    def limit(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
        room: list[int | None] = [None]
        real = os.write

        def write(descriptor: int, octets: bytes) -> int:
            if room[0] is None:
                return real(descriptor, octets)
            if room[0] <= 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            taken = real(descriptor, octets[: room[0]])
            room[0] -= taken
            return taken

        monkeypatch.setattr(targets.os, "write", write)
        return lambda octets: room.__setitem__(0, octets)

    @pytest.mark.parametrize("octets", range(13))
    def test_what_is_there_are_whole_lines(
        self, tmp_path: Path, limit: Callable[[int | None], None], octets: int
    ) -> None:
        path = tmp_path / "log"
        path.write_bytes(b"zero\n")
        target = Target(path)
        limit(octets)
        written = target.put([b"one\n", b"two\n", b"333\n"])
        assert written == octets // 4
        assert path.read_bytes() == b"zero\none\ntwo\n333\n"[: 5 + 4 * written]
        limit(None)
        assert target.put([b"four\n"]) == 1
        target.close()
        assert path.read_bytes().endswith(b"\nfour\n")


def test_half_a_line_of_a_killed_process_is_ended_first(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\nhal")
    target = Target(path)
    assert target.put([b"two\n"]) == 1
    target.close()
    assert path.read_bytes() == b"one\nhal\ntwo\n"


def test_a_lock_that_is_never_given_up_delays_but_does_not_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "_LOCK_PATIENCE", 0.05)
    path = tmp_path / "log"
    target = Target(path)
    locked, told = os.pipe()
    child = os.fork()
    if child == 0:
        with path.open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            os.write(told, b"x")
            signal.pause()
        os._exit(0)
    os.read(locked, 1)
    assert target.put([b"one\n"]) == 1
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    target.close()
    os.close(locked)
    os.close(told)


def test_a_process_without_threads_does_not_wait_for_a_full_pipe() -> None:
    reading, written = os.pipe()
    fcntl.fcntl(written, fcntl.F_SETPIPE_SZ, 4096)
    writer = DirectWriter(written)
    began = time.monotonic()
    writer.write("x" * 4095)
    writer.write("never read")
    writer.reopen()
    writer.close()
    assert time.monotonic() - began < SECONDS / 2
    assert os.read(reading, 8192) == b"x" * 4095 + b"\n"
    os.close(reading)
    writer.write("nobody there")
    os.close(written)


def test_half_a_line_in_a_pipe_is_ended_first() -> None:
    reading, written = os.pipe()
    fcntl.fcntl(written, fcntl.F_SETPIPE_SZ, 4096)
    target = Target(written, patience=0.02)
    assert target.put([b"y" * 6000 + b"\n"]) == 0
    assert os.read(reading, 8192) == b"y" * 4096
    assert target.put([b"two\n"]) == 1
    assert os.read(reading, 8192) == b"\ntwo\n"
    os.close(reading)
    os.close(written)


def test_nothing_here_starts_a_thread_when_it_is_imported() -> None:
    import subprocess
    import sys

    code = (
        "import threading, gatepost.app, gatepost.child, gatepost.supervisor, gatepost.admin.server,"
        "gatepost.observe.audit, gatepost.observe.metrics, gatepost.observe.log, gatepost.observe.verify;"
        "print(threading.active_count())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
