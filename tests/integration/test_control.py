"""The control socket of a worker, asked as the command line asks it, and as nobody should."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gatepost.control import server as server_module
from gatepost.control.client import ask, ask_all
from gatepost.control.protocol import REQUEST_BYTES, socket_path
from gatepost.control.server import Control
from gatepost.errors import ConfigError, Unavailable
from gatepost.model.priority import Priority
from gatepost.observe.events import MessageChanged, MessageFinished, RouteChanged
from gatepost.state.paused_routes import note_paused
from gatepost.testing import RunningServer
from integration.client import log_in
from integration.conftest import Start
from integration.test_worker import submit, until

NOBODY = {"name": "out", "transport": "smarthost", "host": "127.0.0.1", "port": 9, "tls": "none"}


@contextlib.asynccontextmanager
async def controlled(start: Start, **settings: Any) -> AsyncIterator[tuple[RunningServer, Path]]:
    async with start(**settings) as server:
        path = socket_path(server.worker.config.run_dir, 0)
        control = Control(server.worker, path)
        await control.start()
        try:
            yield server, path
        finally:
            await control.stop()
    assert not path.exists()


async def answer(path: Path, verb: str, **more: Any) -> list[Any]:
    """Ask in a thread, as another process would."""
    return await asyncio.to_thread(ask, path, {"verb": verb, **more}, 60.0)


async def raw(path: Path, octets: bytes, *, end: bool = True) -> bytes:
    """Send octets; return all that comes back."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(octets)
    if end:
        writer.write_eof()
    async with asyncio.timeout(60):
        heard = await reader.read()
    writer.close()
    return heard


