"""Nobody waits behind all mail of another account: not when it comes, not after a restart, not behind an outage."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gatepost.model.priority import Priority
from gatepost.queue.limits import Limits
from gatepost.queue.retry import Schedule
from gatepost.queue.rules import Rule, Rules
from gatepost.spool.lane import lane_of
from queue_world import DOWN, LATER, OK, START, World

MANY = 1500
RULES = Rules(
    Schedule(),
    [
        Rule(credentials=frozenset({"resets"}), priority=Priority.HIGH),
        Rule(accounts=frozenset({"news"}), priority=Priority.LOW),
    ],
)


def arrival(world: World, recipient: str) -> float:
    """Return when *recipient* was tried first, in seconds from the start."""
    return next(time for time, _, whom in world.hop.deliveries if recipient in whom) - START


@pytest.fixture
async def slow() -> World:
    """Return a world whose next hop takes five messages at once, and half a second for each: ten a second."""
    world = World(limits=Limits(per_route=5))
    world.hop.seconds = 0.5
    return world


async def test_mail_that_comes_while_another_account_has_a_thousand_waiting_goes_at_its_next_turn(slow: World) -> None:
    await slow.start()
    slow.pour(MANY, account="big")
    await slow.clock.go_on(10.1)
    await slow.accept("one@example.net", account="small")
    await slow.clock.go_on(5)
    assert arrival(slow, "one@example.net") - 10.1 <= 0.5
    await slow.stop()


async def test_after_a_restart_in_which_all_is_due_each_account_has_its_turn(slow: World) -> None:
    for number in range(MANY):
        slow.put(account="big", due=START - MANY + number)
    slow.put("one@example.net", account="small", due=START - 1)
    slow.put("two@example.net", account="other", due=START - 2)
    await slow.start()
    assert slow.spool.reads < 300, "the others' messages are not read to find it"
    await slow.clock.go_on(3)
    assert max(arrival(slow, "one@example.net"), arrival(slow, "two@example.net")) <= 1.0
    await slow.stop()


async def test_also_when_all_attempts_are_taken_by_others(slow: World) -> None:
    slow.limits = Limits(attempts=4, per_route=4)
    slow.scheduler = slow.new_scheduler()
    for number in range(MANY):
        slow.put(account="big", due=START - MANY + number)
    slow.put("one@example.net", account="small", due=START - 1)
    await slow.start()
    await slow.clock.go_on(3)
    assert arrival(slow, "one@example.net") <= 1.0
    await slow.stop()


async def test_much_that_becomes_due_at_once_is_taken_in_turns(slow: World) -> None:
    await slow.start()
    for number in range(MANY):
        slow.put(account="big", due=START + 100 + number / MANY)
    slow.put("one@example.net", account="small", due=START + 101)
    slow.scheduler.look_again()
    await slow.clock.go_on(110)
    assert arrival(slow, "one@example.net") <= 103
    await slow.stop()


async def test_after_an_outage_each_account_has_its_turn(slow: World) -> None:
    slow.hop.answer, slow.hop.seconds = DOWN, 0.0
    await slow.start()
    slow.pour(MANY, account="big")
    await slow.clock.go_on(60)
    await slow.accept("one@example.net", account="small")
    await slow.clock.go_on(1800)
    slow.hop.answer, slow.hop.seconds = OK, 0.5
    before = len(slow.hop.deliveries)
    await slow.clock.go_on(301)
    started = [whom for _, _, whom in slow.hop.deliveries[before:]]
    assert ("one@example.net",) in started[:20]
    await slow.stop()


async def test_all_of_a_crowd_of_accounts_is_delivered_once() -> None:
    world = World(limits=Limits(attempts=7, per_route=3))
    world.hop.seconds = 0.1
    other = world.route("other.example")
    other.seconds = 0.3
    for number in range(900):
        domain = "other.example" if number % 3 else "example.net"
        world.put(f"m{number}@{domain}", account=f"a{number % 40}", due=START - number % 17)
    await world.start()
    await world.clock.go_on(120)
    assert world.spool.count() == 0
    assert sorted(world.hop.recipients + other.recipients) == sorted(
        f"m{number}@{'other.example' if number % 3 else 'example.net'}" for number in range(900)
    )
    await world.stop()


async def test_the_urgent_goes_first_and_the_rest_does_not_starve() -> None:
    world = World(schedule=RULES, limits=Limits(per_route=1))
    world.spool.priority = RULES.priority
    world.hop.seconds = 0.1
    for _ in range(100):
        world.put("news@example.net", account="news", due=START - 3)
        world.put("mail@example.net", account="tim", due=START - 2)
    for _ in range(100):
        world.put("reset@example.net", account="shop", credential="resets", due=START - 1)
    await world.start()
    await world.clock.go_on(40)
    order = [each.removesuffix("@example.net") for each in world.hop.recipients]
    assert order.count("reset") == order.count("mail") == order.count("news") == 100
    first = order[:80]
    assert first.count("reset") >= 65
    assert first.count("mail") >= 3
    assert first.count("news") >= 3
    await world.stop()


async def test_an_urgent_message_that_comes_does_not_wait_for_a_newsletter() -> None:
    world = World(schedule=RULES, limits=Limits(per_route=1))
    world.spool.priority = RULES.priority
    world.hop.seconds = 0.1
    await world.start()
    world.pour(300, account="news")
    await world.clock.go_on(1)
    name = await world.accept("reset@example.net", account="shop", credential="resets")
    entry = world.spool.entry(name)
    assert entry is not None
    assert entry.lane == lane_of("shop", Priority.HIGH)
    await world.clock.go_on(0.3)
    assert "reset@example.net" in world.hop.recipients
    await world.stop()


async def test_a_recipient_that_defers_does_not_hold_the_others(slow: World) -> None:
    greylisting = slow.route("grey.example", LATER)
    await slow.start()
    await slow.accept("a@grey.example", "b@example.net", "c@example.net")
    await slow.clock.go_on(2)
    assert slow.hop.recipients == ["b@example.net", "c@example.net"]
    assert greylisting.recipients == ["a@grey.example"]
    greylisting.answer = OK
    await slow.clock.go_on(timedelta(minutes=2).total_seconds())
    assert slow.spool.count() == 0
    assert slow.hop.recipients == ["b@example.net", "c@example.net"], "who has it is not asked again"
    await slow.stop()
