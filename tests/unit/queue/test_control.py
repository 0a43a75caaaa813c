"""Looking at the queue, and changing it by hand."""

from __future__ import annotations

import asyncio

import pytest

from gatepost.errors import SpoolUnavailable
from gatepost.model.envelope import MessageId, Notify
from gatepost.model.identity import parse_sender_pattern
from gatepost.observe.events import MessageChanged, MessageDropped
from gatepost.queue.control import Change, Outcome, QueueControl
from gatepost.queue.selection import Selection, find
from queue_world import DOWN, LATER, NEVER, OK, World


async def test_everything_is_found_in_the_order_of_acceptance_page_by_page() -> None:
    world = World()
    names = [world.put() for _ in range(1200)]
    assert [entry.id for entry in find(world.spool)] == names


async def test_an_empty_queue_has_nothing() -> None:
    assert list(find(World().spool)) == []


def found(world: World, selection: Selection) -> list[MessageId]:
    return [entry.id for entry in find(world.spool, selection)]


async def test_messages_are_selected_by_sender_domain_and_account() -> None:
    world = World()
    one = world.put("a@example.net", sender="tim@example.org")
    two = world.put("b@bücher.example", sender="ann@example.com")
    null = world.put("c@example.net", sender=None)
    assert found(world, Selection()) == [one, two, null]
    assert found(world, Selection(sender=parse_sender_pattern("*@example.org"))) == [one]
    assert found(world, Selection(is_null_sender=True)) == [null]
    assert found(world, Selection(domain="xn--bcher-kva.example")) == [two]
    assert found(world, Selection(domain="example.net", account="tim")) == [one, null]
    assert found(world, Selection(account="ann")) == []
    assert found(world, Selection(domain="example.net", is_null_sender=True)) == [null]


async def test_messages_are_selected_by_recipient_age_state_and_route() -> None:
    world = World()
    spare = world.route("spare.example", LATER)
    world.hop.answer = DOWN
    await world.start()
    old = await world.accept("a@spare.example", "b@example.net")
    await world.clock.go_on(100)
    new = world.put("c@example.net", held=True)
    assert spare.recipients == ["a@spare.example"] * 2
    assert found(world, Selection(recipient=parse_sender_pattern("A@spare.example"))) == [old]
    assert found(world, Selection(recipient=parse_sender_pattern("@example.net"))) == [old, new]
    assert found(world, Selection(recipient=parse_sender_pattern("c@spare.example"))) == []
    assert found(world, Selection(is_tried=True)) == [old]
    assert found(world, Selection(is_tried=False, held=True)) == [new]
    assert found(world, Selection(accepted_before=world.clock.time - 50)) == [old]
    assert found(world, Selection(accepted_after=world.clock.time - 50)) == [new]
    by_route = {
        name: [each.id for each in find(world.spool, Selection(route=name), world.routes)]
        for name in ("main", "spare.example")
    }
    assert by_route == {"main": [old, new], "spare.example": [old]}
    assert [each.id for each in find(world.spool, Selection(route="main", ids=(new, old)), world.routes)] == [old, new]
    assert found(world, Selection(route="main")) == [], "nobody knows the routes"
    await world.stop()


async def test_a_domain_counts_only_while_somebody_there_waits() -> None:
    world = World()
    await world.start()
    world.hop.answer = NEVER
    world.route("other.example").answer = OK
    slow = world.route("slow.example")
    slow.seconds = 1000
    name = await world.accept("a@other.example", "b@slow.example", sender=None)
    assert found(world, Selection(domain="slow.example")) == [name]
    assert found(world, Selection(domain="other.example")) == []
    await world.stop()


def control(world: World, *, beside_scheduler: bool = True) -> QueueControl:
    return QueueControl(
        world.spool,
        world.scheduler if beside_scheduler else None,
        hostname="mail.example.org",
        clock=world.clock,
        emit=world.events.append,
    )


async def apply(world: World, change: Change, name: MessageId, **more: bool) -> Outcome:
    outcome = await control(world).apply(change, name, **more)
    await world.clock.settle()
    return outcome


async def test_messages_are_selected_by_name_and_by_hold() -> None:
    world = World()
    one, two, three = world.put(), world.put(held=True), world.put()
    assert found(world, Selection(held=True)) == [two]
    assert found(world, Selection(held=False)) == [one, three]
    assert found(world, Selection(ids=(three, one, three, MessageId("nobody")))) == [one, three]
    assert found(world, Selection(ids=(one, two), held=True)) == [two]


