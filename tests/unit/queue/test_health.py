"""Whether a route is worth trying."""

from __future__ import annotations

import pytest

from gatepost.model.delivery import Cause, Deferred, RemoteReply
from gatepost.model.envelope import MessageId
from gatepost.observe.events import Event, RoutePaused, RouteResumed
from gatepost.queue.health import Health
from queue_world import DOWN, LATER, NEVER, OK, REFUSED

A, B, C = MessageId("a"), MessageId("b"), MessageId("c")


@pytest.fixture
def events() -> list[Event]:
    """Return what was told."""
    return []


@pytest.fixture
def health(events: list[Event]) -> Health:
    """Return the health of a route of which nothing is known."""
    return Health("main", events.append)


def down(health: Health) -> None:
    """Close it: two different messages found nobody."""
    assert health.learn(A, [DOWN], 1, 1) is Cause.NEXT_HOP
    assert health.learn(B, [DOWN], 1, 2) is Cause.NEXT_HOP


def test_a_route_is_open_at_first(health: Health) -> None:
    assert health.is_open
    assert health.admits(0)
    assert not health.is_paused


def test_one_failure_does_not_close_a_route_but_tells_to_wait(health: Health) -> None:
    health.learn(A, [DOWN], 1, 1)
    assert health.is_open
    assert health.back_off == 5


def test_two_failures_close_it_until_a_probe(health: Health) -> None:
    down(health)
    assert not health.is_open
    assert not health.admits(11.9)
    assert health.admits(12)
    health.begin()
    assert not health.admits(12)
    assert health.last_reply == DOWN.reply


@pytest.mark.parametrize(
    "reply",
    [
        RemoteReply.parse(421, "4.7.0 too much mail for <bob@example.net>"),
        RemoteReply.ours(451, "4.5.0", "a reply that does not fit RCPT: 330 bob@example.net?"),
    ],
)
def test_a_sender_is_not_told_of_the_recipients_of_others(health: Health, reply: RemoteReply) -> None:
    for each in (A, B):
        health.learn(each, [Deferred(reply, "mx.example.net", Cause.NEXT_HOP)], 1, 1)
    assert not health.is_open
    assert str(health.reason) == "451 4.3.2 The next server takes no mail now"
    assert health.last_reply == reply  # whoever runs the server is


def test_a_sender_is_told_why_the_way_is_closed(health: Health) -> None:
    down(health)
    assert health.reason == DOWN.reply


def test_a_probe_that_fails_doubles_the_wait_up_to_a_limit(health: Health) -> None:
    down(health)
    waits = []
    for number in range(10):
        now = health.until
        health.begin()
        health.learn(MessageId(str(number)), [DOWN], now, now)
        health.end(now)
        waits.append(health.until - now)
    assert waits == [20, 40, 80, 160, 300, 300, 300, 300, 300, 300]


@pytest.mark.parametrize("answer", [OK, LATER, NEVER])
def test_a_probe_that_is_answered_opens_it(health: Health, answer: object) -> None:
    down(health)
    health.begin()
    assert health.learn(C, [answer], 12, 13) is Cause.MESSAGE  # type: ignore[list-item]
    assert health.is_open
    assert health.admits(13)
    assert health.back_off == 5


def test_a_probe_that_comes_to_nothing_lets_another_one_try(health: Health) -> None:
    down(health)
    health.begin()
    health.end(12)
    assert health.admits(12)


def test_what_began_before_it_was_closed_says_nothing_new(health: Health) -> None:
    down(health)
    until = health.until
    assert health.learn(C, [DOWN], 1, 3) is Cause.NEXT_HOP
    assert health.learn(C, [OK], 1, 3) is Cause.MESSAGE
    health.begin()
    health.end(1)
    assert health.until == until
    assert not health.admits(until)


def test_a_message_that_fails_where_others_pass_is_to_blame_itself(health: Health) -> None:
    assert health.learn(A, [DOWN], 1, 1) is Cause.NEXT_HOP
    health.learn(B, [OK], 2, 2)
    assert health.learn(A, [DOWN], 3, 3) is Cause.MESSAGE
    assert health.learn(A, [DOWN], 4, 4) is Cause.NEXT_HOP
    assert health.is_open


def test_it_remembers_only_so_many_messages(health: Health) -> None:
    for number in range(1000):
        health.learn(MessageId(str(number)), [DOWN], number, number)
    assert len(health._suspects) <= 100


