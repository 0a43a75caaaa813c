from __future__ import annotations

import os
from pathlib import Path

import pytest

from gatepost.model.envelope import MessageId
from gatepost.spool.in_flight import IN_FLIGHT_FILE, InFlight, left_in_flight


def name(number: int) -> MessageId:
    return MessageId(f"{number:016d}")


def test_what_is_tried_stands_in_the_file_until_it_has_landed(tmp_path: Path) -> None:
    slots = InFlight(tmp_path)
    assert left_in_flight(tmp_path) == []
    for number in range(3):
        slots.begin(name(number))
    assert left_in_flight(tmp_path) == [name(0), name(1), name(2)]
    slots.end(name(1))
    slots.begin(name(3))
    assert left_in_flight(tmp_path) == [name(0), name(3), name(2)]


def test_a_message_on_two_routes_is_in_flight_until_both_have_landed(tmp_path: Path) -> None:
    slots = InFlight(tmp_path)
    for _ in range(3):
        slots.begin(name(1))
    for _ in range(2):
        slots.end(name(1))
        assert left_in_flight(tmp_path) == [name(1)]
    slots.end(name(1))
    assert left_in_flight(tmp_path) == []
    slots.end(name(1))
    slots.end(name(2))
    assert left_in_flight(tmp_path) == []


def test_a_clean_end_leaves_no_file(tmp_path: Path) -> None:
    slots = InFlight(tmp_path)
    slots.begin(name(1))
    slots.close()
    slots.close()
    assert list(tmp_path.iterdir()) == []
    slots.begin(name(2))
    slots.end(name(2))
    slots.end(name(1))


def test_more_attempts_than_slots_are_not_counted_and_harm_nobody(tmp_path: Path) -> None:
    slots = InFlight(tmp_path)
    for number in range(1500):
        slots.begin(name(number))
    left = left_in_flight(tmp_path)
    assert left == [name(number) for number in range(1023)]
    for number in range(1500):
        slots.end(name(number))
    assert left_in_flight(tmp_path) == []
    slots.begin(name(7))
    assert left_in_flight(tmp_path) == [name(7)]


@pytest.mark.parametrize(
    "octets",
    [b"", b"gatepost-flight1", b"somebody else's" * 2000, b"gatepost-flight2" + bytes(16 * 1023), bytes(16 << 10)],
)
def test_a_foreign_or_half_written_file_is_ignored_and_made_anew(tmp_path: Path, octets: bytes) -> None:
    path = tmp_path / IN_FLIGHT_FILE
    path.write_bytes(octets)
    assert left_in_flight(tmp_path) == []
    slots = InFlight(tmp_path)
    assert left_in_flight(tmp_path) == []
    assert path.stat().st_size == 16 << 10
    slots.begin(name(1))
    assert left_in_flight(tmp_path) == [name(1)]


def test_what_is_no_name_of_ours_in_a_slot_is_left_out(tmp_path: Path) -> None:
    slots = InFlight(tmp_path)
    slots.begin(name(1))
    with (tmp_path / IN_FLIGHT_FILE).open("r+b") as file:
        for place, octets in (
            (32, b"half" + bytes(12)),
            (48, b"\xff" * 16),
            (64, b"' OR 1=1 --     "),
            (80, b"0" * 16),
        ):
            file.seek(place)
            file.write(octets)
        file.seek(96)
        file.write(b"0" * 16)
    assert left_in_flight(tmp_path) == [name(1), name(0)]


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_where_no_file_can_be_nothing_is_counted(tmp_path: Path, make) -> None:
    make(tmp_path / IN_FLIGHT_FILE)
    assert left_in_flight(tmp_path) == []
    slots = InFlight(tmp_path)
    slots.begin(name(1))
    slots.begin(name(1))
    slots.end(name(1))
    slots.close()
    assert (tmp_path / IN_FLIGHT_FILE).lstat()


def test_a_folder_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    slots = InFlight(tmp_path / "nowhere")
    slots.begin(name(1))
    slots.end(name(1))
    slots.close()
    assert left_in_flight(tmp_path / "nowhere") == []


def test_no_store_needs_room_on_the_disk(tmp_path: Path) -> None:
    InFlight(tmp_path)
    status = (tmp_path / IN_FLIGHT_FILE).stat()
    assert status.st_blocks * 512 >= status.st_size