async def test_a_message_on_hold_is_not_tried_until_it_is_released(world: World) -> None:
    world.hop.answer = LATER
    name = await world.accept()
    assert await apply(world, Change.HOLD, name) is Outcome.DONE
    await world.clock.go_on(86_400)
    assert world.hop.times == [0.0]

    world.hop.answer = OK
    assert await apply(world, Change.RELEASE, name) is Outcome.DONE
    assert world.hop.times == [0.0, 86_400.0]
    assert world.spool.count() == 0
    assert world.told(MessageChanged) == [MessageChanged(name, "held"), MessageChanged(name, "released")]


async def test_a_hold_takes_effect_when_what_is_on_its_way_has_landed(world: World) -> None:
    other = world.route("other.example")
    world.hop.answer, world.hop.seconds = LATER, 1000.0
    other.answer = LATER
    name = await world.accept("a@example.net", "b@other.example")
    assert await apply(world, Change.HOLD, name) is Outcome.DONE
    await world.clock.go_on(86_400)

    assert len(world.hop.times) == len(other.times) == 1
    entry = world.spool.entry(name)
    assert entry is not None
    assert entry.is_held
    assert [each.attempts for each in entry.progress] == [1, 1]


async def test_a_message_that_is_delivered_while_it_is_put_on_hold_is_gone(world: World) -> None:
    world.hop.seconds = 30.0
    name = await world.accept()
    assert await apply(world, Change.HOLD, name) is Outcome.DONE
    await world.clock.go_on(31)
    assert world.spool.count() == 0
    assert await apply(world, Change.HOLD, name) is Outcome.UNKNOWN


async def test_what_is_so_already_is_told(world: World) -> None:
    world.hop.answer = LATER
    name = await world.accept()
    assert await apply(world, Change.RELEASE, name) is Outcome.NOT_HELD
    assert await apply(world, Change.HOLD, name) is Outcome.DONE
    assert await apply(world, Change.HOLD, name) is Outcome.HELD
    assert await apply(world, Change.RETRY, name) is Outcome.HELD
    for change in Change:
        assert await apply(world, change, MessageId("nobody")) is Outcome.UNKNOWN


async def test_a_retry_is_made_at_once_and_only_then(world: World) -> None:
    world.hop.answer = LATER
    name = await world.accept()
    await world.clock.go_on(10)
    assert await apply(world, Change.RETRY, name) is Outcome.DONE
    assert world.hop.times == [0.0, 10.0]
    await world.clock.go_on(100)
    assert world.hop.times == [0.0, 10.0]


async def test_a_retry_probes_a_next_hop_that_is_left_alone(world: World) -> None:
    world.hop.answer = DOWN
    first, second = await world.accept(), await world.accept()
    await world.clock.go_on(3600)
    world.hop.answer = OK
    tried = len(world.hop.times)
    assert not world.scheduler.gates["main"].health.is_open
    assert await apply(world, Change.RETRY, first) is Outcome.DONE
    await world.clock.go_on(1)
    assert len(world.hop.times) == tried + 2, "the first was the probe, and let the second go"
    assert world.spool.entry(second) is None


async def test_a_retry_does_not_pass_a_route_that_is_paused_by_hand(world: World) -> None:
    world.scheduler.gates.pause({"main": world.clock.now()}, world.clock.now())
    name = await world.accept()
    assert await apply(world, Change.RETRY, name) is Outcome.DONE
    await world.clock.go_on(10)
    assert world.hop.times == []


async def test_a_dropped_message_is_told_to_its_sender(world: World) -> None:
    world.hop.answer = LATER
    done = world.route("done.example")
    name = await world.accept("ann@example.net", "bob@done.example", "cid@example.net")
    assert len(done.times) == 1
    assert await apply(world, Change.DROP, name) is Outcome.DONE
    assert world.spool.entry(name) is None

    (told,) = world.told(MessageDropped)
    assert (told.message, told.sender) == (name, "tim@example.org")
    assert told.recipients == ("ann@example.net", "cid@example.net")
    entry = world.spool.entry(MessageId(told.bounce))
    assert entry is not None
    assert entry.envelope.reverse_path is None
    assert [str(each) for each in entry.envelope.recipients] == ["tim@example.org"]
    text = world.spool.contents[entry.id]
    assert text.count(b"Status: 5.7.0") == 2
    assert b"bob@done.example" not in text


