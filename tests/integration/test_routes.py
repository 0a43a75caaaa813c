"""Routes in a running server: by header, size, credential and sender, over reloads and restarts."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from gatepost.config.schema import Config
from gatepost.parts import key_pairs
from gatepost.testing import RunningServer
from integration.client import log_in
from integration.conftest import Start

LARGE = 100_000


def box(folder: Path, name: str, **match: Any) -> dict[str, Any]:
    """A route into a folder."""
    return {"name": name, "transport": "sandbox", "path": folder / name, **({"match": match} if match else {})}


async def submit(server: RunningServer, header: str = "", size: int = 10, sender: str = "tim@example.org") -> None:
    client = await log_in(server)
    assert (await client.say(f"MAIL FROM:<{sender}>")).startswith("250")
    assert (await client.say("RCPT TO:<bob@example.net>")).startswith("250")
    assert (await client.say("DATA")).startswith("354")
    body = "\r\n".join(["x" * 70] * (size // 72 + 1))
    reply = await client.say(f"From: tim@example.org\r\n{header}\r\n{body}\r\n.")
    assert reply.startswith("250"), reply
    await client.close()


async def arrived(folder: Path, names: dict[str, int]) -> None:
    """Wait until so many messages lie in each box, and no others anywhere."""
    deadline = time.monotonic() + 60
    while True:
        found = {name: len(list((folder / name).glob("*.eml"))) for name in names}
        if found == names:
            return
        assert time.monotonic() < deadline, f"waited for {names}, found {found}"
        await asyncio.sleep(0.02)


async def test_mail_goes_by_header_size_credential_and_sender(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "boxes"
    routes = [
        box(folder, "bulk", headers=[{"name": "X-Stream", "values": ["bulk-*"]}]),
        box(folder, "large", size_over=LARGE),
        box(folder, "other", credentials=["no such label"]),
        box(folder, "null", senders=["<>"]),
        box(folder, "tim", senders=["TIM@example.org"]),
        box(folder, "rest"),
    ]
    async with start(route=routes, policy={"null_sender": "allow"}) as server:
        await submit(server, "x-stream:\r\n Bulk-7\r\n")
        await submit(server, "X-Stream: bulk-8\r\n", LARGE)
        await submit(server, "X-Stream: other\r\n", LARGE)
        await submit(server)
        await submit(server, sender="")
        await arrived(folder, {"bulk": 2, "large": 1, "other": 0, "null": 1, "tim": 1, "rest": 0})


async def test_mail_that_waits_goes_by_its_header_when_a_reload_brings_a_route(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "boxes"
    nobody = box(folder, "elsewhere", accounts=["somebody else"])
    async with start(route=[nobody]) as server:
        await submit(server, "X-Stream: bulk\r\n")
        await submit(server, "X-Stream: bulk\r\n", LARGE)  # its body lies in a file
        await submit(server)
        assert server.worker.spool.count() == 3
        changed = Config.model_validate(
            {
                **server.worker.config.model_dump(),
                "route": [nobody, box(folder, "bulk", headers=[{"name": "X-Stream"}]), box(folder, "rest")],
            }
        )
        await server.worker.reload(changed, key_pairs(changed))
        await arrived(folder, {"elsewhere": 0, "bulk": 2, "rest": 1})
        assert "(no route)" not in server.worker.scheduler.gates


async def test_mail_that_no_route_takes_is_kept_and_tells_why(start: Start, tmp_path: Path) -> None:
    async with start(route=[box(tmp_path, "elsewhere", accounts=["somebody else"])]) as server:
        await submit(server)
        deadline = time.monotonic() + 60
        while not (entry := server.worker.spool.list()[0]).progress[0].reply:
            assert time.monotonic() < deadline, "waited for the reason why it waits"
            await asyncio.sleep(0.02)
        assert entry.progress[0].reply == "451 4.3.5 No route is configured for bob@example.net"
        assert server.worker.scheduler.gates["(no route)"].health.is_paused
