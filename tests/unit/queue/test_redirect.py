"""What becomes of an envelope that is sent elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatepost.errors import Malformed
from gatepost.model.address import parse_mailbox
from gatepost.model.envelope import MessageId, Notify, Recipient
from gatepost.observe.events import MessageRedirected
from gatepost.queue.control import Change, Outcome, QueueControl
from gatepost.queue.redirect import Redirect, redirect_of, redirected
from gatepost.spool.spool import Entry, Progress, Status
from queue_world import LATER, OK, World

NEW = parse_mailbox("new@example.com")


def control(world: World, *, beside_scheduler: bool = True) -> QueueControl:
    return QueueControl(
        world.spool,
        world.scheduler if beside_scheduler else None,
        hostname="mail.example.org",
        clock=world.clock,
        emit=world.events.append,
    )


async def redirect(world: World, name: MessageId, where: Redirect) -> Outcome:
    outcome = await control(world).apply(Change.REDIRECT, name, redirect=where)
    await world.clock.settle()
    return outcome


def entry_of(world: World, name: MessageId) -> Entry:
    entry = world.spool.entry(name)
    assert entry is not None
    return entry


@pytest.mark.rfc("3461 §5.2.1")
async def test_who_waits_is_replaced_and_who_has_it_is_not() -> None:
    world = World()
    grey = world.route("grey.example", LATER)
    await world.start()
    name = await world.accept("ann@example.net", "b+b@grey.example", "c@grey.example")
    assert await redirect(world, name, Redirect(NEW)) is Outcome.DONE
    assert world.hop.recipients == ["ann@example.net", "new@example.com"], "it goes at once, and once"
    assert world.spool.count() == 0
    assert len(grey.times) == 1
    assert world.told(MessageRedirected) == [MessageRedirected(name, "new@example.com", "", "")]
    await world.stop()


async def test_the_entry_says_for_whom_it_was() -> None:
    world = World()
    name = world.put("b+b@grey.example", held=True)
    before = entry_of(world, name)
    after = redirected(before, Redirect(NEW), 77.0)
    assert after is not None
    assert after.envelope.recipients == (Recipient(NEW, orcpt="rfc822;b+2Bb@grey.example"),)
    assert [each.recipient for each in after.progress] == list(after.envelope.recipients)
    assert (after.due, after.is_held, after.id) == (77.0, True, name)


async def test_what_was_asked_with_a_recipient_stays_with_it() -> None:
    world = World()
    name = world.put("a@example.net")
    entry = entry_of(world, name)
    asked = Recipient(parse_mailbox("a@example.net"), Notify.NEVER, "rfc822;first@example.net")
    entry = world.spool.entries[name] = _with(entry, asked)
    after = redirected(entry, Redirect(NEW), 1.0)
    assert after is not None
    assert after.envelope.recipients == (Recipient(NEW, Notify.NEVER, "rfc822;first@example.net"),)


def _with(entry: Entry, *recipients: Recipient) -> Entry:
    envelope = replace(entry.envelope, recipients=recipients)
    return replace(entry, envelope=envelope, progress=tuple(map(Progress, recipients)))


async def test_one_recipient_is_replaced_and_the_others_wait_as_they_did() -> None:
    world = World()
    world.route("grey.example", LATER)
    await world.start()
    name = await world.accept("a@grey.example", "b@grey.example")
    where = Redirect(NEW, recipient=parse_mailbox("b@GREY.example"))
    assert await redirect(world, name, where) is Outcome.DONE
    entry = entry_of(world, name)
    assert [str(each.recipient) for each in entry.progress] == ["a@grey.example", "new@example.com"]
    assert [each.status for each in entry.progress] == [Status.PENDING, Status.DELIVERED]
    assert entry.progress[0].attempts == 1
    assert await redirect(world, name, where) is Outcome.UNCHANGED
    await world.stop()


async def test_who_waits_under_the_new_address_gets_it_once() -> None:
    world = World()
    name = world.put("a@grey.example", "new@EXAMPLE.com", "c@grey.example")
    only = redirected(entry_of(world, name), Redirect(NEW, recipient=parse_mailbox("a@grey.example")), 1.0)
    assert only is not None
    assert [str(each) for each in only.envelope.recipients] == ["new@EXAMPLE.com", "c@grey.example"]
    everybody = redirected(entry_of(world, name), Redirect(NEW), 1.0)
    assert everybody is not None
    assert [str(each) for each in everybody.envelope.recipients] == ["new@example.com"]


async def test_an_address_beyond_ascii_asks_for_smtputf8() -> None:
    world = World()
    name = world.put()
    for text, expected in (("jörg@example.com", True), ("jorg@example.com", False)):
        after = redirected(entry_of(world, name), Redirect(parse_mailbox(text)), 1.0)
        assert after is not None
        assert after.envelope.smtputf8 is expected


async def test_another_route_is_taken_whatever_matches_and_is_kept() -> None:
    world = World()
    name = world.put()
    after = redirected(entry_of(world, name), Redirect(route="spare"), 5.0)
    assert after is not None
    assert (after.envelope.route, after.due) == ("spare", 5.0)
    assert after.envelope.recipients == entry_of(world, name).envelope.recipients
    again = redirected(after, Redirect(NEW), 6.0)
    assert again is not None
    assert again.envelope.route == "spare"


async def test_what_is_being_delivered_is_left_alone() -> None:
    world = World()
    world.hop.seconds = 100
    await world.start()
    name = await world.accept()
    assert await redirect(world, name, Redirect(NEW)) is Outcome.IN_FLIGHT
    await world.clock.go_on(101)
    assert await redirect(world, name, Redirect(NEW)) is Outcome.UNKNOWN
    assert world.hop.recipients == ["ann@example.net"]
    await world.stop()


async def test_mail_on_hold_stays_there_and_goes_elsewhere_when_it_is_released() -> None:
    world = World()
    await world.start()
    name = await world.accept(held=True)
    assert await redirect(world, name, Redirect(NEW)) is Outcome.DONE
    assert world.hop.recipients == []
    world.hop.answer = OK
    assert await control(world).apply(Change.RELEASE, name) is Outcome.DONE
    await world.clock.settle()
    assert world.hop.recipients == ["new@example.com"]
    await world.stop()


async def test_mail_of_the_sandbox_does_not_leave_it_by_another_route() -> None:
    world = World()
    name = world.put()
    entry = world.spool.entries[name]
    world.spool.entries[name] = replace(entry, envelope=replace(entry.envelope, sandbox=True))
    assert await redirect(world, name, Redirect(route="main")) is Outcome.SANDBOX
    assert await redirect(world, name, Redirect(NEW)) is Outcome.DONE
    assert entry_of(world, name).envelope.sandbox


async def test_without_a_scheduler_only_the_spool_is_changed() -> None:
    world = World()
    name = world.put()
    outcome = await control(world, beside_scheduler=False).apply(Change.REDIRECT, name, redirect=Redirect(NEW))
    assert outcome is Outcome.DONE
    assert [str(each) for each in entry_of(world, name).envelope.recipients] == ["new@example.com"]


def test_an_order_is_read() -> None:
    assert redirect_of({"change": "hold"}) is None
    assert redirect_of({"to": "new@example.com"}) == Redirect(NEW)
    assert redirect_of({"route": "b", "recipient": "new@example.com"}) == Redirect(None, "b", NEW)


@pytest.mark.parametrize(
    "order", [{"to": 1}, {"to": "a b@example.com"}, {"route": ["x"]}, {"to": "a@b.c", "recipient": "@"}]
)
def test_an_order_that_is_none_is_refused(order: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        redirect_of(order)