async def test_the_bounce_of_a_dropped_message_is_sent_at_once(world: World) -> None:
    world.hop.answer = LATER
    name = await world.accept()
    world.hop.answer = OK
    await apply(world, Change.DROP, name)
    assert world.hop.recipients[-1] == "tim@example.org"
    assert world.spool.count() == 0


async def test_a_message_can_be_dropped_in_silence(world: World) -> None:
    world.hop.answer = LATER
    name = await world.accept()
    assert await apply(world, Change.DROP, name, silent=True) is Outcome.DONE
    assert world.spool.count() == 0
    assert world.told(MessageDropped) == [MessageDropped(name, "tim@example.org", ("ann@example.net",), "")]


@pytest.mark.rfc("5321 §6.1")
async def test_nobody_is_told_of_a_dropped_notification(world: World) -> None:
    world.hop.answer = LATER
    name = await world.accept(sender=None)
    assert await apply(world, Change.DROP, name) is Outcome.DONE
    assert world.spool.count() == 0


@pytest.mark.rfc("3461 §4.1")
@pytest.mark.parametrize(("notify", "bounces"), [(Notify.NEVER, 0), (Notify.DELAY, 0), (Notify.FAILURE, 1)])
async def test_whoever_asked_for_silence_is_not_told_of_a_dropped_message(
    world: World, notify: Notify, bounces: int
) -> None:
    world.hop.answer = LATER
    name = await world.accept(notify=notify)
    assert await apply(world, Change.DROP, name) is Outcome.DONE
    assert world.spool.count() == bounces
    [told] = world.told(MessageDropped)
    assert bool(told.bounce) == bool(bounces)


async def test_what_is_being_delivered_is_not_dropped(world: World) -> None:
    world.hop.seconds = 30.0
    name = await world.accept()
    assert await apply(world, Change.DROP, name) is Outcome.IN_FLIGHT
    await world.clock.go_on(31)
    assert world.spool.count() == 0
    assert world.told(MessageDropped) == []


async def test_no_attempt_begins_while_a_message_is_dropped(world: World) -> None:
    world.hop.answer = LATER
    name = await world.accept()
    dropping = asyncio.create_task(control(world).apply(Change.DROP, name))
    again = asyncio.create_task(control(world).apply(Change.DROP, name))
    await asyncio.sleep(0)
    assert name in world.scheduler.barred
    await world.clock.go_on(3600)
    assert await dropping is Outcome.DONE
    assert await again is Outcome.IN_FLIGHT
    assert world.hop.times[:2] == [0.0, 0.0], "the message once, then its bounce"
    assert world.scheduler.barred == set()


async def test_a_message_that_could_not_be_dropped_is_tried_again(world: World) -> None:
    world.hop.answer = LATER
    name = await world.accept()
    world.spool.trouble = SpoolUnavailable("the disk is gone")
    assert await apply(world, Change.DROP, name) is Outcome.FAILED
    assert await apply(world, Change.HOLD, name) is Outcome.FAILED
    world.spool.trouble = None
    world.hop.answer = OK
    await world.clock.go_on(120)
    assert world.spool.count() == 0
    assert world.told(MessageDropped) == []


async def test_what_cannot_be_read_is_dropped_only_in_silence(world: World) -> None:
    world.hop.answer = LATER
    name = await world.accept()
    world.spool.unreadable.add(name)
    assert await apply(world, Change.DROP, name) is Outcome.UNREADABLE
    assert await apply(world, Change.HOLD, name) is Outcome.FAILED
    assert await apply(world, Change.DROP, name, silent=True) is Outcome.DONE
    assert name not in world.spool.entries


async def test_a_message_without_its_content_is_told_of_all_the_same(world: World) -> None:
    world.hop.answer = LATER
    name = await world.accept()
    world.spool.contentless.add(name)
    assert await apply(world, Change.DROP, name) is Outcome.DONE
    assert world.told(MessageDropped)[0].bounce


async def test_with_no_server_running_the_spool_alone_is_changed() -> None:
    world = World()
    held, waiting = world.put(held=True), world.put(due=world.clock.now() + 3600)
    alone = control(world, beside_scheduler=False)
    assert await alone.apply(Change.RELEASE, held) is Outcome.DONE
    assert await alone.apply(Change.RETRY, waiting) is Outcome.DONE
    assert world.spool.due(world.clock.now(), 10) == [held, waiting]
    assert await alone.apply(Change.DROP, held) is Outcome.DONE
    assert world.spool.count() == 2
