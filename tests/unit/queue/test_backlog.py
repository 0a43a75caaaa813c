"""Mail that is due and that nobody has looked at yet."""

from __future__ import annotations

import pytest

from gatepost.queue import backlog as module
from gatepost.queue.backlog import START, Backlog
from queue_world import World


def read_all(backlog: Backlog, now: float) -> list[str]:
    names: list[str] = []
    while backlog.wants(has_room=True):
        backlog.discover(now)
        names += [name for _, name in backlog.read(now, 2, has_room=True)]
    return names


def test_everything_is_read_once_and_lanes_in_turn() -> None:
    world = World()
    ann = [world.put(account="ann") for _ in range(5)]
    bob = [world.put(account="bob") for _ in range(3)]
    backlog = Backlog(world.spool)
    assert not backlog.wants(has_room=True)
    backlog.seek(START)
    names = read_all(backlog, world.clock.time)
    assert sorted(names) == sorted(ann + bob)
    assert {names.index(ann[0]), names.index(bob[0])} == {0, 2}, "the first of each before the rest of any"
    assert [name for name in names if name in ann] == ann


def test_without_room_only_the_beginning_of_each_lane_is_read() -> None:
    world = World()
    for account in ("ann", "bob"):
        for _ in range(5):
            world.put(account=account)
    backlog = Backlog(world.spool)
    backlog.seek(START)
    backlog.discover(world.clock.time)
    assert len(backlog.read(world.clock.time, 2, has_room=False)) == 2
    assert len(backlog.read(world.clock.time, 2, has_room=False)) == 2
    assert backlog.read(world.clock.time, 2, has_room=False) == []
    assert not backlog.wants(has_room=False)
    assert backlog.wants(has_room=True)
    assert len(read_all(backlog, world.clock.time)) == 6


def test_only_what_is_due_behind_a_place_is_read() -> None:
    world = World()
    now = world.clock.time
    old = world.put(account="ann", due=now - 10)
    new = world.put(account="ann", due=now - 1)
    world.put(account="bob", due=now - 20)
    world.put(account="cid", due=now + 1)
    backlog = Backlog(world.spool)
    backlog.seek((now - 5, ""))
    assert read_all(backlog, now) == [new]
    backlog.seek((now - 1, "~"))
    backlog.seek((now - 1, "~"))
    backlog.seek((now - 11, ""))
    assert read_all(backlog, now) == [old, new], "a third search takes the place of the second"


def test_of_many_lanes_some_are_known_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LANES_LIMIT", 3)
    monkeypatch.setattr(module, "_PAGE", 2)
    world = World()
    names = [world.put(account=f"a{number % 20}") for number in range(60)]
    backlog = Backlog(world.spool)
    backlog.seek(START)
    for _ in range(10):
        backlog.discover(world.clock.time)
        backlog.read(world.clock.time, 1, has_room=False)
    assert not backlog.wants(has_room=False), "it would look for lanes in vain"
    backlog.seek(START)
    assert sorted(read_all(backlog, world.clock.time)) == sorted(names)
