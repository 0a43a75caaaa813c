"""A PostgreSQL server that stops, hangs, is full, comes back: nobody hears a wrong no, and all goes on by itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, Self

import asyncpg
import pytest

from gatepost.errors import StoreUnavailable
from gatepost.identity.accounts import list_accounts
from gatepost.identity.migrate import upgrade
from gatepost.identity.postgres_database import PostgresDatabase
from gatepost.identity.stores.postgres import PostgresStore
from gatepost.identity.stores.postgres_pool import PostgresPool
from gatepost.identity.stores.postgres_server import PostgresServer, Refused, connect
from gatepost.model.identity import Secret
from identities import PostgresBook
from private_postgres import PASSWORD, PrivatePostgres
from servers import Authority

MINUTE = 60.0


@pytest.fixture
async def book(accounts_server: PostgresServer) -> AsyncIterator[PostgresBook]:
    made = PostgresBook(accounts_server)
    made.account("tim")
    yield made
    made.store.close()


@pytest.fixture
async def own(own_postgres: PrivatePostgres) -> AsyncIterator[PostgresBook]:
    """Return a book on a server that may be stopped."""
    made = PostgresBook(own_postgres.server(own_postgres.database_with_tables()))
    made.account("tim")
    yield made
    made.store.close()


async def back(store: PostgresStore) -> None:
    """Wait until the store can be asked again."""
    async with asyncio.timeout(MINUTE):
        while True:
            try:
                assert await store.find("tim") is not None
                return
            except StoreUnavailable:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
async def test_a_server_that_stops_is_away_and_is_noticed_when_it_is_back(
    own: PostgresBook, own_postgres: PrivatePostgres, how: signal.Signals
) -> None:
    store = own.store
    assert await store.find("tim") is not None
    await asyncio.to_thread(own_postgres.stop, how)
    for ask in (store.find("tim"), store.find("nobody"), store.has_changed(), store.survey(0.0)):
        with pytest.raises(StoreUnavailable):
            await ask
    with pytest.raises(StoreUnavailable):
        list_accounts(own.database)
    await asyncio.to_thread(own_postgres.start)
    await back(store)
    assert await store.has_changed()
    await store.survey(0.0)
    assert not await store.has_changed()


async def test_who_only_looks_for_changes_notices_that_it_is_back(
    own: PostgresBook, own_postgres: PrivatePostgres
) -> None:
    await own.store.survey(0.0)
    await asyncio.to_thread(own_postgres.stop)
    with pytest.raises(StoreUnavailable):
        await own.store.has_changed()
    await asyncio.to_thread(own_postgres.start)
    async with asyncio.timeout(MINUTE):
        while True:
            try:
                assert not await own.store.has_changed()
                break
            except StoreUnavailable:
                await asyncio.sleep(0.05)


async def test_a_restart_between_two_logins_is_not_felt(own: PostgresBook, own_postgres: PrivatePostgres) -> None:
    many = [own.store.find("tim") for _ in range(30)]
    assert None not in await asyncio.gather(*many)
    await asyncio.to_thread(own_postgres.stop)
    await asyncio.to_thread(own_postgres.start)
    many = [own.store.find("tim") for _ in range(30)]
    assert None not in await asyncio.gather(*many)


async def test_connections_that_an_administrator_ends_are_replaced(
    book: PostgresBook, postgres: PrivatePostgres
) -> None:
    assert await book.store.find("tim") is not None
    ended = await asyncio.to_thread(
        postgres.tell,
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{book.server.database}'",
    )
    assert ended
    assert await book.store.find("tim") is not None


async def test_a_server_that_hangs_is_away_in_time_and_then_at_once(
    own: PostgresBook, own_postgres: PrivatePostgres
) -> None:
    store = PostgresStore(own_postgres.server(own.server.database, timeout=2.0))
    assert await store.find("tim") is not None
    pids = [row[0] for row in own_postgres.tell("SELECT pid FROM pg_stat_activity WHERE application_name = 'gatepost'")]
    assert own_postgres._process is not None
    stopped = [own_postgres._process.pid, *pids]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable, match="no answer in time"):
            await store.find("tim")
        # Nobody waits now, but for the one who tries from time to time.
        answers = []
        for _ in range(20):
            began = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await store.find("tim")
            answers.append(time.monotonic() - began)
        assert sum(each > 0.5 for each in answers) <= 10
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    await back(store)
    store.close()


async def test_a_table_that_somebody_locks_is_trouble_that_passes(book: PostgresBook) -> None:
    store = PostgresStore(replace(book.server, timeout=2.0))
    assert await store.find("tim") is not None
    with book.database.writing() as connection:
        connection.exec_driver_sql("LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreUnavailable):
            await store.find("tim")
    await back(store)
    store.close()


async def test_a_server_without_room_is_away_and_what_is_open_goes_on(own: PostgresBook, own_postgres) -> None:
    store = PostgresStore(own_postgres.server(own.server.database), connections=8)
    assert await store.find("tim") is not None
    others: list[Any] = []
    with pytest.raises(StoreUnavailable, match=r"too many|remaining connection slots"):
        for _ in range(100):
            others.append(await connect(own_postgres.server(own.server.database)))
    # One connection is open: all are served by it, one after the other.
    assert None not in await asyncio.gather(*(store.find("tim") for _ in range(30)))
    late = PostgresStore(own_postgres.server(own.server.database))
    with pytest.raises(StoreUnavailable):
        await late.find("tim")
    for each in others:
        await each.close()
    await back(late)
    await back(store)
    late.close()
    store.close()


async def test_so_many_connections_at_most_and_so_many_questions_wait(
    book: PostgresBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatepost.identity.stores.postgres_pool._WAITING_PER_CONNECTION", 8)
    pool = PostgresPool(book.server, 2)
    gate = asyncio.Event()

    async def work(connection: asyncpg.Connection[Any]) -> int:
        await gate.wait()
        return int(await connection.fetchval("SELECT pg_backend_pid()"))

    asked = [asyncio.create_task(pool.run(work, MINUTE)) for _ in range(2)]
    async with asyncio.timeout(MINUTE):
        while len(pool._used) < 2:
            await asyncio.sleep(0.01)
    asked += [asyncio.create_task(pool.run(work, MINUTE)) for _ in range(2 * 8)]
    async with asyncio.timeout(MINUTE):
        while len(pool._waiting) < 2 * 8:
            await asyncio.sleep(0.01)
    with pytest.raises(StoreUnavailable, match="too many questions"):
        await pool.run(work, MINUTE)
    gate.set()
    assert len(set(await asyncio.gather(*asked))) <= 2
    pool.close()


async def test_who_goes_away_in_the_middle_costs_no_connection(book: PostgresBook) -> None:
    pool = PostgresPool(book.server, 1)
    pid = await pool.run(lambda connection: connection.fetchval("SELECT pg_backend_pid()"), MINUTE)
    for _ in range(20):
        asking = asyncio.create_task(pool.run(lambda connection: connection.fetchval("SELECT 1"), MINUTE))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert await pool.run(lambda connection: connection.fetchval("SELECT pg_backend_pid()"), MINUTE) == pid
    pool.close()


async def test_a_crowd_that_comes_back_at_once_is_served(book: PostgresBook) -> None:
    store = PostgresStore(book.server)
    assert None not in await asyncio.gather(*(store.find("tim") for _ in range(500)))
    store.close()


async def test_without_its_driver_it_is_told_what_to_install(
    book: PostgresBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(StoreUnavailable, match=r"pip install 'gatepost\[postgres\]'"):
        list_accounts(book.database)


async def test_what_stood_unused_for_long_is_replaced(book: PostgresBook, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = PostgresPool(book.server, 1)
    pid = await pool.run(lambda connection: connection.fetchval("SELECT pg_backend_pid()"), MINUTE)
    monkeypatch.setattr("gatepost.identity.stores.postgres_pool._IDLE_SECONDS", 0.0)
    await asyncio.sleep(0.01)
    assert await pool.run(lambda connection: connection.fetchval("SELECT pg_backend_pid()"), MINUTE) != pid
    pool.close()


async def test_the_store_cannot_write(book: PostgresBook) -> None:
    pool = PostgresPool(book.server, 1)
    with pytest.raises(StoreUnavailable, match="read-only"):
        await pool.run(lambda connection: connection.execute("DELETE FROM accounts"), MINUTE)
    pool.close()
    assert await book.store.find("tim") is not None


async def test_a_server_that_only_reads_is_good_for_logins_and_tells_who_writes(
    book: PostgresBook, postgres: PrivatePostgres
) -> None:
    """As after a failover to a copy."""
    await asyncio.to_thread(
        postgres.tell, f"ALTER DATABASE {book.server.database} SET default_transaction_read_only = on"
    )
    store = PostgresStore(book.server)
    assert await store.find("tim") is not None
    with pytest.raises(StoreUnavailable, match="read-only"):
        await asyncio.to_thread(book.account, "ann")
    store.close()


async def test_tables_of_another_version_are_away_until_they_are_brought_up_to_date(
    book: PostgresBook, postgres: PrivatePostgres
) -> None:
    def set_version(version: str) -> None:
        postgres.tell(f"UPDATE alembic_version SET version_num = '{version}'", database=book.server.database)

    await asyncio.to_thread(set_version, "9999")
    with pytest.raises(StoreUnavailable, match="has schema 9999, and this gatepost reads"):
        await book.store.find("tim")
    empty = postgres.server(postgres.database())
    store = PostgresStore(empty)
    with pytest.raises(StoreUnavailable, match="has no schema"):
        await store.find("tim")
    await asyncio.to_thread(upgrade, PostgresDatabase(empty))
    async with asyncio.timeout(MINUTE):
        while True:
            try:
                assert await store.find("tim") is None
                break
            except StoreUnavailable:
                await asyncio.sleep(0.05)
    store.close()


@pytest.mark.parametrize(
    ("facts", "kind", "problem"),
    [
        ({"password": Secret(b"marked-wrong-password")}, Refused, "password authentication failed"),
        ({"password": None}, Refused, "password"),
        ({"user": "nobody"}, Refused, "password authentication failed"),
        ({"database": "nowhere"}, Refused, "does not exist"),
        ({"host": "/nowhere"}, StoreUnavailable, "No such file"),
    ],
)
async def test_who_is_not_let_in_is_told_why_and_never_with_what(
    postgres: PrivatePostgres, facts: dict[str, Any], kind: type[Exception], problem: str, monkeypatch
) -> None:
    # Neither the environment nor a file in a home folder says anything.
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    monkeypatch.setenv("PGSSLMODE", "disable")
    with pytest.raises(kind, match=problem) as caught:
        await connect(replace(postgres.server("postgres"), **facts))
    assert "marked" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_a_database_that_is_not_in_utf_8_is_refused(postgres: PrivatePostgres) -> None:
    name = postgres.database("template0", "ENCODING 'SQL_ASCII'")
    with pytest.raises(Refused, match="SQL_ASCII"):
        await connect(postgres.server(name))
    postgres.drop(name)


class Stranger:
    """A server that is no PostgreSQL: it says what it was given, whatever it hears."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.heard = b""
        self.talks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self.server = await asyncio.start_server(self._meet, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        await asyncio.wait_for(asyncio.gather(*self.talks), MINUTE)

    def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.talks.append(asyncio.create_task(self._talk(reader, writer)))

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            self.heard += await reader.read(4096)
            writer.write(self.answer)
            self.heard += await reader.read(4096)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let who waits for a server that says nothing more wait briefly."""
    monkeypatch.setattr("gatepost.identity.stores.postgres_server.CONNECT_SECONDS", 1.0)


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize(
    "answer", [b"", b"N", b"SSS", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"E\0\0\0\4", b"S" + bytes(100)]
)
async def test_a_stranger_in_its_place_is_trouble_and_gets_nothing(answer: bytes) -> None:
    async with Stranger(answer) as stranger:
        there = PostgresServer("127.0.0.1", stranger.port, "gatepost", "marked-user", Secret(b"marked-password"))
        with pytest.raises(StoreUnavailable):
            await connect(there)
    assert stranger.heard
    assert b"marked" not in stranger.heard


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize(
    "answer",
    [
        b"R\0\0\0\x08\0\0\0\x07",  # asks for GSSAPI
        b"R\0\0\0\x08\0\0\0\x63",  # asks for what nobody knows
        b"R\0\0\0\x04",
        b"Z" * 40,
        b"R" + b"\xff" * 20,
        # Lets everybody in, and says no more.
        b"R\0\0\0\x08\0\0\0\0S\0\0\0\x19server_encoding\0UTF8\0S\0\0\0\x16server_version\x0015\0Z\0\0\0\x05I",
    ],
)
async def test_nonsense_without_tls_is_trouble_of_the_store(answer: bytes) -> None:
    async with Stranger(answer) as stranger:
        there = PostgresServer("127.0.0.1", stranger.port, "gatepost", "x", Secret(b"y"), has_tls=False, timeout=10.0)
        store = PostgresStore(there)
        with pytest.raises(StoreUnavailable):
            await store.find("tim")
        store.close()


async def test_the_certificate_of_the_server_is_verified(
    postgres: PrivatePostgres, accounts_server: PostgresServer, authority: Authority
) -> None:
    there = replace(accounts_server, host="127.0.0.1")
    good = await connect(replace(there, ca_file=authority.ca))
    assert await good.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") is True
    await good.close()
    with pytest.raises(Refused, match="certificate verify failed"):
        await connect(there)
    with pytest.raises(StoreUnavailable, match=r"IP address mismatch"):
        await connect(replace(there, host="127.0.0.2", ca_file=authority.ca))
    bare = await connect(replace(there, has_tls=False))
    assert await bare.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") is False
    await bare.close()