async def test_only_its_owner_can_reach_the_socket(start: Start) -> None:
    async with controlled(start) as (_, path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert [each.name for each in path.parent.iterdir()] == [path.name]


async def test_a_worker_says_how_it_is(start: Start) -> None:
    async with controlled(start, route=[NOBODY]) as (server, path):
        (before,) = await answer(path, "status")
        client = await log_in(server)
        await submit(server)
        (now,) = await answer(path, "status")
        await client.close()
    assert (before["worker"], before["workers"], before["generation"], before["pid"]) == (0, 1, 1, os.getpid())
    assert (before["sessions"], before["queued"], before["oldest"], before["spools"]) == (0, 0, None, [0])
    assert (now["sessions"], now["logged_in"], now["queued"]) == (1, 1, 1)
    assert now["oldest"] is not None
    assert [route["route"] for route in now["routes"]] == ["out"]


async def test_a_worker_that_serves_is_healthy_and_one_that_ends_is_not(start: Start) -> None:
    async with controlled(start) as (server, path):
        assert (await answer(path, "health"))[0]["problems"] == []
        server.worker.listeners[0].service.is_draining = True
        assert (await answer(path, "health"))[0]["problems"] == [
            "listener submission: takes no new clients, for the server is about to stop"
        ]


async def test_a_worker_without_room_is_not_healthy(start: Start) -> None:
    async with controlled(start) as (server, path):
        server.worker.spool.adapt(reserve_bytes=1 << 60, inline_bytes=65_536, priority=lambda _: Priority.NORMAL)
        (row,) = await answer(path, "health")
        assert row["problems"] == ["spool: takes no new mail: the spool's file system has no room beyond the reserve"]


async def test_messages_are_changed_and_those_of_others_are_unknown(start: Start) -> None:
    async with controlled(start, route=[NOBODY]) as (server, path):
        await submit(server)
        await until(lambda: not server.worker.scheduler.in_flight)
        (entry,) = server.worker.spool.list()
        stranger = "0" * 16
        rows = await answer(path, "queue", change="hold", ids=[stranger, entry.id, entry.id])
        assert rows == [{"id": stranger, "outcome": "unknown"}, {"id": entry.id, "outcome": "done"}]
        assert server.worker.spool.list()[0].is_held
        assert MessageChanged(entry.id, "held") in server.events
        assert (await answer(path, "queue", change="drop", ids=[entry.id], silent=True))[0]["outcome"] == "done"
        assert server.worker.spool.count() == 0


@pytest.mark.sources
async def test_a_drop_that_takes_too_long_is_told_and_still_comes_to_its_end(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_VERB_SECONDS", 0.1)
    async with controlled(start, route=[NOBODY]) as (server, path):
        await submit(server)
        scheduler, spool = server.worker.scheduler, server.worker.spool
        await until(lambda: not scheduler.in_flight)
        (entry,) = spool.list()
        written, remove = asyncio.Event(), spool.remove

        async def slowly(*words: Any) -> Any:
            await written.wait()
            return await remove(*words)

        monkeypatch.setattr(spool, "remove", slowly)
        with pytest.raises(Unavailable, match="could not do it within"):
            await answer(path, "queue", change="drop", ids=[entry.id], silent=True)
        scheduler.wake(entry.id)
        assert not scheduler.in_flight, "it must not be tried now"
        written.set()
        await until(lambda: not scheduler.barred)
        assert spool.count() == 0


async def test_a_route_that_is_paused_by_hand_holds_mail_until_it_is_resumed(start: Start, tmp_path: Path) -> None:
    async with controlled(start) as (server, path):
        state = server.worker.config.state_dir
        note_paused(state, "sandbox", 5.0)
        (row,) = await answer(path, "routes", changed=True)
        assert (row["route"], row["state"], row["until"]) == ("sandbox", "paused by hand", None)
        await submit(server)
        await asyncio.sleep(0.1)
        assert server.worker.spool.count() == 1

    async with controlled(start) as (server, path):
        await asyncio.sleep(0.1)
        assert server.worker.spool.count() == 1, "it stays paused over a restart"
        note_paused(state, "sandbox", None)
        (row,) = await answer(path, "routes", changed=True, probe="sandbox")
        assert row["state"] == "open"
        note_paused(state, "gone", 5.0)
        rows = await answer(path, "routes", changed=True)
        assert [(row["route"], row["state"]) for row in rows] == [("sandbox", "open"), ("gone", "paused by hand")]
        await until(lambda: server.worker.spool.count() == 0)
        assert RouteChanged("sandbox", "resumed") in server.events


async def test_a_damaged_file_of_paused_routes_is_told_and_changes_nothing(start: Start) -> None:
    async with controlled(start) as (server, path):
        (server.worker.config.state_dir / "paused-routes.json").write_text("{")
        with pytest.raises(Unavailable, match="remove it to resume all routes"):
            await answer(path, "routes", changed=True)
        assert (await answer(path, "routes"))[0]["state"] == "open"


async def test_a_reload_that_is_expected_can_be_told_from_the_last_one(start: Start) -> None:
    async with controlled(start) as (server, path):
        server.worker.reload_error = "the last one"
        assert await answer(path, "expect-reload") == [{"generation": 1, "parent": os.getppid()}]
        assert (await answer(path, "status"))[0]["reload_error"] == ""


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"", "not a line of JSON"),
        (b"\n", "not a line of JSON"),
        (b"status\n", "not a line of JSON"),
        (b"[1]\n", "not a JSON object"),
        (b"{}\n", "there is no such verb"),
        (b'{"verb": ["status"]}\n', "there is no such verb"),
        (b'{"verb": "serve"}\n', "there is no such verb"),
        (b'{"verb": "queue"}\n', "change is"),
        (b'{"verb": "queue", "change": "burn", "ids": []}\n', "change is"),
        (b'{"verb": "queue", "change": "hold"}\n', "up to 100 ids"),
        (b'{"verb": "queue", "change": "hold", "ids": ["../../etc"]}\n', "sixteen letters"),
        (b'{"verb": "queue", "change": "hold", "ids": [7]}\n', "sixteen letters"),
        (b'{"verb": "queue", "change": "drop", "ids": [], "silent": "no"}\n', "as a flag"),
        (b'{"verb": "routes", "probe": 1}\n', "name of a route"),
        (b'{"verb": "tail", "level": "loud"}\n', "tail wants"),
        (b"[" * 5000 + b"\n", "not a line of JSON"),
        (b"x" * 2 * REQUEST_BYTES + b"\n", "not a line of JSON"),
    ],
)
async def test_what_is_not_understood_is_told(start: Start, octets: bytes, expected: str) -> None:
    async with controlled(start) as (_, path):
        message = json.loads(await raw(path, octets))
        assert list(message) == ["error"]
        assert expected in message["error"]


