"""Turns of lanes."""

from __future__ import annotations

from collections import Counter

from gatepost.model.priority import Priority
from gatepost.queue.rota import Rota
from gatepost.spool.lane import lane_of

ANN, BOB = lane_of("ann"), lane_of("bob")
RESET = lane_of("shop", Priority.HIGH)
NEWS = lane_of("news", Priority.LOW)


def rota(*lanes: int) -> Rota[str]:
    made: Rota[str] = Rota()
    for lane in lanes:
        made.put(lane, str(lane))
    return made


def test_lanes_of_a_priority_take_turns() -> None:
    turns = rota(ANN, BOB)
    assert [turns.turn()[0] for _ in range(5)] == [ANN, BOB, ANN, BOB, ANN]


def test_the_urgent_come_first_and_the_others_now_and_then() -> None:
    turns = rota(NEWS, ANN, BOB, RESET)
    order = [turns.turn()[0] for _ in range(160)]
    assert order[:7] == [RESET] * 7
    assert Counter(order) == {RESET: 140, NEWS: 10, ANN: 5, BOB: 5}


def test_who_is_let_go_of_has_no_turn() -> None:
    turns = rota(ANN, BOB, RESET)
    assert (len(turns), bool(turns)) == (3, True)
    turns.discard(RESET)
    turns.discard(ANN)
    turns.discard(ANN)
    assert turns.turn() == (BOB, str(BOB))
    assert turns.get(ANN) is None
    turns.clear()
    assert (len(turns), bool(turns)) == (0, False)


def test_a_priority_that_does_not_exist_is_the_last_one() -> None:
    strange = 17 << 32
    turns = rota(strange, NEWS)
    assert {turns.turn()[0] for _ in range(2)} == {strange, NEWS}