def test_different_deferrals_are_an_answer(health: Health) -> None:
    assert health.learn(A, [DOWN, LATER], 1, 1) is Cause.MESSAGE
    assert health.learn(A, [DOWN, OK], 1, 1) is Cause.MESSAGE
    assert health.learn(A, [REFUSED, OK], 1, 1) is Cause.MESSAGE
    assert health.learn(A, [DOWN, REFUSED], 1, 1) is Cause.ROUTE


def test_a_refused_login_pauses_it_at_once_and_grows(health: Health, events: list[Event]) -> None:
    now, waits = 100.0, []
    for _ in range(6):
        health.begin()
        assert health.learn(A, [REFUSED], now, now) is Cause.ROUTE
        assert health.is_paused
        waits.append(health.until - now)
        now = health.until
    assert waits == [60, 120, 240, 480, 900, 900]
    assert [type(event) for event in events] == [RoutePaused] * 6
    health.begin()
    health.learn(A, [LATER], now, now)
    assert not health.is_paused
    assert events[-1] == RouteResumed("main")


def test_the_time_of_a_pause_is_counted_while_it_lasts_and_after(health: Health) -> None:
    assert health.stalled(0, 50) == 0
    health.learn(A, [REFUSED], 100, 100)
    assert health.stalled(0, 150) == 50
    assert health.stalled(120, 150) == 30
    health.learn(A, [OK], 160, 160)
    assert health.stalled(0, 1000) == 60
    assert health.stalled(500, 1000) == 0


def test_pauses_close_to_each_other_are_one_and_others_are_not(health: Health) -> None:
    health.learn(A, [REFUSED], 100, 100)
    health.learn(A, [OK], 160, 160)
    health.learn(A, [REFUSED], 200, 200)
    assert health.stalled(0, 300) == 200
    health.learn(A, [OK], 400, 400)
    health.learn(A, [REFUSED], 5000, 5000)
    assert health.stalled(0, 5010) == 10


def test_a_next_hop_that_goes_away_during_a_pause_is_still_paused(health: Health, events: list[Event]) -> None:
    health.learn(A, [REFUSED], 100, 100)
    health.learn(B, [DOWN], 160, 160)
    assert health.is_paused
    assert health.until == 165
    assert len(events) == 1


def test_what_is_paused_by_hand_stays_closed_until_it_is_resumed(health: Health, events: list[Event]) -> None:
    health.pause(100)
    assert (health.is_open, health.is_paused, health.is_paused_by_hand) == (False, True, True)
    assert not health.admits(100)
    assert not health.admits(1e9)
    health.resume(500)
    assert (health.is_open, health.is_paused, health.is_paused_by_hand) == (True, False, False)
    assert health.admits(500)
    assert events == []


def test_nobody_grows_older_while_a_route_is_paused_by_hand(health: Health) -> None:
    health.pause(100)
    health.pause(200)
    assert health.stalled(50, 400) == 300
    assert health.stalled(250, 400) == 150
    health.resume(500)
    assert health.stalled(50, 900) == 400


def test_what_comes_back_while_a_route_is_paused_by_hand_does_not_open_it(health: Health, events: list[Event]) -> None:
    health.pause(100)
    for result in (OK, LATER, NEVER, DOWN, REFUSED):
        health.learn(A, [result], 50, 150)
        assert not health.admits(1e9)
        assert health.is_paused
    assert not [event for event in events if isinstance(event, RouteResumed)]


def test_a_route_that_is_resumed_by_hand_and_in_trouble_itself_is_probed_at_once(health: Health) -> None:
    health.learn(A, [REFUSED], 1, 2)
    health.pause(3)
    health.resume(10)
    assert not health.is_paused_by_hand
    assert health.is_paused
    assert health.admits(10)
    health.begin()
    assert not health.admits(10)
    health.learn(B, [OK], 10, 11)
    assert health.is_open


def test_a_probe_is_asked_for_once(health: Health) -> None:
    health.probe(5)
    assert health.is_open
    down(health)
    assert not health.admits(3)
    health.probe(3)
    assert health.admits(3)
    health.begin()
    assert not health.admits(3)
    health.probe(3)  # who asks again does not wait for one that hangs
    assert health.admits(3)
