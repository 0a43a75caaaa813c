"""Several stores in one server: their order, and what clients hear while one of them is away."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import shutil
from pathlib import Path

import pytest

from gatepost.observe.events import LoginFailed, LoginSucceeded, StoreAway, StoreBack
from gatepost.testing import RunningServer, make_accounts
from integration.client import Client, connect
from integration.conftest import LOGIN, MECHANISMS, SECRET, Start
from integration.test_session import until
from stopwatch import Stopwatch

ANN, ANNS_SECRET = "ann@example.org", "another-pass-2"


@pytest.fixture
def second(tmp_path: Path) -> Path:
    """Return a second accounts database, with one account of its own and one that the first has, too."""
    folder = tmp_path / "second"
    make_accounts(folder, {ANN: ANNS_SECRET, LOGIN: "never-asked-3"}, mechanisms=MECHANISMS)
    return folder / "accounts.db"


def stores(first: Path, second: Path) -> list[dict[str, str]]:
    return [{"type": "sqlite", "path": str(each)} for each in (first, second)]


async def hello(server: RunningServer) -> Client:
    client = await connect(server)
    assert (await client.reply()).startswith("220")
    assert (await client.say("EHLO client.example")).startswith("250")
    return client


async def plain(server: RunningServer, login: str, password: str, acting_as: str = "") -> str:
    client = await hello(server)
    try:
        return await client.say("AUTH PLAIN " + base64.b64encode(f"{acting_as}\0{login}\0{password}".encode()).decode())
    finally:
        await client.close()


async def scram(server: RunningServer, login: str) -> tuple[str, str]:
    """Begin with SCRAM, and end with a wrong proof; return what came first, without what is random, and the last."""
    client = await hello(server)
    try:
        first = await client.say("AUTH SCRAM-SHA-256 " + base64.b64encode(f"n,,n={login},r=nonce".encode()).decode())
        if not first.startswith("334"):
            return first, ""
        values = base64.b64decode(first[4:]).decode().split(",")
        proof = base64.b64encode(hashlib.sha256(b"wrong").digest()).decode()
        last = await client.say(base64.b64encode(f"c=biws,{values[0]},p={proof}".encode()).decode())
        return " ".join([each[:2] + str(len(each)) for each in values[1:]]), last
    finally:
        await client.close()


async def test_the_first_store_that_knows_a_name_speaks_for_it(start: Start, tmp_path: Path, second: Path) -> None:
    async with start(store=stores(tmp_path / "state/accounts.db", second)) as server:
        assert (await plain(server, LOGIN, SECRET)).startswith("235")
        assert (await plain(server, ANN, ANNS_SECRET)).startswith("235")
        assert (await plain(server, LOGIN, "never-asked-3")).startswith("535 5.7.8")
        assert (await plain(server, "nobody@example.org", SECRET)).startswith("535 5.7.8")
        assert len([each for each in server.events if isinstance(each, LoginSucceeded)]) == 2


async def test_while_a_later_store_is_away_nobody_hears_a_no_and_nobody_learns_who_exists(
    start: Start, tmp_path: Path, second: Path
) -> None:
    aside = tmp_path / "aside.db"
    async with start(store=stores(tmp_path / "state/accounts.db", second)) as server:
        before = await scram(server, ANN)
        assert before[1].startswith("535")
        second.rename(aside)
        await until(lambda: any(isinstance(each, StoreAway) for each in server.events))
        assert (await plain(server, LOGIN, SECRET)).startswith("235")
        hidden = [await plain(server, login, "wrong") for login in (LOGIN, ANN, "nobody@example.org")]
        assert {each.partition("[")[0] for each in hidden} == {hidden[0].partition("[")[0]}
        assert hidden[0].startswith("454 4.7.0")
        assert (await plain(server, ANN, ANNS_SECRET)).startswith("454 4.7.0")
        shown = [await scram(server, login) for login in (LOGIN, ANN, "nobody@example.org")]
        assert {each[0] for each in shown} == {before[0]}
        assert all(each[1].startswith("454 4.7.0") for each in shown)
        failures = [each for each in server.events if isinstance(each, LoginFailed) and each.reply.startswith("454")]
        assert all("away" in each.reason for each in failures)
        aside.rename(second)
        await until(lambda: any(isinstance(each, StoreBack) for each in server.events))
        assert (await plain(server, ANN, ANNS_SECRET)).startswith("235")
        assert (await plain(server, ANN, "wrong")).startswith("535 5.7.8")
        kinds = [type(each) for each in server.events if isinstance(each, StoreAway | StoreBack)]
        assert kinds == [StoreAway, StoreBack]


async def test_what_a_store_that_is_away_may_know_is_not_counted_and_what_another_has_judged_is(
    start: Start, tmp_path: Path, second: Path
) -> None:
    limits = {"failed_logins_per_login": 3, "failed_logins_per_address": 1000}
    async with start(store=stores(tmp_path / "state/accounts.db", second), limits=limits) as server:
        second.rename(tmp_path / "aside.db")
        await until(lambda: any(isinstance(each, StoreAway) for each in server.events))
        for _ in range(6):
            assert (await plain(server, ANN, "wrong")).startswith("454 4.7.0")
            assert (await plain(server, LOGIN, "wrong")).startswith("454 4.7.0")
        (tmp_path / "aside.db").rename(second)
        await until(lambda: any(isinstance(each, StoreBack) for each in server.events))
        assert (await plain(server, ANN, ANNS_SECRET)).startswith("235")
        assert (await plain(server, LOGIN, SECRET)).startswith("454 4.7.0")


async def test_while_the_first_store_is_away_every_name_is_told_to_come_back_at_once(
    start: Start, tmp_path: Path, second: Path
) -> None:
    first = tmp_path / "state/accounts.db"
    async with start(store=stores(first, second), auth={"failure_delay": "30s"}) as server:
        shutil.move(first, tmp_path / "aside.db")
        await until(lambda: any(isinstance(each, StoreAway) for each in server.events))
        with Stopwatch() as watch:
            for login, password in ((LOGIN, SECRET), (ANN, ANNS_SECRET), ("nobody@example.org", "wrong")):
                assert (await plain(server, login, password)).startswith("454 4.7.0")
                assert (await scram(server, login))[0].startswith("454 4.7.0")
            assert watch.seconds < 15


async def test_who_is_logged_in_stays_while_their_store_is_away(start: Start, tmp_path: Path, second: Path) -> None:
    async with start(store=stores(tmp_path / "state/accounts.db", second)) as server:
        client = await hello(server)
        token = base64.b64encode(f"\0{ANN}\0{ANNS_SECRET}".encode()).decode()
        assert (await client.say(f"AUTH PLAIN {token}")).startswith("235")
        second.rename(tmp_path / "aside.db")
        await until(lambda: any(isinstance(each, StoreAway) for each in server.events))
        await asyncio.sleep(1.5)
        assert (await client.say("NOOP")).startswith("250")
        await client.close()
