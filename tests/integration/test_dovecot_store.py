"""The store that asks Dovecot's auth service: a real one, that answers, holds back, goes away and comes back."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dovecot import Dovecot
from gatepost.config.check import check
from gatepost.config.load import load
from gatepost.errors import StoreUnavailable
from gatepost.identity.store import PasswordStore
from gatepost.identity.stores.dovecot import DovecotStore
from gatepost.identity.stores.dovecot_service import Address
from gatepost.model.identity import Secret
from gatepost.model.peer import Peer, TlsFacts
from gatepost.observe.events import SessionRevoked, StoreAway, StoreBack
from identities import KEYS, Clock, closing
from integration.conftest import LOGIN, SECRET, Start
from integration.test_session import until
from integration.test_several_stores import hello, plain
from pems import make_pems
from servers import free_ports

ANN, ANNS = "ann@example.org", Secret("pässword 2!".encode())
HOME = Peer("192.0.2.7", 40000, "submission", TlsFacts("TLSv1.3", "x", 256))
ABROAD = Peer("::ffff:198.51.100.7", 40000, "submission")

Open = Callable[..., DovecotStore]


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    made = Dovecot(more="auth_default_realm = example.org")
    try:
        # Its passwd-file has colons between fields, so the password is one that cannot stand there in clear.
        hashed = "{SHA256}" + base64.b64encode(hashlib.sha256(ANNS.reveal()).digest()).decode()
        made.user(ANN, hashed, "userdb_gatepost_senders=*@example.org gatepost_senders=ann@example.net")
        made.user("home@example.org", "{PLAIN}x", "allow_nets=192.0.2.0/24")
        made.user("gone@example.org", "{PLAIN}x", "nologin")
        made.user("off@example.org", "{PLAIN}x", "userdb_gatepost_disabled=left gatepost_disabled=left")
        made.user("odd@example.org", "{PLAIN}x", "userdb_gatepost_network=192.0.2.1 gatepost_network=192.0.2.1")
        made.user("token@example.org", "{PLAIN}x", "userdb_gatepost_password=no gatepost_password=no")
        made.start()
        yield made
    finally:
        made.remove()


@pytest.fixture
async def open_store(server: Dovecot) -> AsyncIterator[Open]:
    stores: list[DovecotStore] = []

    def opened(address: Address | None = None, *, has_userdb: bool = True, **options: Any) -> DovecotStore:
        userdb = options.pop("userdb", server.userdb) if has_userdb else None
        options = {"timeout": 60.0, "clock": Clock(), **options}
        clock = options.pop("clock")
        stores.append(DovecotStore(address or server.client, KEYS, clock, userdb=userdb, **options))
        return stores[-1]

    yield opened
    for each in stores:
        each.close()
    await closing()


@pytest.mark.parametrize("has_userdb", [True, False])
async def test_it_checks_passwords_and_says_whose_they_are(open_store: Open, has_userdb: bool) -> None:
    store = open_store(has_userdb=has_userdb)
    assert isinstance(store, PasswordStore)
    checked = await store.check(ANN, ANNS, HOME)
    assert checked is not None
    assert checked.credential is not None
    assert (checked.account.login, checked.credential.id) == (ANN, "password")
    senders = ["*@example.org"] if has_userdb else ["ann@example.net"]
    assert [str(each) for each in checked.account.senders] == senders
    found = await store.find(ANN)
    assert found is not None
    assert (found.senders, found.credentials) == (checked.account.senders, checked.account.credentials)
    wrong = await store.check(ANN, Secret(b"wrong"), HOME)
    assert wrong is not None
    assert wrong.credential is None
    # A wrong password must not make whoever is logged in unknown.
    found = await store.find(ANN)
    assert found is not None
    assert found.credentials
    unknown = await store.check("nobody", ANNS, HOME)
    assert unknown is None if has_userdb else unknown is not None and unknown.credential is None


async def test_without_userdb_a_name_is_known_once_it_has_logged_in_and_never_denied(open_store: Open) -> None:
    store = open_store(has_userdb=False, cache_seconds=0.0)
    with pytest.raises(StoreUnavailable, match="give userdb_socket"):
        await store.find(ANN)
    await store.check(ANN, ANNS, HOME)
    assert await store.find(ANN) is not None
    await store.survey(0.0)
    assert not await store.has_changed()


@pytest.mark.parametrize("has_userdb", [True, False])
async def test_who_may_not_log_in_is_told_no(open_store: Open, has_userdb: bool) -> None:
    store, x = open_store(has_userdb=has_userdb), Secret(b"x")
    for login in ("gone@example.org", "token@example.org"):
        checked = await store.check(login, x, HOME)
        assert checked is not None
        assert checked.credential is None
    checked = await store.check("off@example.org", x, HOME)
    assert checked is not None
    assert (checked.account.is_active, checked.account.state_reason) == (False, "left")
    # A field of ours that is not known may be a restriction.
    with pytest.raises(StoreUnavailable, match="gatepost_network"):
        await store.check("odd@example.org", x, HOME)


async def test_one_user_that_cannot_be_read_does_not_put_dovecot_away_for_all(open_store: Open) -> None:
    store = open_store(cache_seconds=0.0)
    assert await store.find("home@example.org") is not None
    # Nobody needs to know the password for that.
    with pytest.raises(StoreUnavailable, match="gatepost_network"):
        await store.check("odd@example.org", Secret(b"wrong"), HOME)
    assert await store.find("home@example.org") is not None
    await store.survey(0.0)
    # Who is logged in is looked at as always: somebody who was disabled would stay.
    assert not await store.has_changed()


async def test_it_is_told_where_somebody_comes_from_and_a_yes_counts_for_there_alone(open_store: Open) -> None:
    store, login, x = open_store(), "home@example.org", Secret(b"x")
    for _ in range(2):
        for peer, is_allowed in ((HOME, True), (ABROAD, False)):
            checked = await store.check(login, x, peer)
            assert checked is not None
            assert (checked.credential is not None) == is_allowed


@pytest.mark.parametrize("has_userdb", [True, False])
async def test_the_name_that_dovecot_goes_by_is_that_of_the_account(open_store: Open, has_userdb: bool) -> None:
    store = open_store(has_userdb=has_userdb)
    checked = await store.check("ann", ANNS, HOME)
    assert checked is not None
    assert checked.credential is not None
    assert checked.account.login == ANN
    assert await store.find(ANN) is not None


@pytest.mark.parametrize("password", [b"a\0b", b"x" * 7000, b""])
async def test_a_password_that_dovecot_cannot_read_is_a_no(open_store: Open, password: bytes) -> None:
    checked = await open_store().check(ANN, Secret(password), HOME)
    assert checked is not None
    assert checked.credential is None


async def test_many_are_asked_about_on_one_connection(open_store: Open, server: Dovecot) -> None:
    store = open_store(cache_seconds=0.0)
    asked = [store.check(ANN, ANNS if number % 2 else Secret(b"wrong"), HOME) for number in range(60)]
    answers = await asyncio.gather(*asked)
    assert [each is not None and each.credential is not None for each in answers] == [False, True] * 30
    assert store._auth._connection is not None
    assert store._auth._connection._number == 60


def on_a_port() -> tuple[Dovecot, int]:
    """Return one that runs; somebody else may have taken a port that was free."""
    for _ in range(9):
        [port] = free_ports(1)
        server = Dovecot(port=port)
        server.user(ANN, "{PLAIN}x")
        try:
            server.start()
        except RuntimeError:
            server.remove()
        else:
            return server, port
    raise RuntimeError("no port is free for long enough")


async def test_over_tcp_it_is_the_same(open_store: Open) -> None:
    server, port = on_a_port()
    try:
        store = open_store(("127.0.0.1", port), has_userdb=False)
        checked = await store.check(ANN, Secret(b"x"), HOME)
        assert checked is not None
        assert checked.credential is not None
        store.close()
    finally:
        server.remove()


async def test_a_trouble_of_dovecots_own_is_no_judgement(open_store: Open) -> None:
    # Before the users that it knows there is a program that should know others, and cannot be run.
    server = Dovecot(more="passdb {\n driver = checkpassword\n args = /nonexistent/program\n}")
    try:
        server.user(ANN, "{PLAIN}x")
        server.start()
        store = open_store(server.client, userdb=server.userdb)
        for login, password in ((ANN, b"wrong"), ("nobody@example.org", b"x")):
            with pytest.raises(StoreUnavailable, match="a trouble of its own"):
                await store.check(login, Secret(password), HOME)
        checked = await store.check(ANN, Secret(b"x"), HOME)
        assert checked is not None
        assert checked.credential is not None
        store.close()
    finally:
        server.remove()


async def test_a_no_that_is_held_back_holds_up_nobody_else(open_store: Open) -> None:
    server = Dovecot(failure_delay="1 hours")
    try:
        server.user(ANN, "{PLAIN}x")
        server.start()
        store = open_store(server.client, userdb=server.userdb)
        wrong = asyncio.create_task(store.check(ANN, Secret(b"wrong"), HOME))
        checked = await store.check(ANN, Secret(b"x"), HOME)
        assert checked is not None
        assert checked.credential is not None
        assert not wrong.done()
        wrong.cancel()
        await asyncio.gather(wrong, return_exceptions=True)
        store.close()
    finally:
        server.remove()


async def test_a_dovecot_that_was_started_anew_is_asked_without_anybody_noticing(open_store: Open) -> None:
    server = Dovecot()
    try:
        server.user(ANN, "{PLAIN}x")
        server.start()
        store = open_store(server.client, userdb=server.userdb, cache_seconds=0.0)
        for _ in range(2):
            assert await store.find(ANN) is not None
            server.stop()
            server.start()
            assert (await store.check(ANN, Secret(b"x"), HOME))[1] is not None  # type: ignore[index]
        store.close()
    finally:
        server.remove()


async def test_in_a_running_server_it_stands_behind_the_database_goes_away_and_comes_back(
    start: Start, tmp_path: Path
) -> None:
    server = Dovecot()
    stores = [
        {"type": "sqlite", "path": str(tmp_path / "state/accounts.db")},
        {
            "type": "dovecot",
            "socket": str(server.client),
            "userdb_socket": str(server.userdb),
            "cache_time": "1s",
            "timeout": "1m",
        },
    ]
    try:
        server.user(ANN, "{PLAIN}annspass")
        server.start()
        async with start(store=stores) as running:
            assert [each.name for each in running.worker.authority.offered("submissions")] == ["PLAIN", "LOGIN"]
            assert (await plain(running, LOGIN, SECRET)).startswith("235")
            assert (await plain(running, LOGIN, "annspass")).startswith("535 5.7.8")
            assert (await plain(running, ANN, "annspass")).startswith("235")
            assert (await plain(running, ANN, "wrong")).startswith("535 5.7.8")
            assert (await plain(running, "nobody@example.org", "x")).startswith("535 5.7.8")
            server.stop()
            for login, text in ((ANN, "wrong"), ("nobody@example.org", "x"), (LOGIN, "wrong")):
                assert (await plain(running, login, text)).startswith("454 4.7.0"), (login, running.events[-9:])
            assert (await plain(running, LOGIN, SECRET)).startswith("235")
            server.start()
            await until(lambda: any(isinstance(each, StoreBack) for each in running.events), 60)
            assert any(isinstance(each, StoreAway) for each in running.events)
            client = await hello(running)
            token = base64.b64encode(f"\0{ANN}\0annspass".encode()).decode()
            assert (await client.say(f"AUTH PLAIN {token}")).startswith("235")
            await asyncio.to_thread(server.user, ANN, "{PLAIN}annspass", "userdb_gatepost_disabled=left")
            assert (await client.reply(60)).startswith("421 4.7.0")
            [revoked] = [each for each in running.events if isinstance(each, SessionRevoked)]
            assert revoked.reason == "account disabled: left"
            assert not running.troubles
        assert "annspass" not in server.log.read_text()
    finally:
        server.remove()


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("", "store: has no socket"),
        ('socket = "here"\naddress = "127.0.0.1:99"', "store: has no socket"),
        ('socket = "key.pem"', "store.socket: is no socket"),
        ('address = "192.0.2.1:99"', "store.address: would send passwords in clear"),
        ('socket = "here"\n[[store]]\ntype = "sqlite"\npath = "x.db"', "is not the last store"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(tmp_path: Path, lines: str, problem: str) -> None:
    make_pems(tmp_path)
    path = tmp_path / "gatepost.toml"
    path.write_text(
        'hostname = "mail.example.org"\nstate_dir = "state"\n[tls]\ncertificate = "cert.pem"\nkey = "key.pem"\n'
        f'[[route]]\nname = "box"\ntransport = "sandbox"\npath = "box"\n[[store]]\ntype = "dovecot"\n{lines}\n'
    )
    found = check(load(path, os.environ))
    assert any(problem in each for each in found.problems), found.problems