async def test_a_line_without_end_is_not_kept(start: Start) -> None:
    async with controlled(start) as (_, path):
        reader, writer = await asyncio.open_unix_connection(str(path))
        with contextlib.suppress(OSError):
            for _ in range(400):
                writer.write(b"x" * 65_536)
                await writer.drain()
            pytest.fail("26 MiB were taken")
        writer.close()
        del reader
        assert await answer(path, "health")


async def test_a_client_that_says_nothing_is_left(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_REQUEST_SECONDS", 0.1)
    async with controlled(start) as (_, path):
        assert await raw(path, b'{"verb": "sta', end=False) == b""


async def test_a_client_that_does_not_read_is_left(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_WRITE_SECONDS", 0.5)

    async def much(_context: Any, _request: Any) -> list[dict[str, Any]]:
        return [{"much": "x" * 100_000}] * 50

    monkeypatch.setitem(server_module.VERBS, "much", much)
    async with controlled(start) as (server, path):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(path))
        sock.sendall(b'{"verb": "much"}\n')
        await until(lambda: _clients(server) == 1)
        await until(lambda: not _clients(server))
        # In a thread: the socket is closed in one of the next turns of the loop.
        assert await asyncio.to_thread(_drained, sock) < 2_000_000
        sock.close()
        monkeypatch.setattr(server_module, "_WRITE_SECONDS", 60.0)
        with socket.socket(socket.AF_UNIX) as another:
            another.connect(str(path))
            another.sendall(b'{"verb": "much"}\n')
            await until(lambda: _clients(server) == 1)
            assert len(await answer(path, "much")) == 50, "others are served"


async def test_more_clients_than_are_served_are_told_so(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_CLIENTS", 2)
    async with controlled(start) as (server, path):
        waiting = [await asyncio.open_unix_connection(str(path)) for _ in range(2)]
        await until(lambda: _clients(server) == 2)
        with pytest.raises(Unavailable, match="worker 0: busy"):
            await answer(path, "health")
        for _, writer in waiting:
            writer.close()
        await until(lambda: _healthy(path))


def _drained(sock: socket.socket) -> int:
    """Read to the end; return how much there was."""
    received = 0
    while piece := sock.recv(1 << 20):
        received += len(piece)
    return received


def _healthy(path: Path) -> bool:
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)
    with sock, contextlib.suppress(OSError):
        sock.connect(str(path))
        return True
    return False


async def follow(path: Path, **wanted: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(json.dumps({"verb": "tail", **wanted}).encode() + b"\n")
    assert json.loads(await reader.readline()) == {"row": {"tail": 0}}
    return reader, writer


async def test_a_follower_sees_what_happens_from_then_on(start: Start) -> None:
    async with controlled(start) as (server, path):
        reader, writer = await follow(path, login="tim@example.org", level="debug")
        await submit(server)
        seen: list[str] = []
        async with asyncio.timeout(60):
            while "message finished" not in seen:
                row = json.loads(await reader.readline())["row"]
                seen.append(json.loads(row["line"])["event"])
        assert seen[:2] == ["login succeeded", "message accepted"]
        assert "delivered" in seen
        writer.close()
        await until(lambda: not _tails(server))


def _control(server: RunningServer) -> Control:
    listeners = [each for each, _ in server.worker.emit._listeners]
    (hear,) = [each for each in listeners if getattr(each, "__self__", None).__class__ is Control]
    return hear.__self__  # type: ignore[attr-defined, no-any-return]


def _tails(server: RunningServer) -> int:
    return len(_control(server)._tails)


def _clients(server: RunningServer) -> int:
    return len(_control(server)._clients)


async def test_a_follower_who_does_not_read_costs_a_bounded_amount_and_is_told_what_it_missed(start: Start) -> None:
    async with controlled(start) as (server, path):
        reader, writer = await follow(path, level="debug")
        count = 60_000
        for number in range(count):
            server.worker.emit(MessageFinished(f"m{number}", 1.0))
            if number % 1000 == 0:
                await asyncio.sleep(0)
        seen = dropped = 0
        async with asyncio.timeout(60):
            while not dropped:
                row = json.loads(await reader.readline())["row"]
                dropped = row.get("dropped", 0)
                seen += "line" in row
        assert seen + dropped == count
        assert dropped > count // 2
        writer.close()


async def test_followers_are_few_and_leave_room_for_orders(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_TAILS", 1)
    async with controlled(start) as (server, path):
        _, writer = await follow(path)
        assert "follow the events" in (await raw(path, b'{"verb": "tail"}\n')).decode()
        assert (await answer(path, "health"))[0]["problems"] == []
        writer.close()
        await until(lambda: not _tails(server))
        _, writer = await follow(path)
        writer.close()


async def test_a_worker_that_ends_hangs_up_on_its_followers(start: Start) -> None:
    async with controlled(start) as (_, path):
        reader, writer = await follow(path)
    async with asyncio.timeout(60):
        assert await reader.read() == b""
    writer.close()


async def test_the_socket_of_a_dead_process_is_replaced_and_that_of_a_living_one_is_not(start: Start) -> None:
    async with start() as server:
        path = socket_path(server.worker.config.run_dir, 0)
        path.parent.mkdir()
        dead = socket.socket(socket.AF_UNIX)
        dead.bind(str(path))
        dead.close()
        with pytest.raises(Unavailable, match="worker 0 does not answer"):
            await answer(path, "health")
        control = Control(server.worker, path)
        await control.start()
        with pytest.raises(ConfigError, match="another process listens"):
            await Control(server.worker, path).start()
        assert await answer(path, "health")
        await control.stop()
        await control.stop()


async def test_sockets_of_workers_that_are_no_more_are_removed_by_the_first(start: Start) -> None:
    async with start() as server:
        run_dir = server.worker.config.run_dir
        run_dir.mkdir()
        for number in (1, 2, 3):
            socket_path(run_dir, number).touch()
        control = Control(server.worker, socket_path(run_dir, 0), workers=2)
        await control.start()
        assert sorted(path.name for path in run_dir.iterdir()) == ["worker-0.sock", "worker-1.sock"]
        await control.stop()


async def test_a_folder_that_cannot_be_used_is_told(start: Start) -> None:
    async with start() as server:
        server.worker.config.run_dir.write_text("not a folder")
        with pytest.raises(ConfigError, match="control socket cannot be made"):
            await Control(server.worker, socket_path(server.worker.config.run_dir, 0)).start()


async def test_a_path_longer_than_an_address_works(start: Start, tmp_path: Path) -> None:
    async with start() as server:
        path = tmp_path / ("long" * 30) / "worker-0.sock"
        control = Control(server.worker, path)
        await control.start()
        assert (await answer(path, "health"))[0]["problems"] == []
        await control.stop()
        assert not path.exists()


async def test_all_are_asked_at_once_and_who_is_silent_is_named(start: Start, tmp_path: Path) -> None:
    async with controlled(start) as (_, path):
        mute = socket.socket(socket.AF_UNIX)
        mute.bind(str(tmp_path / "worker-1.sock"))
        mute.listen()
        paths = {0: path, 1: tmp_path / "worker-1.sock", 2: tmp_path / "worker-2.sock"}
        answers = await asyncio.to_thread(ask_all, paths, {"verb": "health"}, 5.0)
        mute.close()
    assert list(answers) == [0, 1, 2]
    assert isinstance(answers[0], list)
    assert "worker 1 does not answer" in str(answers[1])
    assert "nothing came in time" in str(answers[1])
    assert "No such file" in str(answers[2])
