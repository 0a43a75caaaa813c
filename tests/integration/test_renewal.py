"""Verifiers that are made anew at a login: hashes of other programs, other costs of argon2id, higher counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from passlib import hash as passlib_hashes
from sqlalchemy import text

from gatepost.identity.authority import Authority
from gatepost.identity.credentials import list_credentials, revoke_credential
from gatepost.identity.hashes import _crypt
from gatepost.identity.import_logins import import_logins
from gatepost.identity.passwords import HashingPool
from gatepost.identity.renewal import Renewal, Renewals, RenewingStore
from gatepost.identity.restrictions import Rules
from gatepost.identity.store import ARGON2ID, HASH, HMAC_MD5, SCRAM_SHA_256, Work
from gatepost.identity.stores.postgres import PostgresStore
from gatepost.identity.stores.sqlite import SqliteStore
from gatepost.identity.verifiers import Argon2
from gatepost.model.identity import Identity, Secret
from gatepost.observe.events import CredentialRenewed, Event
from gatepost.sasl.scram import parse_record, stored_key
from identities import CHEAP, KEYS, PEER, Book, PostgresBook

TIM, PASSWORD = "tim@example.org", "correct horse 7"
MECHANISMS = ("SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5")
made: Any = passlib_hashes


def bcrypt(password: str) -> str:
    found = _crypt(password.encode(), b"$2b$04$abcdefghijklmnopqrstuu")
    assert found is not None
    return found.decode()


class Desk:
    """A database, and workers that read it."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.stores: list[SqliteStore | PostgresStore] = []
        self.events: list[Event] = []
        self.authorities: list[Authority] = []

    def take(self, lines: str, **options: Any) -> None:
        values: dict[str, Any] = {"format": "passwd-file", "now": 1.8e9, "iterations": 4096, "force": True}
        rules = Rules(MECHANISMS, {"submission": MECHANISMS}, CHEAP)
        found = import_logins(self.book.database, KEYS, rules, lines.encode(), **{**values, **options})
        assert [each.outcome for each in found] == ["taken"] * len(found), found

    def worker(
        self, *, argon2: Argon2 = CHEAP, iterations: int = 4096, mechanisms: tuple[str, ...] = MECHANISMS
    ) -> Authority:
        pool = HashingPool(2)
        renewals = Renewals(pool, KEYS, mechanisms, iterations, argon2, self.events.append)
        authority = self.book.authority(
            stores=[self.store(argon2)], pool=pool, renewals=renewals, iterations=iterations
        )
        self.authorities.append(authority)
        return authority

    def store(self, argon2: Argon2 | None = None) -> SqliteStore | PostgresStore:
        """Open the database as a worker does; it is closed at the end."""
        book = self.book
        if isinstance(book, PostgresBook):
            self.stores.append(PostgresStore(book.server, argon2=argon2))
        else:
            self.stores.append(SqliteStore(book.path, argon2=argon2))
        return self.stores[-1]

    def close(self) -> None:
        for each in (*self.authorities, *self.stores):
            each.close()

    def held(self, login: str = TIM) -> list[dict[str, bytes]]:
        with self.book.database.reading() as connection:
            rows = connection.execute(
                text(
                    "SELECT c.id, v.scheme, v.value FROM accounts AS a JOIN credentials AS c ON c.account_id = a.id "
                    "LEFT JOIN verifiers AS v ON v.credential_id = c.id WHERE a.login = :login ORDER BY c.created, c.id"
                ),
                {"login": login},
            ).fetchall()
        found: dict[str, dict[str, bytes]] = {}
        for number, scheme, value in rows:
            those = found.setdefault(number, {})
            if scheme is not None:
                those[scheme] = value
        return list(found.values())

    def account(self, login: str = TIM) -> tuple[bytes, int]:
        with self.book.database.reading() as connection:
            statement = text("SELECT salt, iterations FROM accounts WHERE login = :login")
            salt, iterations = connection.execute(statement, {"login": login}).one()
        return salt, iterations

    @property
    def renewed(self) -> list[CredentialRenewed]:
        return [each for each in self.events if isinstance(each, CredentialRenewed)]


async def log_in(authority: Authority, password: str = PASSWORD, login: str = TIM) -> Identity | None:
    attempt = authority.begin(PEER, "PLAIN")
    identity = await attempt.check_password(login, Secret(password.encode()))
    return None if identity is None else await attempt.admit(identity, "")


async def settled(authority: Authority) -> None:
    assert authority.renewals is not None
    async with asyncio.timeout(200):
        await authority.renewals.settled()


@pytest.fixture(params=["sqlite", "postgres"])
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    if request.param == "sqlite":
        made_ = Desk(Book(tmp_path, mechanisms=MECHANISMS))
    else:
        made_ = Desk(PostgresBook(request.getfixturevalue("accounts_server"), mechanisms=MECHANISMS))
    yield made_
    made_.close()


