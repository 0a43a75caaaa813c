"""The scheduler: each result, each recipient, the schedule, limits, trouble with the spool, stopping."""

from __future__ import annotations

import asyncio
import email
import email.policy
import itertools
from collections.abc import Sequence
from datetime import timedelta

import pytest

from gatepost.errors import SpoolUnavailable
from gatepost.model.delivery import Deferred, Delivered, Failed, RemoteReply, Result
from gatepost.observe.events import (
    BounceDropped,
    BounceQueued,
    MessageFinished,
    RecipientDeferred,
    RecipientDelivered,
    RecipientFailed,
    SpoolTroubled,
)
from gatepost.queue.limits import Limits
from gatepost.queue.retry import Schedule
from gatepost.relay.transport import Delivery
from gatepost.spool.spool import Status
from queue_world import CONTENT, LATER, NEVER, OK, START, World

DAY = 86_400.0


async def test_a_new_message_is_tried_at_once_without_looking_through_the_spool(world: World) -> None:
    world.spool.due = None  # type: ignore[assignment] - whoever calls it fails
    name = await world.accept("ann@example.net")

    assert world.hop.times == [0.0]
    assert world.spool.entry(name) is None
    [told] = world.told(RecipientDelivered)
    assert (told.message, told.recipient, told.route, told.next_hop) == (
        name, "ann@example.net", "main", "mx.example.net",
    )  # fmt: skip
    assert (told.reply, told.attempts, told.seconds) == ("250 2.0.0 taken", 1, 0.0)
    assert [event.message for event in world.told(MessageFinished)] == [name]


async def test_what_lay_in_the_spool_before_the_start_is_delivered() -> None:
    world = World()
    names = [world.put() for _ in range(120)]
    await world.start()
    await world.clock.go_on(1)

    assert [name for _, name, _ in world.hop.deliveries] == names
    assert world.spool.count() == 0
    await world.stop()


async def test_what_is_due_later_waits_for_its_time_also_when_the_scheduler_is_woken(world: World) -> None:
    await world.accept(due=START + 3600)
    assert world.hop.times == []
    await world.clock.go_on(7200)
    assert world.hop.times == [3600.0]


async def test_what_is_due_later_without_a_word_is_found(world: World) -> None:
    world.put(due=START + 100)
    await world.clock.go_on(400)
    assert len(world.hop.times) == 1
    assert world.hop.times[0] >= 100


async def test_what_is_held_is_not_tried(world: World) -> None:
    await world.accept(held=True)
    await world.clock.go_on(2 * DAY)
    assert world.hop.times == []


async def test_waking_for_a_message_that_is_gone_does_nothing(world: World) -> None:
    name = await world.accept()
    world.scheduler.wake(name)
    await world.clock.settle()
    assert world.hop.times == [0.0]


async def test_waking_twice_delivers_once(world: World) -> None:
    world.hop.seconds = 5
    name = await world.accept()
    world.scheduler.wake(name)
    await world.clock.go_on(10)
    assert world.hop.times == [0.0]


async def test_a_deferred_recipient_is_tried_again_by_the_schedule(world: World) -> None:
    world.hop.answer = LATER
    name = await world.accept()

    [told] = world.told(RecipientDeferred)
    assert (told.reply, told.cause, told.attempts, told.message) == ("451 4.2.0 greylisted", "message", 1, name)
    assert START + 60 <= told.due <= START + 66
    await world.clock.go_on(600)
    assert len(world.hop.times) == 3
    world.hop.answer = OK
    await world.clock.go_on(3600)
    assert len(world.hop.times) == 4
    assert world.spool.count() == 0


