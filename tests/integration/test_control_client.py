"""Asking on a control socket on which nobody listens, or somebody else."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

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