async def test_the_first_login_puts_what_we_keep_in_the_place_of_another_programs_hash(desk: Desk) -> None:
    desk.take(f"{TIM}:{bcrypt(PASSWORD)}\n")
    worker = desk.worker()
    assert isinstance(desk.store(), RenewingStore)
    [before] = desk.held()
    assert set(before) == {HASH}
    assert await log_in(worker, "wrong") is None
    await settled(worker)
    assert desk.held() == [before]
    identity = await log_in(worker)
    assert identity is not None
    await settled(worker)
    [after] = desk.held()
    assert set(after) == {ARGON2ID, SCRAM_SHA_256, HMAC_MD5}
    assert after[ARGON2ID].startswith(b"$argon2id$v=19$m=8,t=1,p=1$")
    record = parse_record(after[SCRAM_SHA_256].decode())
    assert (record.salt, record.iterations) == desk.account()
    assert record.stored_key == stored_key(PASSWORD.encode(), record.salt, record.iterations)
    [event] = desk.renewed
    assert (event.login, event.credential, event.scheme) == (TIM, identity.credential, "BLF-CRYPT")
    assert list(event.verifiers) == sorted(after)
    assert PASSWORD not in repr(event)
    # It works as before, and nothing more is to be done.
    assert await log_in(worker, "wrong") is None
    again = await log_in(worker)
    assert again is not None
    assert again.credential == identity.credential
    await settled(worker)
    assert len(desk.renewed) == 1


async def test_it_comes_about_once_whoever_brings_the_password_and_however_often(desk: Desk) -> None:
    desk.take(f"{TIM}:{bcrypt(PASSWORD)}\n")
    workers = [desk.worker(), desk.worker()]
    found = await asyncio.gather(*[log_in(each) for each in workers * 10])
    assert all(found)
    for each in workers:
        await settled(each)
    assert len(desk.renewed) == 1
    assert all([await log_in(each) for each in workers])


class Between:
    """A store in front of which something happens right before a renewal is written down."""

    def __init__(self, store: RenewingStore, act: Callable[[], object]) -> None:
        self.store, self.act = store, act
        self.answers: list[bool] = []

    async def renew(self, renewal: Renewal) -> bool:
        self.act()
        self.answers.append(await self.store.renew(renewal))
        return self.answers[-1]


async def renew_after(desk: Desk, act: Callable[[], object], **options: Any) -> list[bool]:
    """Log in, and let *act* happen before what came of it is written down."""
    worker = desk.worker(**options)
    assert worker.renewals is not None
    store = desk.store(options.get("argon2", CHEAP))
    account = await store.find(TIM)
    assert account is not None
    between = Between(store, act)
    worker.renewals.ask(between, account, account.credentials[0], Secret(PASSWORD.encode()))
    await settled(worker)
    store.close()
    return between.answers


async def test_what_was_revoked_meanwhile_stays_as_it_is(desk: Desk) -> None:
    desk.take(f"{TIM}:{bcrypt(PASSWORD)}\n")
    before = desk.held()
    [row] = list_credentials(desk.book.database)
    assert await renew_after(desk, lambda: revoke_credential(desk.book.database, row.id, now=1.9e9)) == [False]
    assert desk.held() == before
    assert not desk.renewed
    assert await log_in(desk.worker()) is None


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM accounts",
        "UPDATE accounts SET salt = :octets",
        "UPDATE accounts SET iterations = 5000",
        "UPDATE verifiers SET value = :octets",
        "DELETE FROM verifiers",
    ],
)
async def test_what_was_changed_meanwhile_stays_as_it_was_made(desk: Desk, change: str) -> None:
    desk.take(f"{TIM}:{bcrypt(PASSWORD)}\n")

    def act() -> None:
        with desk.book.database.writing() as connection:
            connection.execute(text(change), {"octets": b"A"} if ":octets" in change else {})

    assert await renew_after(desk, act) == [False]
    assert not any(ARGON2ID in each for each in desk.held())
    assert not desk.renewed


async def test_a_database_that_cannot_be_written_costs_no_login(desk: Desk) -> None:
    desk.take(f"{TIM}:{bcrypt(PASSWORD)}\n")
    worker = desk.worker()

    class Away:
        async def renew(self, renewal: Renewal) -> bool:
            from gatepost.errors import StoreUnavailable

            raise StoreUnavailable("away")

    account = await desk.store().find(TIM)
    assert account is not None
    assert worker.renewals is not None
    worker.renewals.ask(Away(), account, account.credentials[0], Secret(PASSWORD.encode()))
    await settled(worker)
    assert not desk.renewed
    assert await log_in(worker) is not None
    await settled(worker)
    assert len(desk.renewed) == 1