@pytest.mark.rfc("5321 §4.5.4.1")
async def test_five_days_of_trying_end_with_a_bounce(world: World) -> None:
    notified: list[float] = []

    def answer(delivery: Delivery) -> list[Result]:
        if delivery.envelope.reverse_path is None:
            notified.append(world.clock.now() - START)
        return [OK if delivery.envelope.reverse_path is None else LATER]

    world.hop.answer = answer
    await world.accept("ann@example.net")
    await world.clock.go_on(6 * DAY)

    assert notified == [4 * 3600, 5 * DAY]  # it takes long; it is given up
    times = world.hop.times[:-1]
    for _ in range(2):
        times.remove(4 * 3600)  # one more attempt before its sender is told, and that notice
    waits = [after - before for before, after in itertools.pairwise(times)]
    assert waits[0] >= 60
    assert all(1800 <= wait <= 4 * 3600 * 1.1 for wait in waits[3:-1])
    assert times[-1] == 5 * DAY  # the last attempt is made in the moment at which it is given up
    [failed] = world.told(RecipientFailed)
    assert (failed.status, failed.reply) == ("4.4.7", "451 4.2.0 greylisted")
    [(_, delay), (envelope, content)] = world.bounces()
    assert b"Action: delayed\r\nStatus: 4.2.0" in delay
    assert [str(each) for each in envelope.recipients] == ["tim@example.org"]
    assert b"Action: failed\r\nStatus: 4.4.7" in content
    assert b"Diagnostic-Code: smtp; 451 4.2.0 greylisted" in content
    assert world.hop.times[-1] == times[-1]  # and the bounce went out at once
    assert world.spool.count() == 0


@pytest.mark.rfc("3464 §2")
async def test_a_failed_recipient_is_told_to_the_sender_in_the_same_transaction(world: World) -> None:
    world.hop.answer = lambda delivery: [OK if delivery.envelope.reverse_path is None else NEVER]
    name = await world.accept("ann@example.net")

    [(settled, settlement), *_] = world.spool.settlements
    assert settled == name
    assert settlement.progress[0].status is Status.FAILED
    [bounce] = settlement.bounces
    assert bounce.envelope.reverse_path is None
    assert bounce.envelope.header_bytes == bounce.content.find(b"\r\n\r\n") + 4
    assert bounce.envelope.size_bytes == len(bounce.content)
    report = email.message_from_bytes(bounce.content, policy=email.policy.default)
    assert report.get_content_type() == "multipart/report"
    _, status, returned = report.iter_parts()
    assert status.get_payload()[1]["Final-Recipient"] == "rfc822; ann@example.net"
    assert status.get_payload()[1]["Status"] == "5.1.1"
    assert status.get_payload()[1]["Remote-MTA"] == "dns; mx.example.net"
    assert returned.get_payload()[0]["Subject"] == "hello"
    [queued] = world.told(BounceQueued)
    assert (queued.message, queued.recipient) == (name, "tim@example.org")
    assert [event.message for event in world.told(MessageFinished)] == [name, queued.bounce]
    assert world.hop.recipients == ["ann@example.net", "tim@example.org"]


async def test_one_attempt_that_fails_for_several_makes_one_bounce(world: World) -> None:
    world.hop.answer = lambda delivery: (
        [OK if delivery.envelope.reverse_path is None else NEVER] * len(delivery.recipients)
    )
    await world.accept("a@example.net", "b@example.net", "c@example.net")

    [(_, content)] = world.bounces()
    assert content.count(b"Final-Recipient:") == 3


@pytest.mark.rfc("5321 §4.5.5")
@pytest.mark.rfc("5321 §6.1")
async def test_no_bounce_is_sent_about_a_bounce(world: World) -> None:
    world.hop.answer = NEVER
    name = await world.accept(sender=None)
    await world.clock.go_on(6 * DAY)

    assert list(world.bounces()) == []
    [dropped] = world.told(BounceDropped)
    assert (dropped.message, dropped.reason) == (name, "the message was itself a notification")
    assert world.spool.count() == 0
    assert world.hop.times == [0.0]


async def test_a_bounce_that_fails_is_dropped_and_told(world: World) -> None:
    world.hop.answer = NEVER
    await world.accept()
    await world.clock.go_on(6 * DAY)

    assert len(list(world.bounces())) == 1
    assert len(world.told(BounceDropped)) == 1
    assert len(world.told(RecipientFailed)) == 2
    assert world.spool.count() == 0


def by_recipient(**answers: Result) -> object:
    """Answer each recipient by its local part; a bounce is taken."""

    def answer(delivery: Delivery) -> Sequence[Result]:
        return [answers.get(each.mailbox.local, OK) for each in delivery.recipients]

    return answer


