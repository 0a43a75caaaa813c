"""Asking on a control socket on which nobody listens, or somebody else."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatepost.cli import tail
from gatepost.cli.output import Told
from gatepost.control.client import Caller, ask
from gatepost.errors import Unavailable


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"", "ended before it had answered"),
        (b'{"row": 1}\n', "ended before it had answered"),
        (b"220 mail ESMTP\r\n", "not understood"),
        (b"x" * 3_000_000, "without end"),
    ],
)
async def test_something_else_that_listens_there_is_told(tmp_path: Path, octets: bytes, expected: str) -> None:
    path = tmp_path / "worker-0.sock"

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(octets)
        with contextlib.suppress(OSError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(talk, str(path))
    with pytest.raises(Unavailable, match=expected):
        await asyncio.to_thread(ask, path, {"verb": "status"}, 10.0)
    server.close()


def test_nobody_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="worker 3 does not answer"):
        Caller(tmp_path / "worker-3.sock", {}, 1.0)


async def test_who_hangs_up_before_the_request_is_sent_has_said_why(tmp_path: Path) -> None:
    path = tmp_path / "worker-0.sock"

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'{"error": "busy"}\n')
        writer.close()

    async with await asyncio.start_unix_server(refuse, str(path)):
        # More than a socket's buffer holds, so that the sending is still under way.
        with pytest.raises(Unavailable, match="worker 0: busy"):
            await asyncio.to_thread(ask, path, {"verb": "x" * 10_000_000}, 10.0)


@contextlib.contextmanager
def answering_once(path: Path, octets: bytes | None) -> Iterator[None]:
    """Listen there; take one call, and hang up with *octets*; None: without reading what was said, which resets."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()

    def answer() -> None:
        connection, _ = listening.accept()
        select.select([connection], [], [], 10)
        if octets is not None:
            connection.recv(65536)
            connection.sendall(octets)
        connection.close()

    thread = threading.Thread(target=answer)
    thread.start()
    yield
    thread.join()
    listening.close()


@pytest.mark.parametrize("octets", [b"", None], ids=["end", "reset"])
def test_a_worker_that_dies_as_it_is_called_is_called_again_later(tmp_path: Path, octets: bytes | None) -> None:
    callers: dict[int, Caller] = {}
    path = tmp_path / "worker-1.sock"
    with answering_once(path, octets):
        tail._connect(callers, {1: path}, {"verb": "tail"})
    assert callers == {}
    path.unlink()
    with answering_once(path, b'{"row": {}}\n'):
        tail._connect(callers, {1: path}, {"verb": "tail"})
    callers.pop(1).close()


def test_a_worker_that_refuses_is_not_called_again(tmp_path: Path) -> None:
    path = tmp_path / "worker-1.sock"
    with answering_once(path, b'{"error": "busy"}\n'), pytest.raises(Told, match="worker 1: busy"):
        tail._connect({}, {1: path}, {"verb": "tail"})
