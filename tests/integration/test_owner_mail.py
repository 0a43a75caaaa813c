"""The mail before a credential ends: once, durable before the warning counts, and only where somebody is to be told."""

from __future__ import annotations

import asyncio
import email
import email.policy
import time
from collections.abc import AsyncIterator
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from gatepost.errors import SpoolFull, SpoolUnavailable
from gatepost.identity.accounts import add_account
from gatepost.identity.credentials import Rules, add_credential
from gatepost.identity.database import Database
from gatepost.identity.restrictions import Restrictions
from gatepost.observe.events import CredentialExpiring, Event, OwnerWarned, RecipientDelivered
from gatepost.state.keys import load_keys
from gatepost.testing import RunningServer
from integration.test_rotation import DAY, TIM, World, ledger_of, make_world

LOGINS = {"ann@example.org": "owner@example.net", "quiet@example.org": ""}


class Office:
    """Takes the mail to owners, or does not."""

    def __init__(self) -> None:
        self.told: list[CredentialExpiring] = []
        self.trouble: BaseException | None = None
        self.was_asked, self.may_go_on = asyncio.Event(), asyncio.Event()
        self.may_go_on.set()

    async def warn(self, event: CredentialExpiring) -> None:
        self.was_asked.set()
        await self.may_go_on.wait()
        if self.trouble is not None:
            raise self.trouble
        self.told.append(event)


@pytest.fixture(params=["sqlite", "postgres"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    made = make_world(request, tmp_path)
    made.book.credential(TIM, expires=made.clock.now() + 5 * DAY)
    yield made
    made.close()


@pytest.fixture
def office(world: World) -> Office:
    made = Office()
    for each in world.workers:
        each.adapt([ledger_of(world.book)], 7 * DAY, made.warn)
    return made


async def test_the_owner_is_told_once_by_one_of_the_workers(world: World, office: Office) -> None:
    [event] = await world.look()
    assert isinstance(event, CredentialExpiring)
    assert office.told == [event]
    assert await world.look() == []
    assert len(office.told) == 1


async def test_who_looks_at_the_same_moment_does_not_tell_twice(world: World, office: Office) -> None:
    await asyncio.gather(*[each.look() for each in world.workers * 3])
    assert len(office.told) == 1
    assert len(world.events) == 1


async def test_nobody_is_told_where_no_contact_is_set(world: World, office: Office) -> None:
    world.book.account("ann@example.org")
    world.book.credential("ann@example.org", expires=world.clock.now() + 5 * DAY)
    assert len(await world.look()) == 2
    assert [each.login for each in office.told] == [TIM]


@pytest.mark.parametrize("trouble", [SpoolUnavailable("disk"), SpoolFull("disk")])
async def test_a_warning_whose_mail_is_not_kept_does_not_count_and_comes_later(
    world: World, office: Office, trouble: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    office.trouble = trouble
    assert await world.look() == []
    assert await world.look() == []
    assert [each.message for each in caplog.records].count("credentials cannot be retired") == len(world.workers)
    office.trouble = None
    assert len(await world.look()) == 1
    assert len(office.told) == 1


async def test_a_worker_that_is_told_to_end_meanwhile_ends_the_warning_first(world: World, office: Office) -> None:
    office.may_go_on.clear()
    looking = asyncio.create_task(world.workers[0].look())
    async with asyncio.timeout(60):
        await office.was_asked.wait()
    # Until the mail is kept the warning does not count: nobody who only reads can see it.
    assert _warned(world) is None
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    office.may_go_on.set()
    async with asyncio.timeout(60):
        while _warned(world) is None:
            await asyncio.sleep(0.01)
    assert await world.look() == []
    assert len(office.told) == 1


async def test_a_mail_that_is_broken_off_leaves_the_warning_to_the_next(world: World, office: Office) -> None:
    office.trouble = asyncio.CancelledError()
    with pytest.raises(asyncio.CancelledError):
        await world.workers[0].look()
    assert _warned(world) is None
    office.trouble = None
    assert len(await world.look()) == 1
    assert len(office.told) == 1


def _warned(world: World) -> float | None:
    with world.book.database.reading() as connection:
        found: float | None = connection.exec_driver_sql("SELECT warned FROM credentials").scalar_one()
    return found


def _add(server_state: Path, login: str, contact: str) -> None:
    keys, database = load_keys(server_state / "secret.key"), Database(server_state / "accounts.db")
    now = time.time()
    add_account(database, keys, login, now=now, contact=contact)
    rules = Rules(("PLAIN",), {"submission": ("PLAIN",), "submissions": ("PLAIN",)})
    ends = Restrictions(expires=now + 3 * DAY)
    add_credential(database, keys, rules, login, now=now, label="printer", restrictions=ends, force=True)


async def _until(server: RunningServer, kind: type[Event]) -> Event:
    async with asyncio.timeout(60):
        while True:
            for each in server.events:
                if isinstance(each, kind):
                    return each
            await asyncio.sleep(0.02)


def _mail(folder: Path) -> list[Message]:
    return [
        email.message_from_bytes(path.read_bytes(), policy=email.policy.SMTP) for path in sorted(folder.glob("*.eml"))
    ]


async def test_the_mail_goes_through_our_own_queue(start: Any) -> None:
    async with start() as server:
        folder = server.worker.config.state_dir
        for login, contact in LOGINS.items():
            await asyncio.to_thread(_add, folder, login, contact)
    async with start() as server:
        warned, delivered = await _until(server, OwnerWarned), await _until(server, RecipientDelivered)
        assert isinstance(warned, OwnerWarned)
        assert isinstance(delivered, RecipientDelivered)
        assert (warned.login, warned.recipient) == ("ann@example.org", "owner@example.net")
        assert (delivered.message, delivered.recipient) == (warned.message, "owner@example.net")
        assert {each.login for each in server.events if isinstance(each, CredentialExpiring)} == set(LOGINS)
        [mail] = _mail(server.sandbox)
        assert mail["Auto-Submitted"] == "auto-generated"
        assert "printer" in str(mail)
    # It was told of before: once for this end.
    async with start() as server:
        await server.worker._retirement.look()
        assert not [each for each in server.events if isinstance(each, CredentialExpiring | OwnerWarned)]
        assert len(_mail(server.sandbox)) == 1


async def test_no_mail_where_none_is_wanted(start: Any) -> None:
    async with start() as server:
        await asyncio.to_thread(_add, server.worker.config.state_dir, "ann@example.org", "owner@example.net")
    async with start(auth={"expiry_mail": False}) as server:
        await _until(server, CredentialExpiring)
        assert not [each for each in server.events if isinstance(each, OwnerWarned)]
        assert _mail(server.sandbox) == []


async def test_the_mail_outlives_a_next_hop_that_is_away(start: Any) -> None:
    route = {"name": "away", "transport": "smarthost", "host": "127.0.0.1", "port": 1, "tls": "none"}
    async with start() as server:
        await asyncio.to_thread(_add, server.worker.config.state_dir, "ann@example.org", "owner@example.net")
    async with start(route=[route]) as server:
        await _until(server, OwnerWarned)
        [entry] = server.worker.queues[0].spool.list()
        assert entry.envelope.reverse_path is None
    async with start() as server:
        await _until(server, RecipientDelivered)
        assert len(_mail(server.sandbox)) == 1
