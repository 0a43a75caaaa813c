"""Notifications on the wire: a client asks, next hops with and without DSN answer, others read what arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from gatepost.app import RealClock
from gatepost.observe.events import BounceDropped, RecipientDeferred
from gatepost.testing import RunningServer
from integration.client import Client, log_in
from next_hop import ALL_EXTENSIONS, FakeNextHop, Mail, say
from reports import Notification, needs_perl, read, read_with_perl

WISHES = {
    "plain": "",
    "never": " NOTIFY=NEVER",
    "success": " NOTIFY=SUCCESS",
    "failure": " NOTIFY=FAILURE",
    "delay": " NOTIFY=DELAY",
    "all": " NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;All+2BNews@Old.example",
}
CONTENT = b"From: <tim@example.org>\r\nMessage-ID: <m1@example.org>\r\nSubject: hello\r\n\r\nwhat I wrote\r\n"


async def submit(
    client: Client, domain: str, results: Iterable[str], *, sender: str = "tim@example.org", ret: str = " RET=FULL"
) -> None:
    """Send one message, to a recipient for each result and each wish."""
    assert (await client.say(f"MAIL FROM:<{sender}>{ret} ENVID=E+2B{domain}")).startswith("250")
    for result in results:
        for name, wish in WISHES.items():
            assert (await client.say(f"RCPT TO:<{result}-{name}@{domain}>{wish}")).startswith("250")
    assert (await client.say("DATA")).startswith("354")
    client.writer.write(CONTENT + b".\r\n")
    assert (await client.reply()).startswith("250")


def prepare(hop: FakeNextHop, domain: str) -> None:
    """Let recipients be taken, refused or deferred by their names."""
    for name in WISHES:
        hop.on(f"RCPT failed-{name}@{domain}", say("550 5.1.1 no such user"))
        hop.on(f"RCPT late-{name}@{domain}", say("451 4.2.0 greylisted"))


class MovedClock(RealClock):
    """The clock of the machine, set forward."""

    ahead = 0.0

    def now(self) -> float:
        return RealClock.now() + self.ahead


async def until(what: str, condition: Callable[[], bool]) -> None:
    try:
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"waited a minute in vain for {what}")


def about(mails: Iterable[Mail], domain: str) -> list[Notification]:
    """Return the notifications about mail to *domain*."""
    reports = [read(mail.content) for mail in mails]
    return [each for each in reports if each.about["original-envelope-id"] == f"E+{domain}"]


def deferred(server: RunningServer) -> list[RecipientDeferred]:
    return [event for event in server.events if isinstance(event, RecipientDeferred)]


def actions(reports: Iterable[Notification]) -> list[dict[str, str]]:
    return [{name.partition("@")[0]: action for name, action in each.actions.items()} for each in reports]


FAILED = {"failed-plain": "failed", "failed-failure": "failed", "failed-all": "failed"}
LATE = {"late-plain": "delayed", "late-delay": "delayed", "late-all": "delayed"}
EXPIRED = {"late-plain": "failed", "late-failure": "failed", "late-all": "failed"}


@needs_perl
@pytest.mark.rfc("3461 §5.2.1")
@pytest.mark.rfc("3461 §5.2.2")
@pytest.mark.rfc("3461 §5.2.3")
@pytest.mark.rfc("3461 §5.2.6")
async def test_each_wish_meets_each_result_at_next_hops_with_and_without_dsn(start, tmp_path):
    async with AsyncExitStack() as stack:
        old, new, home = [
            await stack.enter_async_context(FakeNextHop(extensions=extensions))
            for extensions in (ALL_EXTENSIONS, (*ALL_EXTENSIONS, "DSN"), ("PIPELINING", "DSN"))
        ]
        clock = MovedClock()
        prepare(old, "old.example")
        prepare(new, "new.example")
        routes: list[dict[str, Any]] = [
            {
                "name": domain.partition(".")[0],
                "transport": "smarthost",
                "host": "127.0.0.1",
                "port": hop.port,
                "tls": "none",
                "match": {"recipient_domains": [domain]},
            }
            for domain, hop in (("old.example", old), ("new.example", new), ("example.org", home))
        ]
        routes.append({"name": "kept", "transport": "sandbox", "path": tmp_path / "kept"})
        server = await stack.enter_async_context(
            start(
                route=routes,
                policy={"null_sender": "allow"},
                clock=clock,
            )
        )
        client = await log_in(server)
        assert "250-DSN" in (await client.say("EHLO client.example")).split()
        for domain in ("old.example", "new.example"):
            await submit(client, domain, ("taken", "failed", "late"))
        await submit(client, "sandbox.example", ("taken",), ret=" RET=HDRS")
        await submit(client, "old.example", ("failed", "late"), sender="", ret="")
        await client.close()
        await until("the first attempts", lambda: len(deferred(server)) == 3 * len(WISHES) and len(home.accepted) == 3)
        clock.ahead = 4 * 3600 + 60
        server.worker.scheduler.look_again()
        await until(
            "the notices of delay", lambda: len(deferred(server)) == 6 * len(WISHES) and len(home.accepted) == 5
        )
        clock.ahead = 5 * 86400 + 60
        server.worker.scheduler.look_again()
        await until("the end", lambda: server.worker.spool.count() == 0)

        # Every notification went home with the null path, and asks for none about itself.
        assert {mail.mail.partition(" SIZE")[0] for mail in home.accepted} == {"MAIL FROM:<>"}
        assert {tuple(mail.rcpts) for mail in home.accepted} == {("RCPT TO:<tim@example.org> NOTIFY=NEVER",)}
        taken = {"taken-success": "relayed", "taken-all": "relayed"}
        assert actions(about(home.accepted, "old.example")) == [{**taken, **FAILED}, LATE, EXPIRED]
        assert actions(about(home.accepted, "new.example")) == [FAILED, LATE, EXPIRED]
        assert actions(about(home.accepted, "sandbox.example")) == [
            {"taken-success": "delivered", "taken-all": "delivered"}
        ]
        assert len(home.accepted) == 7
        silent = [event.reason for event in server.events if isinstance(event, BounceDropped)]
        assert silent.count("the message was itself a notification") == 2

        # What was asked went on where it is understood, and nowhere else.
        (passed,) = [mail for mail in new.accepted if any("<taken-" in each for each in mail.rcpts)]
        assert " RET=FULL ENVID=E+2Bnew.example" in passed.mail
        assert [each.partition(">")[2] for each in passed.rcpts] == list(WISHES.values())
        assert not any(word in line for line in old.commands for word in ("RET=", "ENVID=", "NOTIFY=", "ORCPT="))

        _parsers_agree(tmp_path, [mail.content for mail in home.accepted])


def _parsers_agree(folder, contents):
    """See that Perl's parsers find what Python's finds, and whose mail bounced."""
    for content, other in zip(contents, read_with_perl(folder, contents), strict=True):
        report = read(content)
        assert other["report_type"] == "delivery-status"
        assert tuple(other["types"]) == report.types
        assert other["groups"] == [report.about, *report.recipients]
        for each in report.recipients:
            is_all = each["final-recipient"].partition("-")[2].startswith("all@")
            assert each.get("original-recipient") == ("rfc822; All+News@Old.example" if is_all else None)
        failed = [each for each in report.recipients if each["action"] == "failed"]
        # It stops at the first that has not failed.
        if failed == report.recipients:
            assert other["bounced"] == [
                [
                    (each.get("original-recipient") or each["final-recipient"]).partition("; ")[2],
                    each["status"],
                    each["diagnostic-code"].split()[1],
                ]
                for each in failed
            ]
            assert other["original"] == "<m1@example.org>"
        assert bool(other["is_bounce"]) == (failed == report.recipients)
        assert ("what I wrote" in report.returned.decode()) == bool(failed)
        assert "Subject: hello" in report.returned.decode()
