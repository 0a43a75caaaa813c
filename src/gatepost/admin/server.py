"""The admin process, from its fork to SIGTERM: /health/live, /health/ready and /metrics over HTTP.

It is off the way of the mail: it knows what is on the board and what workers say on their control sockets.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gatepost.admin.http import HttpServer
from gatepost.admin.watch import Told, Watch
from gatepost.control.client import ask_all
from gatepost.control.protocol import socket_path
from gatepost.errors import Unavailable
from gatepost.observe.board import Board

if TYPE_CHECKING:
    from gatepost.config.schema import Config

__all__ = ["run"]

_PATIENCE: Final = 2.0  # with a worker
_SILENT: Final = "does not answer"


def run(config: Config, sock: socket.socket, board: Board) -> None:
    """Serve until SIGTERM; called in a process of its own, which was just forked.

    Args:
        config: as loaded; what is read of it needs a restart to change.
        sock: bound and listening.
        board: the numbers of all processes.
    """
    # A reload changes nothing here, and a terminal's SIGINT is the parent's to hear.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(_serve(config, sock, board))


async def _serve(config: Config, sock: socket.socket, board: Board) -> None:
    end = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, end.set)
    # The parent waits for its signals with all of them blocked, and so do its children until they say otherwise.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    watch = Watch(
        board, lambda: _ask(config.run_dir, board.workers), folder=config.spool_dir, reserve_bytes=config.reserve_bytes
    )
    http = HttpServer({"/health/live": watch.live, "/health/ready": watch.ready, "/metrics": watch.metrics})
    sock.setblocking(False)
    server = await loop.create_server(http.connect, sock=sock)
    try:
        await end.wait()
    finally:
        server.close()
        http.close()


async def _ask(run_dir: Path, workers: int) -> Mapping[int, Told]:
    """Ask all workers how they are."""
    return await asyncio.to_thread(_ask_now, {number: socket_path(run_dir, number) for number in range(workers)})


def _ask_now(paths: Mapping[int, Path]) -> Mapping[int, Told]:
    statuses = ask_all(paths, {"verb": "status"}, _PATIENCE)
    answering = {number: path for number, path in paths.items() if not isinstance(statuses[number], Unavailable)}
    problems = ask_all(answering, {"verb": "health"}, _PATIENCE)
    return {number: _told(statuses[number], problems.get(number)) for number in paths}


def _told(status: list[Any] | Unavailable, health: list[Any] | Unavailable | None) -> Told:
    if isinstance(status, Unavailable) or isinstance(health, Unavailable) or not status or not health:
        return Told((_SILENT,))
    ends = ["comes to its end"] if status[0]["is_draining"] else []
    return Told((*ends, *map(str, health[0]["problems"])), status[0])
