"""A day in a minute: a next hop is away for five days, by a clock that jumps, and everything happens in its time."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from gatepost.observe.events import BounceQueued, MessageFinished, NoticeQueued, RecipientFailed
from gatepost.queue.limits import Limits
from gatepost.queue.retry import Schedule
from gatepost.queue.rules import Patience, Rule, Rules
from queue_world import DOWN, LATER, OK, World

HOUR, DAY = 3600.0, 86_400.0


@pytest.mark.rfc("5321 §4.5.4.1")
async def test_five_days_of_outage_end_in_a_notice_and_a_bounce_and_what_came_later_arrives() -> None:
    world = World()
    world.hop.answer = DOWN
    bounces = world.route("example.org")
    await world.start()
    first = await world.accept("ann@example.net", "bob@example.net")
    await world.clock.go_on(4 * HOUR - 1)
    assert world.told(NoticeQueued) == []
    await world.clock.go_on(HOUR + 2)
    assert [each.message for each in world.told(NoticeQueued)] == [first], "its sender hears that it takes long"
    await world.clock.go_on(2 * DAY - 5 * HOUR - 1)
    await world.restart()
    second = await world.accept("eve@example.net")
    await world.clock.go_on(3 * DAY - 1)

    # Not a moment before, over a restart, and without storming it.
    assert world.told(RecipientFailed) == []
    assert world.spool.count() == 2
    assert len(world.hop.times) < 3000
    waits = [b - a for a, b in zip(world.hop.times[-20:], world.hop.times[-19:], strict=False)]
    assert min(waits) >= 60
    await world.clock.go_on(HOUR)

    assert [(each.message, each.recipient) for each in world.told(RecipientFailed)] == [
        (first, "ann@example.net"),
        (first, "bob@example.net"),
    ]
    assert [each.message for each in world.told(NoticeQueued)] == [first, second], "of each message once"
    assert [each.message for each in world.told(BounceQueued)] == [first]
    told = list(world.bounces())
    assert [envelope.reverse_path for envelope, _ in told] == [None] * 3
    assert {str(each) for envelope, _ in told for each in envelope.recipients} == {"tim@example.org"}
    assert [re.findall(rb"(?m)^(?:Action|Status): (\S+)", content) for _, content in told] == [
        [b"delayed", b"4.4.1"] * 2,
        [b"delayed", b"4.4.1"],
        [b"failed", b"4.4.7"] * 2,
    ]
    assert bounces.recipients == ["tim@example.org"] * 3, "the sender is told by a route that works"

    world.hop.answer = OK
    await world.clock.go_on(6 * HOUR)
    assert second in [each.message for each in world.told(MessageFinished)]
    assert world.spool.count() == 0
    assert "eve@example.net" in world.hop.recipients
    await world.stop()


async def test_each_route_and_each_credential_has_a_schedule_of_its_own() -> None:
    minute = timedelta(minutes=1)
    rules = Rules(
        Schedule((10 * minute,), timedelta(days=1)),
        [Rule(credentials=frozenset({"resets"}), patience=Patience((2 * minute,), timedelta(hours=1)))],
        {"slow.example": Patience((timedelta(hours=2),), timedelta(days=3))},
    )
    world = World(schedule=rules)
    world.hop.answer = LATER
    slow, quick = world.route("slow.example", LATER), world.route("quick.example", LATER)
    world.route("example.org")
    await world.start()
    await world.accept("a@slow.example", "b@example.net")
    await world.accept("c@quick.example", credential="resets")
    await world.clock.go_on(HOUR + 60)

    assert [each.recipient for each in world.told(RecipientFailed)] == ["c@quick.example"]
    assert 25 <= len(quick.times) <= 31
    assert 6 <= len(world.hop.times) <= 7
    assert len(slow.times) == 1
    await world.clock.go_on(DAY)
    assert [each.recipient for each in world.told(RecipientFailed)] == ["c@quick.example", "b@example.net"]
    before = len(slow.times)
    assert 11 <= before <= 14
    await world.clock.go_on(2 * DAY)
    assert [each.recipient for each in world.told(RecipientFailed)][2:] == ["a@slow.example"]
    assert world.spool.count() == 0
    await world.stop()


async def test_a_changed_rule_holds_for_what_waits() -> None:
    world = World()
    world.hop.answer = LATER
    world.route("example.org")
    await world.start()
    await world.accept("a@example.net")
    await world.clock.go_on(2 * HOUR)
    assert world.told(RecipientFailed) == []
    shorter = Rules(
        Schedule(), [Rule(accounts=frozenset({"tim"}), patience=Patience(give_up_after=timedelta(hours=1)))]
    )
    world.scheduler.adapt(world.routes, shorter, Limits())
    await world.clock.go_on(5 * HOUR)
    assert [each.recipient for each in world.told(RecipientFailed)] == ["a@example.net"]
    await world.stop()