async def test_each_recipient_has_its_own_result(world: World) -> None:
    world.hop.answer = by_recipient(now=OK, later=LATER, never=NEVER)  # type: ignore[assignment]
    name = await world.accept("now@example.net", "later@example.net", "never@example.net")

    entry = world.spool.entry(name)
    assert entry is not None
    assert [each.status for each in entry.progress] == [Status.DELIVERED, Status.PENDING, Status.FAILED]
    assert [each.attempts for each in entry.progress] == [1, 1, 1]
    assert entry.attempts == 1
    world.hop.answer = OK
    await world.clock.go_on(100)
    assert world.hop.recipients.count("now@example.net") == 1
    assert world.hop.recipients.count("never@example.net") == 1
    assert world.hop.recipients.count("later@example.net") == 2
    assert world.spool.count() == 0


@pytest.mark.rfc("5321 §4.5.3.1.10")
async def test_recipients_that_are_too_many_for_one_transaction_go_in_the_next_at_once(world: World) -> None:
    too_many = Deferred(RemoteReply.parse(452, "4.5.3 too many recipients"))
    world.hop.answer = lambda delivery: [OK if n < 2 else too_many for n in range(len(delivery.recipients))]
    await world.accept(*[f"r{n}@example.net" for n in range(5)])
    await world.clock.go_on(1)

    assert [len(recipients) for _, _, recipients in world.hop.deliveries] == [5, 3, 1]
    assert world.spool.count() == 0


async def test_a_452_for_everybody_waits_like_every_deferral(world: World) -> None:
    world.hop.answer = Deferred(RemoteReply.parse(452, "4.3.1 no room"))
    await world.accept("a@example.net", "b@example.net")
    await world.clock.go_on(50)
    assert world.hop.times == [0.0]


async def test_many_recipients_at_one_next_hop_are_one_transaction_up_to_the_limit(world: World) -> None:
    world.hop.seconds = 1
    await world.accept(*[f"r{n}@example.net" for n in range(250)])
    await world.clock.go_on(5)
    assert [len(recipients) for _, _, recipients in world.hop.deliveries] == [100, 100, 50]
    assert world.hop.most_at_once == 1
    assert len(set(world.hop.recipients)) == 250
    assert world.spool.count() == 0


async def test_recipients_of_two_routes_do_not_wait_for_each_other(world: World) -> None:
    slow = world.route("slow.example")
    slow.seconds = 600
    name = await world.accept("a@example.net", "b@slow.example")

    entry = world.spool.entry(name)
    assert entry is not None
    assert [each.status for each in entry.progress] == [Status.DELIVERED, Status.PENDING]
    await world.clock.go_on(700)
    assert world.spool.count() == 0
    assert world.hop.recipients == ["a@example.net"]
    assert slow.recipients == ["b@slow.example"]


async def test_a_recipient_keeps_its_own_wait_when_another_one_comes_first(world: World) -> None:
    eager = world.route("eager.example", LATER)
    world.hop.answer = by_recipient(tired=LATER)  # type: ignore[assignment]
    await world.accept("tired@example.net")
    await world.clock.go_on(4000)
    before = len(world.hop.times)
    await world.accept("tired@example.net", "b@eager.example")
    await world.clock.go_on(30)
    assert len(eager.times) == 1
    assert len(world.hop.times) == before + 1


async def test_somebody_who_sets_the_due_time_by_hand_means_everybody(world: World) -> None:
    world.hop.answer = LATER
    name = await world.accept("a@example.net", "b@example.net")
    from dataclasses import replace

    world.spool.entries[name] = replace(world.spool.entries[name], due=world.clock.now())
    world.hop.answer = OK
    world.scheduler.wake(name)
    await world.clock.settle()
    assert world.hop.recipients == ["a@example.net", "b@example.net"] * 2


async def test_no_more_run_at_once_than_the_limits_say() -> None:
    world = World(limits=Limits(attempts=8, per_route=5))
    other = world.route("other.example")
    world.hop.seconds = other.seconds = 1
    await world.start()
    for _ in range(150):
        await world.accept("a@example.net")
    assert world.scheduler.in_flight == 5
    for _ in range(150):
        await world.accept("a@other.example")
    assert world.scheduler.in_flight == 8
    await world.clock.go_on(120)

    assert world.hop.most_at_once == 5
    assert 3 < other.most_at_once <= 5  # none waits while the other route has more
    assert (len(world.hop.times), len(other.times)) == (150, 150)
    assert world.spool.count() == 0
    await world.stop()


