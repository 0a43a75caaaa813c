"""The lock of the state folder, with real processes."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from gatepost.state.lock import InUse, StateLock, owner


def test_one_holds_it_and_others_hear_who(tmp_path: Path) -> None:
    lock = StateLock(tmp_path)
    assert owner(tmp_path) == os.getpid()
    with pytest.raises(InUse, match=f"is in use by process {os.getpid()}") as caught:
        StateLock(tmp_path)
    assert caught.value.owner == os.getpid()
    lock.release()
    lock.release()
    StateLock(tmp_path).release()


def test_who_waits_gets_it_when_it_is_free(tmp_path: Path) -> None:
    lock = StateLock(tmp_path)
    said: list[InUse] = []
    timer = threading.Timer(0.2, lock.release)
    timer.start()
    StateLock(tmp_path, patience=10, wait=said.append).release()
    timer.join()
    assert len(said) == 1


def test_who_waited_in_vain_hears_who_holds_it(tmp_path: Path) -> None:
    lock = StateLock(tmp_path)
    began = time.monotonic()
    with pytest.raises(InUse):
        StateLock(tmp_path, patience=0.15)
    assert time.monotonic() - began >= 0.15
    lock.release()


def test_a_child_that_inherited_it_holds_it_after_its_parent(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    parent = os.fork()
    if parent == 0:
        StateLock(tmp_path)
        child = os.fork()
        if child:
            os.write(writing, b"%d\n" % child)
            os._exit(0)
        signal.pause()
        os._exit(0)
    child = int(os.read(reading, 20))
    os.close(reading)
    os.close(writing)
    os.waitpid(parent, 0)
    try:
        with pytest.raises(InUse, match=f"process {parent}"):
            StateLock(tmp_path)
    finally:
        os.kill(child, signal.SIGKILL)
    StateLock(tmp_path, patience=5).release()


@pytest.mark.parametrize("text", ["", "rubbish\n", "\xff"])
def test_a_lock_file_without_a_number_is_a_lock_all_the_same(tmp_path: Path, text: str) -> None:
    (tmp_path / "lock").write_bytes(text.encode("latin-1"))
    assert owner(tmp_path) is None
    lock = StateLock(tmp_path)
    assert owner(tmp_path) == os.getpid()
    lock.release()


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    assert owner(tmp_path / "none") is None
    with pytest.raises(FileNotFoundError):
        StateLock(tmp_path / "none")
