"""Gates: how much runs at once, and what waits."""

from __future__ import annotations

import pytest

from gatepost.model.envelope import MessageId
from gatepost.queue.health import Health
from gatepost.queue.limits import Gate, Gates, Limits, Place
from gatepost.spool.lane import lane_of
from queue_world import DOWN

LANE = lane_of("tim")


@pytest.fixture
def gate() -> Gate:
    """Return a gate for two."""
    return Gate(2, Health("main", lambda _: None))


def close(gate: Gate) -> None:
    gate.health.learn(MessageId("a"), [DOWN], 1, 1)
    gate.health.learn(MessageId("b"), [DOWN], 1, 1)


def test_a_gate_lets_only_so_many_in(gate: Gate) -> None:
    gate.enter()
    assert gate.admits(0)
    gate.enter()
    assert not gate.admits(0)
    gate.leave(0)
    assert gate.admits(0)


def hold(gate: Gate, name: str, lane: int = LANE, due: float = 1.0) -> bool:
    return gate.hold(MessageId(name), lane, (due, name))


def nothing(_lane: int, _start: Place, _limit: int) -> list[Place]:
    return []


def test_who_waits_comes_in_order_and_once(gate: Gate) -> None:
    for name in ("a", "b", "a"):
        hold(gate, name)
    assert [gate.take(nothing), gate.take(nothing)] == ["a", "b"]
    assert not gate.lines


def test_lanes_take_turns(gate: Gate) -> None:
    for number in range(5):
        hold(gate, f"a{number}", lane_of("ann"))
    hold(gate, "b", lane_of("bob"))
    hold(gate, "c", lane_of("cid"))
    assert [gate.take(nothing) for _ in range(7)] == ["a0", "b", "c", "a1", "a2", "a3", "a4"]


def test_only_some_wait_in_memory_and_of_the_others_only_the_first_place_is_known(gate: Gate) -> None:
    for number in range(1000):
        hold(gate, f"m{number:04}", due=float(number))
    line = gate.lines.get(LANE)
    assert line is not None
    assert len(line.names) == 100
    assert line.behind == (100.0, "m0100")
    hold(gate, "x", due=50.5)
    assert line.behind == (50.5, "x")
    assert hold(gate, "y", lane_of("bob"))
    other = gate.lines.get(lane_of("bob"))
    assert other is not None
    assert (other.names, other.behind) == ({}, (1.0, "y")), "of the next lane the place is known, too"


def test_those_left_behind_are_read_a_few_at_a_time(gate: Gate) -> None:
    close(gate)
    places = [(float(number), f"m{number:02}") for number in range(25)]
    asked = []

    def read(lane: int, start: Place, limit: int) -> list[Place]:
        asked.append((lane, start, limit))
        return [place for place in places if place >= start][:limit]

    for due, name in places:
        hold(gate, name, due=due)
    assert [gate.take(read) for _ in range(25)] == [name for _, name in places]
    assert asked == [(LANE, (number, f"m{number:02}"), 11) for number in (0, 10, 20)]
    assert not gate.lines


def test_who_was_left_behind_and_is_gone_is_nobody(gate: Gate) -> None:
    close(gate)
    hold(gate, "a")
    assert gate.take(nothing) is None
    assert not gate.lines


def test_before_a_closed_route_nobody_waits_in_memory(gate: Gate) -> None:
    close(gate)
    hold(gate, "a")
    line = gate.lines.get(LANE)
    assert line is not None
    assert (line.names, line.behind) == ({}, (1.0, "a"))


def test_lanes_at_a_gate_are_limited(gate: Gate) -> None:
    assert all(hold(gate, f"m{number}", number) for number in range(10_000))
    assert not hold(gate, "late", 10_001)
    assert hold(gate, "another", 1)
    gate.forget()
    assert not gate.lines
    assert hold(gate, "late", 10_001)


@pytest.mark.parametrize("field", ["attempts", "per_route", "recipients", "seconds"])
def test_a_limit_of_nothing_cannot_be_set(field: str) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Limits(**{field: 0})


def test_gates_are_made_when_they_are_asked_for() -> None:
    gates = Gates(1, lambda _: None)
    assert "main" not in gates
    gates["main"].enter()
    assert not gates["main"].admits(0)
    gates.adapt(2)
    assert gates["main"].admits(0)
    assert gates["other"].limit == 2


def test_gates_are_paused_by_hand_also_before_they_are_there() -> None:
    gates = Gates(1, lambda _: None)
    assert gates["one"].admits(0)
    gates.pause({"one": 5.0, "two": 6.0}, 10)
    assert not gates["one"].admits(10)
    assert not gates["two"].admits(10)
    assert gates["two"].health.stalled(0, 10) == 4
    assert gates["three"].admits(10)
    gates.pause({"two": 6.0}, 20)
    assert gates["one"].admits(20)
    assert not gates["two"].admits(20)
    gates.pause({}, 30)
    assert gates["two"].admits(30)
    gates["four"].health.learn(MessageId("a"), [DOWN], 1, 31)
    gates["four"].health.learn(MessageId("b"), [DOWN], 1, 31)
    gates.pause({}, 31)
    assert not gates["four"].admits(31), "what closed by itself is not opened by resuming others"
