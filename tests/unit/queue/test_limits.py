"""Gates: how much runs at once, and what waits."""

from __future__ import annotations

import pytest

from gatepost.model.envelope import MessageId
from gatepost.queue.health import Health
from gatepost.queue.limits import Gate, Gates, Limits
from queue_world import DOWN


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


def test_who_waits_comes_in_order_and_once(gate: Gate) -> None:
    for name in ("a", "b", "a"):
        gate.hold(MessageId(name), (1.0, name))
    assert [gate.take(), gate.take()] == ["a", "b"]
    assert not gate.waiting


def test_only_some_wait_in_memory_and_of_the_others_only_the_first_place_is_known(gate: Gate) -> None:
    for number in range(1000):
        gate.hold(MessageId(f"m{number:04}"), (float(number), f"m{number:04}"))
    assert len(gate.waiting) == 100
    assert gate.behind == (100.0, "m0100")
    gate.hold(MessageId("x"), (50.5, "x"))
    assert gate.behind == (50.5, "x")
    assert gate.pick_up() == (50.5, "x")
    assert gate.behind is None


def test_before_a_closed_route_nobody_waits_in_memory(gate: Gate) -> None:
    close(gate)
    gate.hold(MessageId("a"), (1.0, "a"))
    assert not gate.waiting
    assert gate.behind == (1.0, "a")
    assert not gate.wants_more(2)
    assert gate.wants_more(100)


def test_a_gate_wants_more_when_nobody_waits_and_some_were_left_behind(gate: Gate) -> None:
    assert not gate.wants_more(0)
    gate.behind = (1.0, "a")
    assert gate.wants_more(0)
    gate.waiting[MessageId("b")] = None
    assert not gate.wants_more(0)


@pytest.mark.parametrize("field", ["attempts", "per_route", "recipients"])
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