async def test_who_may_not_come_in_renews_nothing(desk: Desk) -> None:
    desk.take(f"{TIM}:{bcrypt(PASSWORD)}::::::allow_nets=198.51.100.0/24\n")
    worker = desk.worker()
    assert await log_in(worker) is None
    await settled(worker)
    assert set(desk.held()[0]) == {HASH}


async def test_what_a_hash_does_not_look_at_must_not_become_the_password(desk: Desk) -> None:
    long = "x" * 72
    desk.take(f"{TIM}:{bcrypt(long)}\n")
    worker = desk.worker()
    assert await log_in(worker, long + " and a slip of the keyboard") is not None
    await settled(worker)
    assert set(desk.held()[0]) == {HASH}
    assert await log_in(worker, long) is not None
    await settled(worker)
    assert ARGON2ID in desk.held()[0]


async def test_the_prepared_form_is_what_is_kept(desk: Desk) -> None:
    # One letter in two ways of writing; the other program took what it was given.
    desk.take(f"{TIM}:{bcrypt('pässword')}\n")
    worker = desk.worker()
    assert await log_in(worker, "pa\u0308ssword") is not None
    await settled(worker)
    [held] = desk.held()
    salt, iterations = desk.account()
    assert parse_record(held[SCRAM_SHA_256].decode()).stored_key == stored_key("pässword".encode(), salt, iterations)


async def test_imported_states_of_cram_md5_go_where_it_is_off(desk: Desk) -> None:
    from gatepost.sasl.hmac_md5 import states

    octets = states(PASSWORD.encode())
    desk.take(f"{TIM}:{{CRAM-MD5}}{(octets[16:] + octets[:16]).hex()}\n")
    assert set(desk.held()[0]) == {HASH, HMAC_MD5}
    worker = desk.worker(mechanisms=("PLAIN", "LOGIN"))
    assert await log_in(worker) is not None
    await settled(worker)
    assert set(desk.held()[0]) == {ARGON2ID}


async def test_argon2id_of_another_cost_is_other_work_and_made_anew(desk: Desk) -> None:
    dear = Argon2(memory_bytes=16 * 1024, passes=2, lanes=1)
    rules = Rules(("PLAIN", "LOGIN"), {"submission": ("PLAIN", "LOGIN")}, CHEAP)
    for login in (TIM, "ann@example.org"):
        desk.book.account(login)
        desk.book.credential(login, chosen=PASSWORD, rules=rules, force=True)
    old = desk.store(CHEAP)
    assert dict((await old.survey(0.0)).work) == {Work(argon2=True): 2}
    old.close()
    worker = desk.worker(argon2=dear, mechanisms=("PLAIN", "LOGIN"))
    store = desk.store(dear)
    likeness = "{ARGON2ID}$argon2id$v=19$m=8,t=1,p=1$" + "A" * 22 + "$" + "A" * 43
    assert dict((await store.survey(0.0)).work) == {Work(other=likeness): 2}
    await worker.refresh()
    assert await log_in(worker, "wrong") is None
    assert await log_in(worker) is not None
    await settled(worker)
    assert set(desk.held()[0]) == {ARGON2ID}
    assert desk.held()[0][ARGON2ID].startswith(b"$argon2id$v=19$m=16,t=2,p=1$")
    assert dict((await store.survey(0.0)).work) == {Work(other=likeness): 1, Work(argon2=True): 1}
    assert await log_in(worker) is not None
    await settled(worker)
    assert [each.scheme for each in desk.renewed] == ["ARGON2ID"]
    store.close()


async def test_hashes_of_other_programs_are_counted_by_their_likeness(desk: Desk) -> None:
    lines = {f"user{number}": bcrypt("x") for number in range(3)} | {"ann": made.apr_md5_crypt.hash("x")}
    desk.take("".join(f"{login}:{text}\n" for login, text in lines.items()), format="htpasswd")
    store = desk.store(CHEAP)
    survey = await store.survey(0.0)
    assert dict(survey.work) == {
        Work(other="{BLF-CRYPT}$2b$04$" + "." * 53): 3,
        Work(other="{APR1}$apr1$" + "." * 8 + "$" + "." * 22): 1,
    }
    assert survey.lacking[SCRAM_SHA_256] == {frozenset()}
    store.close()


async def test_a_higher_count_is_taken_at_the_next_password(desk: Desk) -> None:
    desk.book.account(TIM)
    _, secret = desk.book.credential(TIM)
    worker = desk.worker(iterations=5000)
    assert await log_in(worker, secret.reveal().decode()) is not None
    await settled(worker)
    assert desk.account()[1] == 5000
    [held] = desk.held()
    assert {parse_record(held[each].decode()).iterations for each in held if each.startswith("SCRAM")} == {5000}
    assert not any("next" in each for each in held)
    assert await log_in(worker, secret.reveal().decode()) is not None
    assert await log_in(worker, "wrong") is None
    await settled(worker)
    assert len(desk.renewed) == 1
    # A lower one is taken by nobody.
    lower = desk.worker(iterations=4096)
    assert await log_in(lower, secret.reveal().decode()) is not None
    await settled(lower)
    assert desk.account()[1] == 5000


