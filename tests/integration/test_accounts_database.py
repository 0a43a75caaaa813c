"""The accounts database on disk: made, migrated, written by several at once, read while it changes, in trouble."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from gatepost.errors import ConfigError, StoreUnavailable
from gatepost.identity.accounts import (
    AccountProblem,
    add_account,
    list_accounts,
    remove_account,
    set_state,
    show_account,
)
from gatepost.identity.credentials import (
    Rules,
    list_credentials,
    revoke_credential,
    show_credential,
)
from gatepost.identity.database import Database
from gatepost.identity.migrate import upgrade
from gatepost.identity.schema import METADATA
from gatepost.identity.stores.sqlite import CREDENTIAL_LIMIT, SqliteStore, is_current, obstacles, withheld
from gatepost.identity.stores.sqlite import _open as open_to_read
from identities import ALL, CHEAP, KEYS, Book


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    made = Book(tmp_path)
    yield made
    made.store.close()


def test_a_database_is_made_for_its_owner_only(book: Book) -> None:
    book.account("tim")
    assert book.path.stat().st_mode & 0o777 == 0o600
    assert is_current(book.path)
    upgrade(book.database)
    assert [each.login for each in list_accounts(book.database)] == ["tim"]


def test_the_migrations_make_the_tables_of_the_schema(book: Book) -> None:
    engine = sqlalchemy.create_engine(f"sqlite:///{book.path}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    engine.dispose()


def test_several_may_make_it_at_once(tmp_path: Path) -> None:
    path = tmp_path / "accounts.db"
    makers = [
        subprocess.Popen([sys.executable, "-m", "gatepost.identity.migrate", str(path)], stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    assert [(maker.communicate()[1], maker.returncode) for maker in makers] == [(b"", 0)] * 4
    assert is_current(path)


def test_trouble_in_making_it_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="make its folder"):
        upgrade(Database(tmp_path / "nowhere" / "accounts.db"))
    path = tmp_path / "accounts.db"
    path.write_bytes(b"this is no database, " * 100)
    with pytest.raises(StoreUnavailable, match="not a database"):
        upgrade(Database(path))
    done = subprocess.run(
        [sys.executable, "-m", "gatepost.identity.migrate", str(path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, str(path) in done.stderr, "Traceback" in done.stderr) == (1, True, False)


async def test_a_schema_of_another_version_is_refused(book: Book) -> None:
    await book.store.survey(0)
    with sqlite3.connect(book.path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    assert not is_current(book.path)
    with pytest.raises(StoreUnavailable, match="9999"):
        await SqliteStore(book.path).find("tim")
    with pytest.raises(ConfigError, match="another version"):
        upgrade(book.database)


async def test_a_store_that_is_not_there_yet_is_trouble_and_then_works(tmp_path: Path) -> None:
    path = tmp_path / "accounts.db"
    store = SqliteStore(path)
    for ask in (store.find("tim"), store.has_changed(), store.survey(0)):
        with pytest.raises(StoreUnavailable):
            await ask
    path.touch()
    with pytest.raises(StoreUnavailable, match="no schema"):
        await store.find("tim")
    assert not is_current(path)
    book = Book(tmp_path)
    book.account("tim")
    assert await store.find("tim") is not None
    store.close()


async def test_a_change_is_noticed_that_came_while_the_file_was_closed(tmp_path: Path) -> None:
    book = Book(tmp_path)
    book.account("tim")
    assert await book.store.has_changed()
    await book.store.survey(0)
    assert not await book.store.has_changed()
    book.store.close()
    book.account("ann")
    assert await book.store.has_changed()
    book.store.close()


async def test_a_database_put_in_place_of_another_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "backup").mkdir()
    book, backup = Book(tmp_path), Book(tmp_path / "backup")
    book.account("tim")
    backup.account("ann")
    await book.store.survey(0)
    assert await book.store.find("tim") is not None
    book.store.close()
    assert await book.store.find("tim") is not None
    os.replace(backup.path, book.path)
    for suffix in ("-wal", "-shm"):
        Path(f"{book.path}{suffix}").unlink(missing_ok=True)
    assert await book.store.has_changed()
    assert await book.store.find("tim") is None
    assert await book.store.find("ann") is not None
    book.store.close()


async def test_what_somebody_else_wrote_is_trouble_of_the_store(book: Book) -> None:
    book.account("tim")
    with sqlite3.connect(book.path) as connection:
        connection.execute("""UPDATE accounts SET senders = '["not an address"]'""")
    connection.close()
    with pytest.raises(StoreUnavailable, match="did not write"):
        await book.store.find("tim")


async def test_a_broken_database_is_trouble(book: Book) -> None:
    with sqlite3.connect(book.path) as connection:
        connection.execute("DROP TABLE verifiers")
    connection.close()
    book.account("tim")
    with pytest.raises(StoreUnavailable):
        await book.store.find("tim")
    with pytest.raises(StoreUnavailable):
        await book.store.survey(0)
    with pytest.raises(StoreUnavailable):
        obstacles(book.path, "SCRAM-SHA-256", "submission", 0)
    with pytest.raises(StoreUnavailable):
        list_credentials(Database(book.path.with_name("nowhere.db")))


async def test_a_reader_neither_blocks_writers_nor_waits_for_them(book: Book) -> None:
    book.account("tim")
    assert await book.store.find("tim") is not None
    with book.database.writing() as connection:
        connection.execute(sqlalchemy.text("UPDATE accounts SET state = 'disabled'"))
        account = await asyncio.wait_for(book.store.find("tim"), 60)
        assert account is not None
        assert account.is_active
    account = await book.store.find("tim")
    assert account is not None
    assert not account.is_active


@contextlib.contextmanager
def alone(path: Path, seconds: float = 0.3) -> Iterator[None]:
    """Have the file alone for a moment, as whoever opens it first or closes it last has it."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("BEGIN EXCLUSIVE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        open_to_read(path, patience=0.0)
    letting_go = threading.Timer(seconds, connection.close)
    letting_go.start()
    try:
        yield
    finally:
        letting_go.join()