async def test_a_bug_of_ours_defers_the_message_and_is_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    def break_down(_: Delivery) -> Sequence[Result]:
        raise ZeroDivisionError("oh")

    world.hop.answer = break_down
    await world.accept("a@example.net")

    assert world.told(RecipientDeferred)[0].reply == "451 4.3.0 Internal error while delivering"
    assert "ZeroDivisionError" in caplog.text
    world.hop.answer = OK
    await world.clock.go_on(100)
    assert world.spool.count() == 0


async def test_a_bug_of_ours_never_bounces_and_never_spins(world: World) -> None:
    world.hop.answer = lambda _: []
    await world.accept("a@example.net", "b@example.net")
    await world.clock.go_on(8 * DAY)

    assert list(world.bounces()) == []
    assert len(world.hop.times) < 100
    world.hop.answer = OK
    await world.clock.go_on(DAY)
    assert world.spool.count() == 0


async def test_a_content_that_cannot_be_read_is_deferred_and_at_last_bounced_without_it(world: World) -> None:
    name = world.put("a@example.net")
    world.spool.contentless.add(name)
    world.scheduler.wake(name)
    await world.clock.settle()

    assert "cannot be read" in world.told(RecipientDeferred)[0].reply
    assert name in world.told(SpoolTroubled)[0].reason
    await world.clock.go_on(6 * DAY)
    [(_, delay), (envelope, content)] = world.bounces()
    assert b"Action: delayed\r\nStatus: 4.3.0" in delay
    assert str(envelope.recipients[0]) == "tim@example.org"
    assert b"Action: failed\r\nStatus: 4.4.7" in content


async def test_an_entry_that_cannot_be_read_does_not_stop_the_others_and_is_looked_at_again() -> None:
    world = World()
    names = [world.put() for _ in range(60)]
    world.spool.unreadable.update(names[:55])
    await world.start()
    await world.clock.go_on(10)
    assert len(world.hop.times) == 5
    world.spool.unreadable.clear()
    await world.clock.go_on(4000)
    assert len(world.hop.times) == 60
    await world.stop()


async def test_a_result_that_cannot_be_written_is_kept_and_nothing_else_is_started(world: World) -> None:
    world.spool.trouble = SpoolUnavailable("disk full")
    name = await world.accept()
    other = await world.accept()
    await world.clock.go_on(300)

    assert world.hop.times == [0.0, 0.0] or world.hop.times == [0.0]
    first = len(world.hop.times)
    third = await world.accept()
    await world.clock.go_on(300)
    assert len(world.hop.times) == first
    assert [event.reason for event in world.told(SpoolTroubled)] == ["disk full"]
    world.spool.trouble = None
    await world.clock.go_on(60)
    assert world.spool.count() == 0
    assert len(world.hop.times) == 3
    assert sorted(each for _, each, _ in world.hop.deliveries) == [name, other, third]


async def test_trouble_with_reading_the_spool_is_told_and_passes(world: World) -> None:
    real, world.spool.due = world.spool.due, broken  # type: ignore[method-assign, assignment]
    world.put()
    await world.clock.go_on(400)
    assert "no such table" in world.told(SpoolTroubled)[0].reason
    world.spool.due = real  # type: ignore[method-assign]
    await world.clock.go_on(120)
    assert world.spool.count() == 0


def broken(*_: object, **__: object) -> list[str]:
    raise SpoolUnavailable("no such table")


async def test_a_message_is_in_flight_from_the_start_of_an_attempt_until_it_has_landed(world: World) -> None:
    world.hop.seconds = 10
    other = world.route("example.org")
    other.seconds = 20
    name = await world.accept("ann@example.net", "bob@example.org")
    assert world.spool.flying == [name, name]
    await world.clock.go_on(11)
    assert world.spool.flying == [name]
    await world.clock.go_on(10)
    assert world.spool.flying == []
    assert world.spool.count() == 0


async def test_a_message_is_in_flight_no_more_whatever_its_attempt_came_to(world: World) -> None:
    world.hop.seconds = 10
    world.hop.answer = LATER
    name = await world.accept()
    assert world.spool.flying == [name]
    await world.clock.go_on(11)
    assert world.spool.flying == []
    cut_off = await world.accept()
    assert world.spool.flying == [cut_off]
    await world.stop()
    assert world.spool.flying == []