async def test_the_records_of_an_account_move_together(desk: Desk) -> None:
    desk.book.account(TIM)
    secrets = [desk.book.credential(TIM)[1].reveal().decode() for _ in range(2)]
    gone, gone_secret = desk.book.credential(TIM)
    revoke_credential(desk.book.database, gone.id, now=1.9e9)
    worker = desk.worker(iterations=5000)
    before = desk.account()
    for _ in range(3):
        assert await log_in(worker, secrets[0]) is not None
        await settled(worker)
    assert desk.account() == before
    assert len(desk.renewed) == 1
    assert await log_in(worker, secrets[1]) is not None
    await settled(worker)
    assert desk.account()[1] == 5000
    for each in secrets:
        assert await log_in(worker, each) is not None
    assert await log_in(worker, gone_secret.reveal().decode()) is None
    assert not any("next" in scheme for each in desk.held() for scheme in each)
    records = {
        (parse_record(value.decode()).salt, parse_record(value.decode()).iterations)
        for each in desk.held()
        for scheme, value in each.items()
        if scheme.startswith("SCRAM")
    }
    assert records == {desk.account()}


async def test_an_account_moves_once_what_held_it_back_was_revoked(desk: Desk) -> None:
    desk.book.account(TIM)
    _, secret = desk.book.credential(TIM)
    other, _ = desk.book.credential(TIM)
    worker = desk.worker(iterations=5000)
    assert await log_in(worker, secret.reveal().decode()) is not None
    await settled(worker)
    assert desk.account()[1] == 4096
    revoke_credential(desk.book.database, other.id, now=1.9e9)
    assert await log_in(worker, secret.reveal().decode()) is not None
    await settled(worker)
    assert desk.account()[1] == 5000


async def test_a_canary_holds_its_account_back_and_nothing_is_made_twice_for_it(desk: Desk) -> None:
    desk.book.account(TIM)
    _, secret = desk.book.credential(TIM)
    desk.book.credential(TIM, canary=True)
    worker = desk.worker(iterations=5000)
    before = desk.account()
    for _ in range(3):
        assert await log_in(worker, secret.reveal().decode()) is not None
        await settled(worker)
    # With another salt or count nobody would notice the canary any more.
    assert desk.account() == before
    assert len(desk.renewed) == 1


async def test_an_imported_record_takes_our_salt_with_the_higher_count(desk: Desk) -> None:
    from gatepost.sasl.scram import derive

    record = derive(PASSWORD.encode(), bytes(range(16)), 4096).removeprefix("SCRAM-SHA-256$")
    desk.take(f"{TIM}:{{SCRAM-SHA-256}}{record.replace('$', ',').replace(':', ',')}\n")
    assert desk.account() == (bytes(range(16)), 4096)
    worker = desk.worker(iterations=5000)
    assert await log_in(worker) is not None
    await settled(worker)
    assert desk.account() == (worker.decoy_account(TIM).salt, 5000)
    assert await log_in(worker) is not None


async def test_the_log_is_moved_when_many_have_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(Book(tmp_path, mechanisms=MECHANISMS))
    monkeypatch.setattr("gatepost.identity.stores.sqlite_renewal._LOG_BYTES", 100_000)
    desk.take("".join(f"user{number}:{bcrypt('x')}\n" for number in range(30)))
    worker = desk.worker()
    sizes = []
    for number in range(30):
        assert await log_in(worker, "x", f"user{number}") is not None
        await settled(worker)
        sizes.append(desk.book.path.with_name("accounts.db-wal").stat().st_size)
    assert len(desk.renewed) == 30
    assert max(sizes) < 200_000
    desk.close()


async def test_too_many_do_not_wait_and_nothing_is_left_of_them(desk: Desk) -> None:
    desk.take(f"{TIM}:{bcrypt(PASSWORD)}\n")
    worker = desk.worker()
    assert worker.renewals is not None
    store = desk.store()
    account = await store.find(TIM)
    assert account is not None
    import dataclasses

    for number in range(1000):
        credential = dataclasses.replace(account.credentials[0], id=f"number-{number}")
        worker.renewals.ask(store, account, credential, Secret(PASSWORD.encode()))
    assert len(worker.renewals._waiting) == 256
    worker.renewals.close()
    await asyncio.sleep(0)
    assert not worker.renewals._waiting
    store.close()
