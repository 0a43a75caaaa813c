"""A rotation walked through all its states by a clock that is moved: both work, warnings come, the old one goes."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gatepost.errors import StateUnavailable
from gatepost.identity.accounts import AccountProblem, list_accounts
from gatepost.identity.credentials import CredentialRow, list_credentials, revoke_credential, show_credential
from gatepost.identity.ledger import Ledger, SqliteLedger
from gatepost.identity.postgres_ledger import PostgresLedger
from gatepost.identity.retirement import Retirement
from gatepost.identity.rotation import expire_credential, restrict_credential, rotate_credential
from gatepost.identity.stores.postgres_server import PostgresServer
from gatepost.model.identity import Secret
from gatepost.observe.emit import Emitter
from gatepost.observe.events import CredentialExpiring, CredentialRetired, Event, LoginSucceeded
from gatepost.sasl.mechanism import Context
from gatepost.sasl.registry import MECHANISMS
from gatepost.sasl.steps import Granted
from gatepost.session.auth import drive
from gatepost.state.database import Database as StateDatabase
from gatepost.state.last_used import LastUsed
from identities import KEYS, PEER, Book, PostgresBook
from integration.test_authority import Mail

TIM = "tim@example.org"
DAY = 86_400.0
_NONCES = itertools.count()


class World:
    """Accounts, the state of the node, and what looks after credentials in two workers."""

    def __init__(self, folder: Path, book: Book) -> None:
        self.book = book
        self.clock = self.book.clock
        if not any(each.login == TIM for each in list_accounts(book.database)):
            self.book.account(TIM, contact="owner@example.org")
        self.state = StateDatabase(folder / "state.db")
        self.state.open()
        self.uses = LastUsed(self.state, self.clock)
        self.events: list[Event] = []
        self.workers = [
            Retirement([ledger_of(book)], self.state.path, 7 * DAY, self.clock, Emitter(self.events.append))
            for _ in range(2)
        ]
        self.authority = self.book.authority()

    def close(self) -> None:
        self.authority.close()
        self.state.close()

    async def log_in(self, secret: Secret, mechanism: str = "PLAIN") -> str:
        """Return the credential that came in, or why none did."""
        attempt = self.authority.begin(PEER, mechanism)
        client = Mail(mechanism, TIM, secret.reveal(), "")
        context = Context("mail.example.org", lambda: f"nonce{next(_NONCES)}")
        outcome = await drive(MECHANISMS[mechanism].start(client.initial(), context), client, attempt)
        identity = await attempt.admit(outcome.identity, "") if isinstance(outcome, Granted) else None
        if identity is None:
            return attempt.reason or attempt.doomed or "no"
        self.uses(
            LoginSucceeded("s", PEER.listener, PEER.address, TIM, identity.credential, "", mechanism, "TLS", "laptop")
        )
        await self.uses.write()
        return identity.credential

    async def look(self) -> list[Event]:
        """Let every worker look once; return what was told."""
        self.events.clear()
        for each in self.workers:
            await each.look()
        return list(self.events)

    def rotate(self, identifier: str, **options: Any) -> tuple[CredentialRow, CredentialRow, Secret]:
        options.setdefault("overlap", 30 * DAY)
        return rotate_credential(self.book.database, KEYS, self.book.rules, identifier, now=self.clock.now(), **options)

    def state_of(self, identifier: str) -> str:
        return show_credential(self.book.database, identifier).state(self.clock.now())


class PromptLedger(PostgresLedger):
    """Of a node that has the database alone."""

    lag = 0.0


def ledger_of(book: Book) -> Ledger:
    return PromptLedger(book.server) if isinstance(book, PostgresBook) else SqliteLedger(book.path)


def make_world(request: pytest.FixtureRequest, folder: Path) -> World:
    """Make a world in the kind of database that the fixture is asked for."""
    if request.param == "sqlite":
        return World(folder, Book(folder))
    return World(folder, PostgresBook(request.getfixturevalue("accounts_server")))


@pytest.fixture(params=["sqlite", "postgres"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    made = make_world(request, tmp_path)
    yield made
    made.close()


async def test_a_rotation_goes_through_all_its_states(world: World) -> None:
    row, old_secret = world.book.credential(TIM, label="printer", networks=["192.0.2.0/24"], sandbox=True)
    assert world.state_of(row.id) == "active"
    began = world.clock.now()
    old, new, new_secret = world.rotate(row.id)
    assert (old.successor, old.expires, old.state(began)) == (new.id, began + 30 * DAY, "retiring")
    assert (new.label, new.networks, new.sandbox, new.expires) == ("printer", ("192.0.2.0/24",), True, None)
    assert new.origin == "generated"
    assert await world.look() == []
    # Both work, with every mechanism, in turn.
    for mechanism in ("PLAIN", "SCRAM-SHA-256", "LOGIN", "CRAM-MD5"):
        assert await world.log_in(old_secret, mechanism) == old.id
        assert await world.log_in(new_secret, mechanism) == new.id
    # A week before the end there is one warning, from one worker: the old one was used since.
    world.clock.time = began + 22 * DAY
    assert await world.look() == []
    await world.log_in(old_secret)
    world.clock.time = began + 23 * DAY
    [warning] = await world.look()
    assert warning == CredentialExpiring(
        TIM, old.id, "printer", "owner@example.org", began + 30 * DAY, new.id, began + 22 * DAY, PEER.address, "PLAIN",
        "laptop",
    )  # fmt: skip
    assert await world.look() == []
    # At the end it is over at once, and told of by whoever looks next.
    world.clock.time = began + 30 * DAY
    assert await world.log_in(old_secret) == "credential expired"
    assert world.state_of(old.id) == "retired"
    assert await world.look() == [CredentialRetired(TIM, old.id, "printer", new.id, "end of the overlap")]
    assert await world.look() == []
    assert show_credential(world.book.database, old.id).revoked == began + 30 * DAY
    for mechanism in ("PLAIN", "SCRAM-SHA-256", "CRAM-MD5"):
        assert await world.log_in(old_secret, mechanism) == "credential revoked"
        assert await world.log_in(new_secret, mechanism) == new.id
    # Then the next one can begin.
    assert world.rotate(new.id)[0].id == new.id


async def test_it_goes_earlier_when_nobody_used_it_for_the_time_set(world: World) -> None:
    row, old_secret = world.book.credential(TIM)
    old, new, _ = world.rotate(row.id, retire_unused=7 * DAY)
    began = world.clock.now()
    world.clock.time = began + 5 * DAY
    assert await world.log_in(old_secret) == old.id
    world.clock.time = began + 12 * DAY - 1
    assert await world.look() == []
    assert world.state_of(old.id) == "retiring"
    world.clock.time += 1
    assert await world.look() == [CredentialRetired(TIM, old.id, "", new.id, "unused for 7 d")]
    assert world.state_of(old.id) == "retired"
    assert await world.log_in(old_secret) == "credential revoked"


async def test_what_nobody_has_used_since_is_not_warned_of(world: World) -> None:
    row, old_secret = world.book.credential(TIM)
    await world.log_in(old_secret)
    world.clock.time += 1
    old, _, _ = world.rotate(row.id)
    world.clock.time += 29 * DAY
    assert await world.look() == []
    # But whoever then comes with it is.
    await world.log_in(old_secret)
    [warning] = await world.look()
    assert isinstance(warning, CredentialExpiring)
    assert warning.credential == old.id


async def test_any_credential_is_warned_of_before_it_ends_once_for_each_end(world: World) -> None:
    row, _ = world.book.credential(TIM, expires=world.clock.now() + 20 * DAY)
    world.book.credential(TIM)
    assert await world.look() == []
    world.clock.time += 15 * DAY
    [warning] = await world.look()
    assert isinstance(warning, CredentialExpiring)
    assert (warning.credential, warning.successor, warning.last_used, warning.contact) == (
        row.id, "", 0.0, "owner@example.org",
    )  # fmt: skip
    assert await world.look() == []
    expire_credential(world.book.database, row.id, world.clock.now() + 60 * DAY, now=world.clock.now())
    assert await world.look() == []
    world.clock.time += 58 * DAY
    assert len(await world.look()) == 1
    world.clock.time += 3 * DAY
    assert world.state_of(row.id) == "expired"
    assert await world.look() == []


async def test_no_warning_when_none_is_wanted_but_retired_all_the_same(world: World) -> None:
    row, _ = world.book.credential(TIM)
    for each in world.workers:
        each.adapt([ledger_of(world.book)], 0.0)
    old, new, _ = world.rotate(row.id)
    world.clock.time += 31 * DAY
    assert await world.look() == [CredentialRetired(TIM, old.id, "", new.id, "end of the overlap")]


async def test_while_the_state_cannot_be_read_nothing_is_retired_for_want_of_use(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, _ = world.book.credential(TIM)
    old, new, _ = world.rotate(row.id, retire_unused=DAY)
    world.clock.time += 2 * DAY

    def away(*_: object) -> None:
        raise StateUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr("gatepost.identity.retirement.read_uses", away)
        assert await world.look() == []
    assert "credentials cannot be retired" in caplog.text
    assert await world.look() == [CredentialRetired(TIM, old.id, "", new.id, "unused for 1 d")]


async def test_a_database_that_is_away_or_closed_to_us_is_told_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path, Book(tmp_path))
    row, _ = world.book.credential(TIM)
    world.rotate(row.id, overlap=0.0)
    aside = world.book.path.with_name("aside.db")
    os.rename(world.book.path, aside)
    worker = Retirement(
        [SqliteLedger(world.book.path)], world.state.path, DAY, world.clock, Emitter(world.events.append)
    )
    for _ in range(3):
        await worker.look()
    assert caplog.text.count("credentials cannot be retired") == 1
    assert world.events == []
    os.rename(aside, world.book.path)
    await worker.look()
    assert isinstance(world.events[0], CredentialRetired)
    world.close()


async def test_it_looks_each_minute(world: World) -> None:
    row, _ = world.book.credential(TIM)
    world.rotate(row.id, overlap=120.0)
    running = asyncio.create_task(world.workers[0].run())
    async with asyncio.timeout(60):
        while not world.events:
            await asyncio.sleep(0.001)
    running.cancel()
    assert world.clock.slept[:2] == [60.0, 60.0]


async def test_a_rotation_that_is_called_off_keeps_both(world: World) -> None:
    row, old_secret = world.book.credential(TIM)
    old, new, new_secret = world.rotate(row.id)
    kept = expire_credential(world.book.database, old.id, None, now=world.clock.now())
    assert (kept.expires, kept.successor, kept.state(world.clock.now())) == (None, None, "active")
    world.clock.time += 40 * DAY
    assert await world.look() == []
    assert await world.log_in(old_secret) == old.id
    assert await world.log_in(new_secret) == new.id


def test_the_new_one_lives_as_long_as_the_old_one_was_given(world: World) -> None:
    row, _ = world.book.credential(TIM, expires=world.clock.now() + 1 + 90 * DAY)
    world.clock.time += 80 * DAY
    old, new, _ = world.rotate(row.id)
    assert old.expires == row.expires  # the overlap makes nothing live longer
    assert new.expires == pytest.approx(world.clock.now() + 90 * DAY, abs=2)
    _, other, _ = world.rotate(new.id, expires=world.clock.now() + DAY, short=True)
    assert other.expires == world.clock.now() + DAY


def test_what_cannot_be_rotated_is_told(world: World) -> None:
    book = world.book
    row, _ = book.credential(TIM)
    old, new, _ = world.rotate(row.id)
    with pytest.raises(AccountProblem, match=f"is being rotated already; {new.id} takes its place"):
        world.rotate(old.id)
    revoke_credential(book.database, new.id, now=world.clock.now())
    with pytest.raises(AccountProblem, match="is revoked; add a new one"):
        world.rotate(new.id)
    with pytest.raises(AccountProblem, match="no such credential"):
        world.rotate("nothing")
    ending, _ = book.credential(TIM, expires=world.clock.now() + DAY)
    world.clock.time += 2 * DAY
    with pytest.raises(AccountProblem, match="is expired; add a new one"):
        world.rotate(ending.id)
    with pytest.raises(AccountProblem, match="is expired"):
        expire_credential(book.database, ending.id, None, now=world.clock.now())
    with pytest.raises(AccountProblem, match="is expired"):
        restrict_credential(book.database, book.rules, ending.id, {"sandbox": True}, now=world.clock.now())


def test_rotating_for_years_never_fills_the_account(world: World) -> None:
    row, _ = world.book.credential(TIM)
    for _ in range(60):
        _, row, _ = world.rotate(row.id, overlap=DAY)
        world.clock.time += DAY
        with world.book.database.writing() as connection:
            # As a worker does.
            connection.exec_driver_sql("UPDATE credentials SET revoked = 1 WHERE successor IS NOT NULL")
    assert [each.id for each in list_credentials(world.book.database, TIM) if each.revoked is None] == [row.id]


def test_restrictions_are_replaced_one_by_one_and_lifted(world: World) -> None:
    book, now = world.book, world.clock.now
    row, _ = book.credential(TIM, networks=["192.0.2.0/24"], listeners=["devices"])

    def restrict(*lift: str, **given: Any) -> CredentialRow:
        return restrict_credential(book.database, book.rules, row.id, given, now=now(), lift=lift)

    changed = restrict(recipients=["*@example.net"], messages_per_minute=5, mechanisms=["PLAIN"], sandbox=True)
    assert (changed.networks, changed.listeners) == (("192.0.2.0/24",), ("devices",))
    assert (changed.recipients, changed.messages_per_minute, changed.mechanisms, changed.sandbox) == (
        ("*@example.net",), 5, ("PLAIN",), True,
    )  # fmt: skip
    assert restrict(networks=["2001:db8::/32"]).networks == ("2001:db8::/32",)
    lifted = restrict(
        "networks", "recipients", "messages_per_minute", "sandbox", "mechanisms", senders=["a@example.org"]
    )
    assert (lifted.networks, lifted.recipients, lifted.messages_per_minute, lifted.sandbox) == ((), (), None, False)
    assert (lifted.senders, lifted.mechanisms, lifted.listeners) == (("a@example.org",), (), ("devices",))
    for given, problem in (
        ({"networks": ["nowhere"]}, "cannot be a network"),
        ({"recipients": ["a@b@c"]}, "cannot be a recipient"),
        ({"listeners": ["other"]}, "no such listener"),
        ({"mechanisms": ["GSSAPI"]}, "is not switched on"),
    ):
        with pytest.raises(AccountProblem, match=problem):
            restrict(**given)
    assert show_credential(book.database, row.id) == lifted


def test_a_restriction_cannot_give_what_there_is_no_verifier_for(world: World) -> None:
    book = world.book
    row, _ = book.credential(TIM, mechanisms=["PLAIN"], listeners=["devices"], force=True)
    with pytest.raises(AccountProblem, match=r"has no verifier for CRAM-MD5, .* rotate it"):
        restrict_credential(book.database, book.rules, row.id, {"mechanisms": ["CRAM-MD5"]}, now=0.0)
    with pytest.raises(AccountProblem, match=r"no verifier for .*CRAM-MD5 on submission"):
        restrict_credential(book.database, book.rules, row.id, {}, now=0.0, lift=["listeners"])
    changed = restrict_credential(book.database, book.rules, row.id, {}, now=0.0, lift=["listeners"], force=True)
    assert changed.listeners == ()


async def test_a_node_does_not_retire_what_another_node_has_seen_used(
    accounts_server: PostgresServer, tmp_path: Path
) -> None:
    """Each knows of its own logins only."""
    book = PostgresBook(accounts_server)
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    here, there = World(tmp_path / "here", book), World(tmp_path / "there", book)
    for world in (here, there):
        world.workers = [
            Retirement(
                [PostgresLedger(accounts_server)], world.state.path, 0.0, world.clock, Emitter(world.events.append)
            )
        ]
    row, secret = book.credential(TIM)
    old, new, _ = here.rotate(row.id, retire_unused=DAY)
    began = here.clock.now()
    here.clock.time = began + DAY - 10
    assert await there.log_in(secret) == old.id
    # The other node has a minute to tell of it.
    here.clock.time += 60
    assert await here.look() == []
    assert await there.look() == []
    here.clock.time = began + 2 * DAY - 11
    assert await here.look() == []
    here.clock.time = began + 2 * DAY - 10 + PostgresLedger.lag
    assert await here.look() == [CredentialRetired(TIM, old.id, "", new.id, "unused for 1 d")]
    assert await there.look() == []
    assert await there.log_in(secret) == "credential revoked"
    here.close()
    there.state.close()
