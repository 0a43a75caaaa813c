"""Which notifications a message brings its sender, whatever becomes of it and whatever was asked for."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta

import pytest

from gatepost.errors import SpoolUnavailable
from gatepost.model.address import parse_mailbox
from gatepost.model.delivery import Handover, Result
from gatepost.model.envelope import Envelope, Notify, Recipient, Ret
from gatepost.observe.events import BounceDropped, BounceQueued, MessageFinished, NoticeQueued, RecipientFailed
from gatepost.queue.retry import Schedule
from gatepost.spool.spool import Status
from queue_world import CONTENT, DOWN, HEADER, LATER, NEVER, OK, REFUSED, World
from reports import Notification, read

HOUR, DAY = 3600.0, 86400.0
RESULTS: dict[str, Result] = {
    "relayed": OK,
    "reported": replace(OK, handover=Handover.REPORTED),
    "delivered": replace(OK, handover=Handover.DELIVERED),
    "failed": NEVER,
    "delayed": LATER,
    "expired": LATER,
}
WISHES = [
    None,
    Notify.NEVER,
    *[
        Notify(sum(each.value for each in chosen))
        for number in (1, 2, 3)
        for chosen in itertools.combinations((Notify.SUCCESS, Notify.FAILURE, Notify.DELAY), number)
    ],
]


def told(world: World) -> list[Notification]:
    return [read(content) for _, content in world.bounces()]


def deal(world: World, result: Result) -> None:
    """Let messages meet *result*, and notifications arrive."""
    home = world.route("example.org")
    home.answer = replace(OK, next_hop="mx.example.org")
    world.hop.answer = result


def expected(result: str, notify: Notify | None) -> list[str]:
    """Return the actions of the notifications that RFC 3461 §4.1 asks for, of each its one."""
    asked = Notify.FAILURE | Notify.DELAY if notify is None else notify
    if result in ("relayed", "delivered"):
        return [result] if Notify.SUCCESS in asked else []
    actions = []
    if result in ("delayed", "expired") and Notify.DELAY in asked:
        actions.append("delayed")
    if result in ("failed", "expired") and Notify.FAILURE in asked:
        actions.append("failed")
    return actions


@pytest.mark.rfc("3461 §4.1")
@pytest.mark.rfc("3461 §5.2.2")
@pytest.mark.parametrize("result", RESULTS)
@pytest.mark.parametrize("notify", WISHES, ids=str)
async def test_each_wish_meets_each_result(world: World, result: str, notify: Notify | None) -> None:
    deal(world, RESULTS[result])
    await world.accept("ann@example.net", notify=notify)
    await world.clock.go_on(6 * DAY if result == "expired" else 5 * HOUR)
    reports = told(world)
    assert [each.actions for each in reports] == [{"ann@example.net": action} for action in expected(result, notify)]
    for envelope, _ in world.bounces():
        assert envelope.reverse_path is None
        assert [(str(each), each.notify) for each in envelope.recipients] == [("tim@example.org", Notify.NEVER)]
    if result in ("failed", "expired"):
        [failed] = world.told(RecipientFailed)
        assert failed.recipient == "ann@example.net", "it is an event, whoever is told"
    is_untold = result in ("failed", "expired") and "failed" not in expected(result, notify)
    dropped = [event.reason for event in world.told(BounceDropped)]
    assert dropped == (["its sender asked not to be told"] if is_untold else [])


@pytest.mark.rfc("3464 §2")
@pytest.mark.parametrize("result", RESULTS)
async def test_the_fields_are_those_of_the_result(world: World, result: str) -> None:
    deal(world, RESULTS[result])
    await world.accept(
        "ann@example.net", notify=Notify.SUCCESS | Notify.FAILURE | Notify.DELAY, ret=Ret.FULL, envid="Q+2BqQ+20+20x"
    )
    await world.clock.go_on(6 * DAY if result == "expired" else 5 * HOUR)
    reports = {action: report for report in told(world) for action in report.actions.values()}
    arrival = "Tue, 14 Nov 2023 22:13:20 +0000"
    for report in reports.values():
        assert report.about == {
            "original-envelope-id": "Q+qQ  x",
            "reporting-mta": "dns; mail.example.org",
            "arrival-date": arrival,
        }
        assert report.to == "tim@example.org"
        assert report.words.startswith(f"This is the mail server mail.example.org, about your message of {arrival}.")
    common = {"final-recipient": "rfc822; ann@example.net", "remote-mta": "dns; mx.example.net"}
    greylisted = {"diagnostic-code": "smtp; 451 4.2.0 greylisted"}
    fields = {
        "relayed": {"status": "2.0.0", "diagnostic-code": "smtp; 250 2.0.0 taken", "last-attempt-date": arrival},
        "delivered": {"status": "2.0.0", "diagnostic-code": "smtp; 250 2.0.0 taken", "last-attempt-date": arrival},
        "failed": {"status": "5.1.1", "diagnostic-code": "smtp; 550 5.1.1 no such user", "last-attempt-date": arrival},
        "delayed": {
            "status": "4.2.0",
            **greylisted,
            "last-attempt-date": "Wed, 15 Nov 2023 02:13:20 +0000",
            "will-retry-until": "Sun, 19 Nov 2023 22:13:20 +0000",
        },
    }
    if result == "expired":
        fields["failed"] = {
            "status": "4.4.7",
            **greylisted,
            "last-attempt-date": "Sun, 19 Nov 2023 22:13:20 +0000",
        }
    assert set(reports) == {"reported": set(), "expired": {"delayed", "failed"}}.get(result, {result})
    for action, report in reports.items():
        assert report.recipients == [{**common, "action": action, **fields[action]}]
        # RFC 3461 §4.3: only with a failure the message comes back.
        assert report.types[2] == ("message/rfc822" if action == "failed" else "text/rfc822-headers")


@pytest.mark.rfc("3461 §6.1")
@pytest.mark.rfc("5321 §4.5.5")
@pytest.mark.parametrize("result", RESULTS)
async def test_nobody_is_told_what_became_of_a_notification(world: World, result: str) -> None:
    deal(world, RESULTS[result])
    everything = Notify.SUCCESS | Notify.FAILURE | Notify.DELAY
    await world.accept("ann@example.net", sender=None, notify=everything)
    await world.clock.go_on(6 * DAY)
    assert told(world) == []


@pytest.mark.rfc("3461 §6.1")
@pytest.mark.parametrize("result", ["failed", "expired"])
async def test_a_notification_that_fails_is_not_answered(world: World, result: str) -> None:
    world.hop.answer = RESULTS[result]
    await world.accept("ann@example.net")
    await world.clock.go_on(11 * DAY)
    reports = told(world)
    assert [list(each.actions) for each in reports] == [["ann@example.net"]] * len(reports)
    assert len(reports) == (1 if result == "failed" else 2)
    assert {event.reason for event in world.told(BounceDropped)} == {"the message was itself a notification"}
    assert world.spool.count() == 0


async def test_recipients_that_are_settled_together_stand_in_one_notification(world: World) -> None:
    results = {"a": OK, "b": NEVER, "c": replace(OK, handover=Handover.DELIVERED), "d": LATER, "e": NEVER}
    world.route("example.org")
    world.hop.answer = lambda delivery: [results[each.mailbox.local] for each in delivery.recipients]
    everything = Notify.SUCCESS | Notify.FAILURE | Notify.DELAY
    name = world.put(*[f"{each}@example.net" for each in "abcde"], notify=everything)
    entry = world.spool.entries[name]
    quiet = replace(entry.envelope.recipients[4], notify=Notify.NEVER)
    envelope = replace(entry.envelope, recipients=(*entry.envelope.recipients[:4], quiet))
    world.spool.keep(name, envelope, CONTENT)
    world.scheduler.wake(name)
    await world.clock.go_on(1)
    [report] = told(world)
    assert report.actions == {"a@example.net": "relayed", "b@example.net": "failed", "c@example.net": "delivered"}
    assert report.subject == "Your message could not be delivered"
    assert report.words.index("could not be delivered") < report.words.index("passed on")
    assert [event.reason for event in world.told(BounceDropped)] == ["its sender asked not to be told"]
    await world.clock.go_on(5 * HOUR)
    assert [each.actions for each in told(world)[1:]] == [{"d@example.net": "delayed"}]


# -- delays


@pytest.mark.rfc("3461 §5.2.5")
async def test_a_delay_is_told_once_also_over_a_restart(world: World) -> None:
    deal(world, LATER)
    name = await world.accept("ann@example.net")
    await world.clock.go_on(4 * HOUR - 1)
    assert told(world) == []
    await world.clock.go_on(1)
    assert [each.actions for each in told(world)] == [{"ann@example.net": "delayed"}]
    [event] = world.told(NoticeQueued)
    assert (event.message, event.recipient, event.action) == (name, "tim@example.org", "delayed")
    assert event.notice in [each.message for each in world.told(MessageFinished)]
    await world.restart()
    await world.clock.go_on(4 * DAY)
    assert len(told(world)) == 1
    assert world.spool.entries[name].progress[0].is_delay_told


async def test_the_notice_of_a_delay_is_one_transaction_with_what_it_tells(world: World) -> None:
    deal(world, LATER)
    name = await world.accept("ann@example.net")
    await world.clock.go_on(4 * HOUR - 1)
    world.spool.trouble = SpoolUnavailable("the disk is full")
    await world.clock.go_on(10)
    assert told(world) == []
    assert not world.spool.entries[name].progress[0].is_delay_told
    world.spool.trouble = None
    await world.clock.go_on(60)
    [(_, settlement)] = [each for each in world.spool.settlements if each[1].bounces]
    assert settlement.progress[0].is_delay_told
    assert len(settlement.bounces) == 1


async def test_mail_that_waits_behind_a_closed_route_is_told_of_without_an_attempt(world: World) -> None:
    deal(world, DOWN)
    world.pour(30, "ann@example.net")
    await world.clock.go_on(4 * HOUR - 1)
    assert told(world) == []
    attempts = len(world.hop.times)
    await world.clock.go_on(HOUR + 1)
    reports = told(world)
    assert len(reports) == 30
    assert {each.recipients[0]["diagnostic-code"] for each in reports} == {"x-gatepost; 451 4.4.1 connection refused"}
    assert len(world.hop.times) - attempts < 30
    await world.clock.go_on(3 * DAY)
    assert len(told(world)) == 30


async def test_trouble_with_our_login_is_not_shown_to_senders(world: World) -> None:
    deal(world, REFUSED)
    world.pour(3, "ann@example.net")
    await world.clock.go_on(6 * HOUR)
    reports = told(world)
    assert len(reports) == 3
    assert {each.recipients[0]["status"] for each in reports} == {"4.3.5"}
    assert all("bad login" not in each.words for each in reports)


async def test_mail_that_waits_for_its_turn_is_told_of() -> None:
    world = World(schedule=Schedule(delay_notice=timedelta(minutes=1)))
    await world.start()
    world.route("example.org")
    world.hop.seconds = 10 * DAY
    world.pour(25, "ann@example.net")  # 20 go at once
    await world.clock.go_on(2 * HOUR)
    reports = told(world)
    assert [each.recipients[0]["status"] for each in reports] == ["4.4.5"] * 5
    assert all("last-attempt-date" not in each.recipients[0] for each in reports)
    await world.stop()


async def test_without_a_time_no_delay_is_told() -> None:
    world = World(schedule=Schedule(delay_notice=None))
    await world.start()
    deal(world, LATER)
    await world.accept("ann@example.net", notify=Notify.DELAY)
    await world.clock.go_on(4 * DAY)
    assert told(world) == []
    await world.stop()


async def test_a_delay_is_told_also_where_the_content_cannot_be_read(world: World) -> None:
    deal(world, DOWN)
    names = world.pour(3, "ann@example.net")
    await world.clock.go_on(HOUR)
    world.spool.contentless.update(names)
    await world.clock.go_on(4 * HOUR)
    reports = told(world)
    assert len(reports) == 3
    assert {each.returned.strip() for each in reports} == {b""}


async def test_where_room_is_scarce_no_delay_is_told_before_the_next_attempt(world: World) -> None:
    deal(world, LATER)
    world.spool.is_full = True
    await world.accept("ann@example.net")
    await world.clock.go_on(5 * HOUR)
    assert told(world) == []
    world.spool.is_full = False
    await world.clock.go_on(4 * HOUR)
    assert [each.actions for each in told(world)] == [{"ann@example.net": "delayed"}]


async def test_where_room_is_scarce_mail_behind_a_closed_route_waits_without_a_word(world: World) -> None:
    deal(world, DOWN)
    names = world.pour(30, "ann@example.net")
    await world.clock.go_on(HOUR)
    world.spool.is_full = True
    settled = len(world.spool.settlements)
    await world.clock.go_on(4 * HOUR)
    assert told(world) == []
    assert len(world.spool.settlements) - settled < 30 + 4 * 60, "each once, and the probes of the route"
    dropped = world.told(BounceDropped)
    assert {event.reason for event in dropped} == {"there is no room for the notice of a delay"}
    assert {event.message for event in dropped} <= set(names)
    world.spool.is_full = False
    await world.clock.go_on(5 * DAY)
    assert len(world.told(RecipientFailed)) == 30
    assert [list(each.actions.values()) for each in told(world)].count(["failed"]) == 30


# -- what comes back


@pytest.mark.rfc("3461 §4.3")
@pytest.mark.parametrize(
    ("ret", "size", "kind"),
    [
        (None, 10, "message/rfc822"),
        (Ret.FULL, 10, "message/rfc822"),
        (Ret.HEADERS, 10, "text/rfc822-headers"),
        (None, 60_000, "text/rfc822-headers"),
        (Ret.FULL, 60_000, "text/rfc822-headers"),
        (Ret.FULL, 3_000_000, "text/rfc822-headers"),
    ],
)
async def test_how_much_comes_back(world: World, ret: Ret | None, size: int, kind: str) -> None:
    deal(world, NEVER)
    content = HEADER + b"0123456789\r\n" * (size // 12 + 1)
    await world.accept("ann@example.net", content=content, ret=ret)
    [(envelope, octets)] = world.bounces()
    assert read(octets).types[2] == kind
    assert b"Subject: hello" in octets
    assert (b"0123456789" in octets) == (kind == "message/rfc822")
    assert envelope.size_bytes == len(octets) < 60_000


# -- names of recipients


@pytest.mark.rfc("6533 §3")
async def test_internationalised_mail_gets_the_global_form(world: World) -> None:
    deal(world, NEVER)
    name = world.put("ann@example.net", sender="tim@example.org")
    jorg = Recipient(parse_mailbox("jörg@bücher.example"), None, "utf-8;j\\x{F6}rg@old.example")
    envelope = replace(world.spool.entries[name].envelope, recipients=(jorg,), smtputf8=True)
    world.spool.keep(name, envelope, CONTENT)
    world.scheduler.wake(name)
    await world.clock.settle()
    [(wrapper, octets)] = world.bounces()
    report = read(octets)
    assert report.types[:2] == ("text/plain", "message/global-delivery-status")
    assert report.recipients[0]["original-recipient"] == "utf-8; jörg@old.example"
    assert report.recipients[0]["final-recipient"] == "utf-8; jörg@bücher.example"
    assert "<jörg@bücher.example>" in report.words
    assert not wrapper.smtputf8, "its own recipient does not need it"


@pytest.mark.rfc("3461 §4.2")
async def test_the_original_recipient_comes_back_decoded(world: World) -> None:
    deal(world, NEVER)
    name = world.put("ann@example.net")
    ann = Recipient(parse_mailbox("ann@example.net"), None, "rfc822;Ann+2BNews@Example.NET")
    envelope: Envelope = replace(world.spool.entries[name].envelope, recipients=(ann,))
    world.spool.keep(name, envelope, CONTENT)
    world.scheduler.wake(name)
    await world.clock.settle()
    [report] = told(world)
    assert report.recipients[0]["original-recipient"] == "rfc822; Ann+News@Example.NET"
    assert [event.recipient for event in world.told(BounceQueued)] == ["tim@example.org"]


async def test_an_error_of_ours_in_a_report_of_success_changes_nothing_else(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> bytes:
        raise ZeroDivisionError

    monkeypatch.setattr("gatepost.queue.bounce.compose", broken)
    name = await world.accept("ann@example.net", notify=Notify.SUCCESS)
    [(settled, settlement)] = world.spool.settlements
    assert (settled, settlement.progress[0].status, settlement.bounces) == (name, Status.DELIVERED, ())
    assert world.told(BounceDropped) == []
    assert "a delivery attempt failed" in caplog.text