async def test_drain_waits_for_attempts_under_way_and_starts_nothing(world: World) -> None:
    world.hop.seconds = 10
    name = await world.accept()
    drain = asyncio.create_task(world.scheduler.drain(30))
    await world.clock.settle()
    late = world.put()
    world.scheduler.wake(late)
    await world.clock.go_on(11)

    assert drain.done()
    assert world.spool.entry(name) is None
    assert world.spool.entry(late) is not None
    assert world.hop.times == [0.0]
    assert world._run is not None
    assert world._run.done()


async def test_what_drain_cuts_off_stays_queued_and_goes_after_the_restart(world: World) -> None:
    world.hop.seconds = 1000
    name = await world.accept()
    drain = asyncio.create_task(world.scheduler.drain(30))
    await world.clock.go_on(31)

    assert drain.done()
    assert world.scheduler.in_flight == 0
    entry = world.spool.entry(name)
    assert entry is not None
    assert entry.attempts == 0
    world.hop.seconds = 0
    await world.restart()
    await world.clock.go_on(1)
    assert world.spool.count() == 0


async def test_a_drain_with_nothing_to_wait_for_ends_at_once(world: World) -> None:
    await asyncio.wait_for(world.scheduler.drain(3600), 60)


async def test_cancelling_the_loop_cancels_what_is_under_way(world: World) -> None:
    world.hop.seconds = 1000
    name = await world.accept()
    await world.stop()
    assert world.hop.at_once == 0
    assert world.spool.entry(name) is not None


async def test_an_attempt_that_is_cancelled_from_inside_is_found_again(world: World) -> None:
    async def give_up(_: Delivery) -> Sequence[Result]:
        raise asyncio.CancelledError

    world.hop.answer = give_up
    await world.accept()
    assert world.scheduler.in_flight == 0
    world.hop.answer = OK
    await world.clock.go_on(100)
    assert world.spool.count() == 0


async def test_what_goes_wrong_while_writing_down_is_logged_and_the_message_is_found_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    real = world.spool.settle

    async def misuse(*_: object) -> None:
        raise RuntimeError("settled twice")

    world.spool.settle = misuse  # type: ignore[method-assign, assignment]
    await world.accept()
    assert "settled twice" in caplog.text
    world.spool.settle = real  # type: ignore[method-assign]
    await world.clock.go_on(100)
    assert world.spool.count() == 0


async def test_a_bounce_that_cannot_be_composed_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def break_down(*_: object) -> bytes:
        raise LookupError("no such codec")

    monkeypatch.setattr("gatepost.queue.bounce.compose", break_down)
    world.hop.answer = by_recipient(never=NEVER)  # type: ignore[assignment]
    await world.accept("now@example.net", "never@example.net")

    assert [event.reason for event in world.told(BounceDropped)] == ["LookupError('no such codec')"]
    assert "no such codec" in caplog.text
    assert [event.recipient for event in world.told(RecipientDelivered)] == ["now@example.net"]
    assert world.spool.count() == 0


async def test_a_large_message_is_returned_as_its_header_only(world: World) -> None:
    world.hop.answer = lambda delivery: [OK if delivery.envelope.reverse_path is None else NEVER]
    await world.accept(content=CONTENT + b"x" * 100_000)
    [(_, content)] = world.bounces()
    assert b"text/rfc822-headers" in content
    assert len(content) < 10_000


async def test_a_recipient_given_up_after_hours_by_a_short_schedule() -> None:
    world = World(schedule=Schedule((timedelta(minutes=10),), timedelta(hours=1)))
    world.hop.answer = lambda delivery: [OK if delivery.envelope.reverse_path is None else LATER]
    await world.start()
    await world.accept()
    await world.clock.go_on(3 * 3600)
    assert 6 <= len(world.hop.times) <= 8
    assert world.told(RecipientFailed)[0].status == "4.4.7"
    await world.stop()


def test_results_are_of_three_kinds() -> None:
    assert (type(OK), type(LATER), type(NEVER)) == (Delivered, Deferred, Failed)
