from __future__ import annotations

import os
from pathlib import Path

import pytest

from contracts.spool_contract import SteppedClock
from gatepost.errors import SpoolFull, SpoolUnavailable
from gatepost.spool.files import Files
from gatepost.spool.room import Room

MIB = 1 << 20


class TestedFiles(Files):
    """A file system that says what it is told to say."""

    __test__ = False

    def __init__(self) -> None:
        self.free_bytes = 100 * MIB
        self.inodes = (10_000, 10_000)
        self.flags = 0
        self.error: OSError | None = None
        self.asked = 0

    def statvfs(self, path: Path) -> os.statvfs_result:
        self.asked += 1
        if self.error is not None:
            raise self.error
        blocks = self.free_bytes // 4096
        total, free = self.inodes
        return os.statvfs_result((4096, 4096, blocks, blocks, blocks, total, free, free, self.flags, 255))


@pytest.fixture
def files() -> TestedFiles:
    return TestedFiles()


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def room(files: TestedFiles, clock: SteppedClock) -> Room:
    return Room(Path("/spool"), 64 * MIB, clock, files)


def test_there_is_room_above_the_reserve(room, files):
    files.free_bytes = 64 * MIB
    room.check()


def test_a_message_must_find_room_above_the_reserve(room, files):
    files.free_bytes = 65 * MIB
    room.check(MIB)
    with pytest.raises(SpoolFull):
        room.check(MIB + 1)
    room.check(MIB)


def test_there_is_none_below_the_reserve(room, files):
    files.free_bytes = 64 * MIB - 4096
    with pytest.raises(SpoolFull):
        room.check()


def test_what_has_begun_may_use_half_of_the_reserve(room, files):
    files.free_bytes = 32 * MIB
    room.check(begun=True)
    files.free_bytes = 32 * MIB - 4096
    with pytest.raises(SpoolFull):
        room.check()
    with pytest.raises(SpoolFull):
        room.check(begun=True)


def test_the_file_system_is_asked_ten_times_a_second_at_most(room, files, clock):
    for _ in range(10):
        room.check()
    assert files.asked == 1
    clock.time += 1.0
    room.check()
    assert files.asked == 2


def test_what_was_taken_since_counts(room):
    room.check()
    room.take(36 * MIB)
    room.check()
    room.take(1)
    with pytest.raises(SpoolFull):
        room.check()


def test_a_full_one_is_asked_again_at_once(room, files):
    files.free_bytes = 0
    with pytest.raises(SpoolFull):
        room.check()
    files.free_bytes = 100 * MIB
    room.check()


def test_a_clock_that_goes_back_does_not_keep_an_old_answer(room, files, clock):
    room.check()
    files.free_bytes = 0
    clock.time -= 100
    with pytest.raises(SpoolFull):
        room.check()


@pytest.mark.parametrize(
    ("total", "free", "has_room"),
    [(0, 0, True), (10_000, 256, True), (10_000, 255, False), (40, 2, True), (40, 1, False)],
)
def test_inodes_count_as_room(room, files, total, free, has_room):
    files.inodes = (total, free)
    if has_room:
        room.check()
    else:
        with pytest.raises(SpoolFull):
            room.check()


def test_what_has_begun_may_use_half_of_the_inodes_kept_back(room, files):
    files.inodes = (10_000, 128)
    room.check(begun=True)
    files.inodes = (10_000, 127)
    with pytest.raises(SpoolFull):
        room.check()
    with pytest.raises(SpoolFull, match="no inodes"):
        room.check(begun=True)


def test_files_made_since_count(room, files):
    files.inodes = (10_000, 258)
    for _ in range(2):
        room.check()
        room.take(0, files=1)
    room.check()
    room.take(0, files=1)
    with pytest.raises(SpoolFull):
        room.check()


def test_a_read_only_file_system_takes_nothing(room, files, clock):
    files.flags = os.ST_RDONLY
    with pytest.raises(SpoolUnavailable, match="read-only") as caught:
        room.check()
    assert not isinstance(caught.value, SpoolFull)
    files.flags = 0
    clock.time += 1
    room.check()


def test_a_file_system_that_does_not_answer_takes_nothing(room, files, clock):
    files.error = OSError(5, "Input/output error")
    with pytest.raises(SpoolUnavailable, match="does not answer"):
        room.check()
    files.error = None
    clock.time += 1
    room.check()
