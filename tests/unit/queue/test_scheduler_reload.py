"""Reloads and drains while mail is on its way: no bounce comes of them, and no route is blamed for one that is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from gatepost.model.delivery import Deferred, RemoteReply, Result
from gatepost.model.envelope import MessageId
from gatepost.observe.events import RecipientFailed, RoutePaused
from gatepost.queue.control import Change, QueueControl
from gatepost.queue.limits import Limits
from gatepost.queue.mail_queue import MailQueue
from gatepost.queue.resumption import try_again
from gatepost.queue.retry import Schedule
from gatepost.relay.transport import Delivery
from queue_world import CONTENT, DOWN, LATER, NEVER, OK, REFUSED, START, Hop, World
from unit.queue.test_scheduler_headers import BULK, by_stream

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


def another_route(world: World, name: str = "main") -> Hop:
    """Let all mail go another way from now on."""
    hop = Hop(world.clock, name)
    world.routes = type(world.routes)({"*": replace(world.routes.ways["*"], name=name, transport=hop)})
    world.scheduler.adapt(world.routes, Schedule(), Limits())
    return hop


async def begin_last_attempt(world: World, answer: Result) -> MessageId:
    """Let a message be tried for five days, and its last attempt begin; it ends a minute later with *answer*."""
    world.hop.answer = LATER
    name = await world.accept(sender=None)
    await world.clock.go_on(5 * DAY - HOUR)
    world.hop.answer, world.hop.seconds = answer, MINUTE
    for _ in range(6 * 60):
        if world.hop.at_once:
            break
        await world.clock.go_on(MINUTE)
    assert world.hop.at_once == 1
    assert world.clock.time - world.hop.deliveries[0][0] >= 5 * DAY
    return name


@pytest.mark.parametrize("answer", [DOWN, LATER, REFUSED], ids=["down", "later", "refused"])
async def test_a_last_attempt_on_a_route_that_was_replaced_is_not_the_last(world: World, answer: Result) -> None:
    name = await begin_last_attempt(world, answer)
    new = another_route(world)
    await world.clock.go_on(6 * HOUR)
    assert new.recipients == ["ann@example.net"]
    assert world.spool.entry(name) is None
    assert world.told(RecipientFailed) == []


@pytest.mark.parametrize("answer", [DOWN, LATER], ids=["down", "later"])
async def test_a_last_attempt_stays_one_when_a_reload_leaves_its_route_alone(world: World, answer: Result) -> None:
    name = await begin_last_attempt(world, answer)
    world.routes = replace(world.routes)
    world.scheduler.adapt(world.routes, Schedule(), Limits())
    await world.clock.go_on(MINUTE)
    assert world.spool.entry(name) is None
    assert len(world.told(RecipientFailed)) == 1


async def test_what_a_next_hop_refused_for_good_holds_after_a_reload_too(world: World) -> None:
    name = await begin_last_attempt(world, NEVER)
    another_route(world)
    await world.clock.go_on(MINUTE)
    assert world.spool.entry(name) is None
    assert [each.reply for each in world.told(RecipientFailed)] == ["550 5.1.1 no such user"]


@pytest.mark.parametrize("answer", [DOWN, REFUSED], ids=["down", "refused"])
async def test_trouble_of_a_route_that_is_gone_does_not_close_the_one_in_its_place(
    world: World, answer: Result
) -> None:
    world.hop.answer, world.hop.seconds = answer, MINUTE
    for _ in range(5):
        await world.accept()
    new = another_route(world)
    await world.clock.go_on(MINUTE)
    assert world.scheduler.gates["main"].health.is_open
    assert world.told(RoutePaused) == []
    await world.clock.go_on(MINUTE)
    assert len(new.recipients) == 5
    assert world.spool.count() == 0


async def test_what_a_route_that_is_gone_came_to_is_judged_though_its_header_cannot_be_read(
    world: World,
) -> None:
    name = await begin_last_attempt(world, DOWN)
    by_stream(world)
    world.spool.contentless.add(name)
    await world.clock.go_on(MINUTE)
    [failed] = world.told(RecipientFailed)
    assert failed.status == "4.4.7"


async def test_a_delivery_of_several_transactions_hears_of_the_drain(world: World) -> None:
    heard: list[bool] = []

    async def answer(delivery: Delivery) -> Sequence[Result]:
        heard.append(delivery.goes_on())
        await world.clock.sleep(5)
        heard.append(delivery.goes_on())
        return [OK]

    world.hop.answer = answer
    await world.accept()
    drain = asyncio.create_task(world.scheduler.drain(30))
    await world.clock.go_on(5)
    assert drain.done()
    assert heard == [True, False]
    assert world.spool.count() == 0


async def test_who_was_left_for_another_delivery_by_us_does_not_fail_at_the_last_attempt(world: World) -> None:
    left = Deferred(RemoteReply.ours(452, "4.5.3", "another delivery"))

    def answer(delivery: Delivery) -> Sequence[Result]:
        return [NEVER, *[left] * (len(delivery.recipients) - 1)]

    world.hop.answer = LATER
    await world.accept("a@example.net", "b@example.net", "c@example.net", sender=None)
    await world.clock.go_on(5 * DAY - HOUR)
    world.hop.answer = answer
    await world.clock.go_on(6 * HOUR)
    assert [(each.recipient, each.status) for each in world.told(RecipientFailed)] == [
        ("a@example.net", "5.1.1"),
        ("b@example.net", "5.1.1"),
        ("c@example.net", "5.1.1"),
    ]
    assert world.spool.count() == 0


# Trying again at once what goes by its header.


async def test_a_retry_by_hand_opens_the_route_that_a_message_takes_by_its_header(world: World) -> None:
    bulk = by_stream(world)
    bulk.answer = REFUSED
    name = await world.accept("a@example.net", content=BULK)
    bulk.answer = OK
    control = QueueControl(
        world.spool, world.scheduler, hostname="mail.example.org", clock=world.clock, emit=world.events.append
    )
    await control.apply(Change.RETRY, name)
    await world.clock.settle()
    assert bulk.times == [0.0, 0.0]
    assert world.spool.count() == 0


async def test_a_route_that_is_tried_again_gets_the_mail_that_takes_it_by_its_header(world: World) -> None:
    bulk = by_stream(world)
    bulk.answer = REFUSED
    await world.accept("a@example.net", content=BULK)
    world.hop.answer = LATER
    other = await world.accept("b@example.net", content=CONTENT)
    bulk.answer = OK
    await try_again([MailQueue(0, world.spool, world.scheduler)], "bulk", world.clock.now())
    await world.clock.settle()
    assert bulk.times == [0.0, 0.0]
    assert world.hop.times == [0.0]
    assert [entry.id for entry in world.spool.list()] == [other]


async def test_a_route_that_is_tried_again_gets_what_was_just_being_put_to_sleep(world: World) -> None:
    queue = MailQueue(0, world.spool, world.scheduler)
    world.hop.answer = REFUSED
    name = world.put(due=START - 1)
    world.scheduler.wake(name)
    while not world.told(RoutePaused):
        await asyncio.sleep(0)
    assert world.scheduler.flights, "what it came to is not written down"
    world.hop.answer = OK
    await try_again([queue], "main", world.clock.now())
    await world.clock.settle()
    assert world.hop.times == [0.0, 0.0]
    assert world.spool.count() == 0


async def test_a_route_may_be_tried_again_twice() -> None:
    world = World(limits=Limits(attempts=200, per_route=200))
    await world.start()
    queue = MailQueue(0, world.spool, world.scheduler)
    world.hop.answer, world.hop.seconds = REFUSED, 1
    world.pour(150)
    await world.clock.go_on(2)
    assert {entry.due - world.clock.time for entry in world.spool.list()} == {59.0}
    world.hop.answer, world.hop.seconds = OK, 0
    # Only some are woken at once.
    await try_again([queue], "main", world.clock.now())
    await world.clock.settle()
    assert world.spool.count() == 50
    await try_again([queue], "main", world.clock.now())
    await world.clock.settle()
    assert world.spool.count() == 0
    await world.stop()