def test_who_looks_while_another_opens_or_closes_the_file_waits_for_that(book: Book) -> None:
    """A server that starts while the one before it ends must not take the closed file for a broken one."""
    book.account("tim")
    with alone(book.path):
        assert withheld(book.path, {"submission": ALL}, 0) == []
    with alone(book.path):
        assert is_current(book.path)


async def test_a_login_and_a_survey_wait_without_stopping_others(book: Book) -> None:
    book.account("tim")
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    for look in (lambda: book.store.find("tim"), lambda: book.store.survey(0), book.store.has_changed):
        book.store.close()
        with alone(book.path):
            running = asyncio.create_task(others())
            before = turns
            assert await look()
            running.cancel()
        assert turns > before + 10


async def test_whoever_brings_a_certificate_waits_for_the_file_as_others_do(book: Book) -> None:
    book.account("tim")
    with alone(book.path):
        assert await book.store.holder("0" * 64) is None


async def test_who_keeps_the_file_is_trouble_after_some_seconds(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatepost.identity.stores.sqlite._PATIENCE", 0.2)
    book.account("tim")
    with contextlib.closing(sqlite3.connect(book.path, isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnavailable, match="locked"):
            await book.store.find("tim")
    assert await book.store.find("tim") is not None


async def test_a_change_that_fails_leaves_nothing(book: Book) -> None:
    with pytest.raises(ZeroDivisionError), book.database.writing() as connection:
        connection.execute(sqlalchemy.text("DELETE FROM accounts"))
        1 / 0  # noqa: B018
    book.account("tim")
    assert await book.store.find("tim") is not None


async def test_the_log_is_moved_by_writers_and_stays_small(book: Book) -> None:
    book.account("tim")
    assert await book.store.find("tim") is not None  # an open reader keeps the log in being
    for number in range(60):
        set_state(book.database, "tim", active=bool(number % 2), reason=str(number))
    assert Path(f"{book.path}-wal").stat().st_size < 100_000
    account = await book.store.find("tim")
    assert account is not None
    assert account.state_reason == "59"


def test_writers_at_once_lose_nothing(book: Book) -> None:
    program = (
        "import sys, time; from pathlib import Path; from gatepost.identity.accounts import add_account;"
        "from gatepost.identity.database import Database; from gatepost.state.keys import Keys;"
        "from gatepost.model.identity import Secret; keys = Keys(Secret(bytes(32)));"
        "[add_account(Database(Path(sys.argv[1])), keys, f'user{sys.argv[2]}-{n}', now=1.0) for n in range(15)]"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", program, str(book.path), str(number)], stderr=subprocess.PIPE)
        for number in range(3)
    ]
    assert [(each.communicate()[1], each.returncode) for each in writers] == [(b"", 0)] * 3
    assert len(list_accounts(book.database)) == 45


async def test_an_account_has_a_bounded_number_of_credentials(book: Book) -> None:
    book.account("tim")
    for _ in range(50):
        book.credential("tim")
    with pytest.raises(AccountProblem, match="revoke some first"):
        book.credential("tim")
    for row in list_credentials(book.database, "tim")[:45]:
        revoke_credential(book.database, row.id, now=book.clock.now())
    for _ in range(40):
        book.credential("tim")
    account = await book.store.find("tim")
    assert account is not None
    assert len(account.credentials) == CREDENTIAL_LIMIT
    assert sum(each.revoked is None for each in account.credentials) == 45


def test_accounts_are_added_listed_shown_and_removed(book: Book) -> None:
    book.account("Tim@Example.org")
    row = show_account(book.database, "TIM@example.ORG")
    assert (row.login, row.state, row.senders, row.credentials) == (
        "tim@example.org",
        "active",
        ("tim@example.org",),
        0,
    )
    with pytest.raises(AccountProblem, match="already"):
        book.account("tim@example.org")
    book.account("printer")
    assert show_account(book.database, "printer").senders == ()
    assert [each.login for each in list_accounts(book.database)] == ["printer", "tim@example.org"]
    added, _ = book.credential("printer")
    assert remove_account(book.database, "printer").credentials == 1
    with pytest.raises(AccountProblem, match="no such credential"):
        show_credential(book.database, added.id)
    for ask in (show_account, remove_account):
        with pytest.raises(AccountProblem, match="no such account"):
            ask(book.database, "printer")
    with pytest.raises(AccountProblem, match="no such account"):
        set_state(book.database, "printer", active=True)
    with pytest.raises(AccountProblem, match="no such account"):
        list_credentials(book.database, "printer")


@pytest.mark.parametrize("login", ["", "a\0b", "x" * 300])
def test_a_login_that_is_none_is_refused(book: Book, login: str) -> None:
    with pytest.raises(AccountProblem, match="cannot be a login"):
        book.account(login)


@pytest.mark.parametrize("sender", ["tim", "", "tim@", "*@*", "a b@example.org"])
def test_a_sender_that_is_none_is_refused(book: Book, sender: str) -> None:
    with pytest.raises(AccountProblem, match="cannot be a sender"):
        book.account("tim", senders=[sender])


def test_a_login_that_looks_like_an_address_but_is_none_needs_a_sender(book: Book) -> None:
    with pytest.raises(AccountProblem, match="cannot be a sender"):
        book.account("tim@@example.org")
    book.account("tim@@example.org", senders=["tim@example.org"])


@pytest.mark.parametrize(
    ("only", "problem"),
    [
        ({"mechanisms": ["NTLM"]}, "not switched on"),
        ({"mechanisms": ["XOAUTH2"]}, "needs no credential"),
        ({"mechanisms": ["OAUTHBEARER"]}, "needs no credential"),
        ({"listeners": ["nowhere"]}, "no such listener; there are submission, devices"),
        ({"networks": ["192.0.2.7/24"]}, "cannot be a network"),
        ({"networks": ["example.org"]}, "cannot be a network"),
        ({"senders": ["tim"]}, "cannot be a sender"),
        ({"expires": 1.0}, "over already"),
        ({"chosen": "short"}, "weak"),
        ({"chosen": "a\0bcdefghijklmno"}, "cannot be used"),
        ({"chosen": "x" * 400}, "cannot be used"),
        ({"chosen": "my login is tim@example.org"}, "weak"),
    ],
)
def test_what_a_credential_cannot_be_is_refused(book: Book, only: dict[str, object], problem: str) -> None:
    book.account("tim@example.org")
    with pytest.raises(AccountProblem, match=problem):
        book.credential("tim@example.org", **only)  # type: ignore[arg-type]
    assert list_credentials(book.database) == []
    with pytest.raises(AccountProblem, match="no such account"):
        book.credential("nobody")


def test_one_chosen_secret_stands_and_none_equals_another(book: Book) -> None:
    book.account("tim")
    _, made = book.credential("tim")
    with pytest.raises(AccountProblem, match="has the same secret"):
        book.credential("tim", chosen=made.reveal().decode())
    first, _ = book.credential("tim", chosen="correct horse battery", expires=book.clock.time + 100)
    with pytest.raises(AccountProblem, match=f"revoke {first.id}"):
        book.credential("tim", chosen="another good secret")
    book.clock.time += 100
    with pytest.raises(AccountProblem, match=f"{first.id} has the same secret"):
        book.credential("tim", chosen="correct horse battery")
    book.credential("tim", chosen="another good secret")
    revoke_credential(book.database, first.id, now=book.clock.now())
    with pytest.raises(AccountProblem, match="revoked already"):
        revoke_credential(book.database, first.id, now=book.clock.now())
    states = [each.state(book.clock.now()) for each in list_credentials(book.database, "tim")]
    assert states == ["active", "revoked", "active"]


def test_a_chosen_secret_without_scram_is_compared_by_its_argon2id_hash(tmp_path: Path) -> None:
    book = Book(tmp_path, mechanisms=("PLAIN",))
    book.account("tim")
    first, _ = book.credential("tim", chosen="correct horse battery", expires=book.clock.time + 100)
    assert first.schemes == ("ARGON2ID",)
    book.clock.time += 200
    assert first.state(book.clock.now()) == "expired"
    with pytest.raises(AccountProblem, match="has the same secret"):
        book.credential("tim", chosen="correct horse battery")


def test_what_would_withdraw_a_mechanism_needs_force(book: Book) -> None:
    book.account("tim")
    lacking = "SCRAM-SHA-512 on {0}, SCRAM-SHA-1 on {0}, CRAM-MD5 on {0}"
    with pytest.raises(AccountProblem, match=f"for {lacking.format('submission')}, {lacking.format('devices')}"):
        book.credential("tim", mechanisms=["PLAIN"])
    with pytest.raises(AccountProblem, match="SCRAM-SHA-256 on devices, SCRAM-SHA-1 on devices, CRAM-MD5 on devices"):
        book.credential("tim", mechanisms=["PLAIN"], listeners=["devices"], chosen="correct horse battery")
    everywhere = {"submission": ALL, "devices": ALL}
    assert withheld(book.path, everywhere, book.clock.now()) == []
    row, _ = book.credential("tim", mechanisms=["PLAIN"], listeners=["devices"], label="old fax", force=True)
    assert row.schemes == ("SCRAM-SHA-256",)
    for found in withheld(book.path, everywhere, book.clock.now()):
        assert [(each.account, each.credential, each.label) for each in found.obstacles] == [("tim", row.id, "old fax")]
    assert {(each.mechanism, each.listener) for each in withheld(book.path, everywhere, book.clock.now())} == {
        ("SCRAM-SHA-512", "devices"),
        ("SCRAM-SHA-1", "devices"),
        ("CRAM-MD5", "devices"),
    }
    assert withheld(book.path, {"devices": ("PLAIN",)}, book.clock.now()) == []
    # It is withdrawn already: another one takes nothing away.
    book.credential("tim", mechanisms=["LOGIN"], listeners=["devices"])
    with pytest.raises(AccountProblem, match="CRAM-MD5 on submission,"):
        book.credential("tim", mechanisms=["LOGIN"])
    # Somewhere else, where nothing needs the verifier, nothing is withdrawn.
    rules = Rules(ALL, {"plain": ("PLAIN", "LOGIN")}, CHEAP)
    book.credential("tim", mechanisms=["LOGIN"], rules=rules)


def test_root_makes_the_database_for_the_owner_of_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", lambda _, user, group: given.append((user, group)))
    Database(tmp_path / "accounts.db").make()
    status = tmp_path.stat()
    assert given == [(status.st_uid, status.st_gid)]


def test_the_salt_of_an_account_is_that_of_its_decoy(book: Book) -> None:
    book.account("tim")
    with book.database.reading() as connection:
        salt = connection.execute(sqlalchemy.text("SELECT salt FROM accounts")).scalar_one()
    remove_account(book.database, "tim")
    assert book.authority().decoy_account("tim").salt == salt
    add_account(book.database, KEYS, "ann", now=1.0)
