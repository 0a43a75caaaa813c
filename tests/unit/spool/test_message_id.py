from __future__ import annotations

from contracts.spool_contract import SteppedClock
from gatepost.spool.message_id import MessageIds, is_message_id


def test_names_sort_by_time():
    clock = SteppedClock()
    ids = MessageIds(clock)
    names = []
    for _ in range(50):
        names += [ids.make(), ids.make()]
        clock.time += 0.000_5
    assert names == sorted(set(names))
    assert all(is_message_id(name) for name in names)


def test_a_name_is_unique_while_the_clock_stands_still_or_goes_back():
    clock = SteppedClock()
    ids = MessageIds(clock)
    names = [ids.make() for _ in range(1000)]
    clock.time -= 3600
    names += [ids.make() for _ in range(1000)]
    assert names == sorted(set(names))


def test_two_workers_at_the_same_moment_make_different_names():
    clock = SteppedClock()
    ours, theirs = MessageIds(clock), MessageIds(clock)
    assert not {ours.make() for _ in range(100)} & {theirs.make() for _ in range(100)}


def test_names_keep_their_order_for_a_century():
    clock = SteppedClock()
    names = []
    for year in range(100):
        clock.time = (year + 10) * 31_557_600.0
        names.append(MessageIds(clock).make())
    assert names == sorted(names)


def test_what_is_no_name_of_ours_is_told_apart():
    for text in ("", "0" * 15, "0" * 17, "0" * 15 + "I", "0" * 15 + "u", "../" + "0" * 13, "0" * 15 + "\n", "A" * 16):
        assert not is_message_id(text)
