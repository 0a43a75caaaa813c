"""When credentials were last used: noted at login, in the file a moment later, and shown to the operator."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gatepost.cli.main import gatepost
from gatepost.errors import StateUnavailable
from gatepost.observe.events import LoginSucceeded, SpoolTroubled
from gatepost.state import last_used as module
from gatepost.state.database import Database
from gatepost.state.last_used import ClientUse, LastUsed, Use, read_clients, read_uses
from identities import Clock
from integration.client import log_in
from integration.test_session import until


def login(credential: str = "c1", **more: Any) -> LoginSucceeded:
    facts = {
        "session": "s", "listener": "submission", "peer": "192.0.2.1", "login": "tim@example.org",
        "credential": credential, "label": "", "mechanism": "PLAIN", "tls": "TLSv1.3 X", "client": "laptop",
    }  # fmt: skip
    return LoginSucceeded(**{**facts, **more})


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(tmp_path / "state.db")
    made.open()
    yield made
    made.close()


def key(credential: str = "c1") -> tuple[str, str]:
    return "tim@example.org", credential


async def test_the_last_login_is_kept_and_all_are_counted(database: Database) -> None:
    clock = Clock()
    first, second = LastUsed(database, clock), LastUsed(database, clock)
    first(login())
    clock.time += 1
    first(login(peer="2001:db8::1", mechanism="SCRAM-SHA-256", tls="TLSv1.2 Y", client="phone"))
    began = clock.time
    clock.time += 1
    second(login(credential="c2"))
    await first.write()
    await second.write()
    uses = read_uses(database.path)
    assert uses[key()] == Use(began, "2001:db8::1", "SCRAM-SHA-256", "TLSv1.2 Y", "phone", 2)
    assert uses[key("c2")].uses == 1
    first(login())
    await first.write()
    assert read_uses(database.path)[key()] == Use(clock.time, "192.0.2.1", "PLAIN", "TLSv1.3 X", "laptop", 3)


async def test_a_worker_that_writes_late_does_not_hide_a_later_login(database: Database) -> None:
    clock = Clock()
    slow, quick = LastUsed(database, clock), LastUsed(database, clock)
    slow(login(peer="192.0.2.1"))
    clock.time += 5
    quick(login(peer="192.0.2.2"))
    await quick.write()
    await slow.write()
    use = read_uses(database.path)[key()]
    assert (use.address, use.time, use.uses) == ("192.0.2.2", clock.time, 2)


async def test_other_facts_are_not_noted(database: Database) -> None:
    used = LastUsed(database, Clock())
    used(SpoolTroubled("no"))
    await used.write()
    assert read_uses(database.path) == {}


async def test_what_cannot_be_written_waits(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    used = LastUsed(database, Clock())
    write = database.write

    async def fail(change: object) -> None:
        used(login())  # somebody comes while it is tried
        raise StateUnavailable("read-only")

    monkeypatch.setattr(database, "write", fail)
    used(login())
    await used.write()
    monkeypatch.setattr(database, "write", write)
    await used.write()
    assert read_uses(database.path)[key()].uses == 2


async def test_no_more_than_so_many_wait(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LIMIT", 3)
    used = LastUsed(database, Clock())
    for number in range(10):
        used(login(credential=f"c{number}"))
    used(login(credential="c1"))
    await used.write()
    uses = read_uses(database.path)
    assert {credential: use.uses for (_, credential), use in uses.items()} == {"c0": 1, "c1": 2, "c2": 1}


async def test_a_client_can_say_only_so_much_of_itself(database: Database) -> None:
    used = LastUsed(database, Clock())
    used(login(client="x" * 10_000))
    await used.write()
    assert read_uses(database.path)[key()].client == "x" * 255


async def test_credentials_that_nobody_uses_are_forgotten(database: Database) -> None:
    clock = Clock()
    used = LastUsed(database, clock)
    used(login(credential="old"))
    await used.write()
    clock.time += 401 * 86_400
    used(login(credential="new"))
    running = asyncio.create_task(used.run())
    async with asyncio.timeout(60):
        while set(read_uses(database.path)) != {key("new")}:
            await asyncio.sleep(0.01)
    running.cancel()


def test_without_a_file_nothing_is_known(tmp_path: Path) -> None:
    assert read_uses(tmp_path / "state.db") == {}
    (tmp_path / "broken.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(StateUnavailable):
        read_uses(tmp_path / "broken.db")


async def test_the_operator_sees_it(start, tmp_path: Path) -> None:
    config = tmp_path / "gatepost.toml"
    config.write_text(
        f'hostname = "mail.example.org"\nstate_dir = "{tmp_path}/state"\n'
        '[[route]]\nname = "sandbox"\ntransport = "sandbox"\npath = "sandbox"\n'
    )

    def row(*words: str) -> Any:
        result = CliRunner().invoke(gatepost, ["credential", *words, "--json", "--config", str(config)])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    async with start() as server:
        [credential] = row("list")
        assert (credential["last_used"], credential["last_use"]) == (None, None)
        client = await log_in(server)
        await client.close()
        await until(lambda: read_uses(tmp_path / "state" / "state.db"))
        again = await log_in(server)  # the end of the server writes it
        await again.close()
    [credential] = row("list")
    shown = row("show", credential["id"])
    assert shown["last_used"] == credential["last_used"] is not None
    assert shown["last_use"]["tls"].startswith("TLSv1.3 ")
    del shown["last_use"]["tls"]
    assert shown["last_use"] == {
        "address": "127.0.0.1", "mechanism": "PLAIN", "client": "client.example", "logins": 2,
    }  # fmt: skip
    table = CliRunner().invoke(gatepost, ["credential", "list", "--config", str(config)]).stdout
    assert "LAST USED" in table
    (tmp_path / "state" / "state.db").write_bytes(b"this is no database" * 100)
    broken = CliRunner().invoke(gatepost, ["credential", "list", "--config", str(config)])
    assert broken.exit_code == 0
    assert "not known" in broken.stderr


async def test_the_clients_of_a_credential_are_kept_and_the_last_of_them_only(database: Database) -> None:
    clock = Clock()
    used = LastUsed(database, clock)
    began = clock.time
    used(login(peer="192.0.2.99", client="old"))
    for number in range(20):
        clock.time += 1
        used(login(peer=f"192.0.2.{number % 2}", mechanism=("PLAIN", "LOGIN")[number % 2]))
    used(login(credential="c2", client=""))
    await used.write()
    assert read_clients(database.path, [key(), key("c2"), key("c3")]) == {
        key(): (
            ClientUse(began + 20, "192.0.2.1", "laptop", "LOGIN"),
            ClientUse(began + 19, "192.0.2.0", "laptop", "PLAIN"),
            ClientUse(began, "192.0.2.99", "old", "PLAIN"),
        ),
        key("c2"): (ClientUse(began + 20, "192.0.2.1", "", "PLAIN"),),
        key("c3"): (),
    }
    for number in range(100):
        clock.time += 1
        used(login(peer=f"198.51.100.{number}"))
        if number % 30 == 0:
            await used.write()
    await used.write()
    [clients] = read_clients(database.path, [key()]).values()
    assert [each.address for each in clients] == [f"198.51.100.{number}" for number in range(99, 83, -1)]
    assert read_clients(database.path.with_name("none"), [key()]) == {}


async def test_clients_that_cannot_be_written_wait(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LIMIT", 3)
    used = LastUsed(database, Clock())
    for number in range(10):
        used(login(peer=f"192.0.2.{number}"))

    async def fail(change: object) -> None:
        raise StateUnavailable("read-only")

    with monkeypatch.context() as patch:
        patch.setattr(database, "write", fail)
        await used.write()
    await used.write()
    [clients] = read_clients(database.path, [key()]).values()
    assert sorted(each.address for each in clients) == ["192.0.2.0", "192.0.2.1", "192.0.2.2"]
