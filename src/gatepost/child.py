"""A worker process, from its fork to its end: log, loop, signals, control socket, and the word of its parent.

SIGTERM, or the end of the parent, lets it come to its end; a second SIGTERM ends it at once.  SIGINT is left to the
parent: a terminal sends it to all.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gatepost.app import Worker
from gatepost.channel import Channel, unpack_pair, unpack_trust
from gatepost.control.protocol import socket_path
from gatepost.control.server import Control
from gatepost.errors import ConfigError, Unavailable
from gatepost.listener.tls import overlook_bad_names
from gatepost.observe.audit import AuditTrail
from gatepost.observe.board import Board
from gatepost.observe.emit import Emitter
from gatepost.observe.events import ReloadRefused
from gatepost.observe.log import open_log
from gatepost.observe.metrics import Metrics
from gatepost.state.connections import ConnectionTable

if TYPE_CHECKING:
    import socket
    import ssl

    from gatepost.config.schema import Config

__all__ = [
    "STDOUT",
    "Place",
    "die_with",
    "live",
    "loop_factory",
    "name_process",
    "open_event_log",
    "prefer_throughput",
    "tune_memory",
]

STDOUT: Final = 1
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8

_log = logging.getLogger("gatepost.child")


@dataclass(frozen=True, slots=True)
class Place:
    """Which worker a process is.

    Args:
        number: counted from 0.
        workers: how many there are.
        folders: spools: its own first, then those that nobody else takes care of.
        loop: ``uvloop``, ``asyncio`` or ``auto``.
        parent: process id of who forked it.
        leaves_sockets: whether somebody else goes on accepting where it stops.
        board: where all processes count.
        table: connections of all workers.
    """

    number: int
    workers: int
    folders: Sequence[Path]
    loop: str
    parent: int
    leaves_sockets: bool
    board: Board
    table: ConnectionTable


def live(
    config: Config, sockets: Sequence[socket.socket], context: ssl.SSLContext, channel: Channel, place: Place
) -> int:
    """Be a worker; return the exit code.  Called once, in a process that was just forked."""
    name_process(f"gatepost-{place.number}")
    die_with(place.parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    prefer_throughput()
    tune_memory()
    overlook_bad_names()
    log = open_event_log(config)
    metrics = Metrics(place.board, place.number)
    log.count_lost_with(metrics.count_lost_lines)
    emit = Emitter(metrics, log)
    trail = None
    if config.observe.audit_file is not None:
        trail = AuditTrail(config.observe.audit_file, place.number, emit)
        emit.add(trail)
    try:
        with asyncio.Runner(loop_factory=loop_factory(place.loop)) as runner:
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            worker = Worker(
                config,
                sockets,
                context,
                emit,
                number=place.number,
                folders=place.folders,
                leaves_sockets=place.leaves_sockets,
                table=place.table,
            )
            return runner.run(_Life(worker, channel, place).run())
    finally:
        if trail is not None:
            trail.close()
        log.close()


class _Life:
    """What happens to a worker from outside."""

    def __init__(self, worker: Worker, channel: Channel, place: Place) -> None:
        self._worker = worker
        self._channel = channel
        self._place = place
        self._ends: asyncio.Queue[str] = asyncio.Queue()
        self._reloads: asyncio.Queue[dict[str, Any]] = asyncio.Queue(maxsize=4)
        self._is_orphan = False
        self._is_ending = False
        self._code = 0

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._end)
        loop.add_reader(self._channel.fileno(), self._listen)
        worker, place = self._worker, self._place
        worker.on_failure = self._fail
        control = Control(worker, socket_path(worker.config.run_dir, place.number), place.workers)
        try:
            await worker.start()
            await control.start()
        except (ConfigError, Unavailable) as error:
            self._channel.send(failed=str(error))
            return 1
        self._channel.send(ready=True)
        reloading = asyncio.create_task(self._reload(), name="reload")
        reason = await self._ends.get()
        self._is_ending = True
        reloading.cancel()
        await asyncio.gather(reloading, return_exceptions=True)
        stopping = asyncio.create_task(worker.stop(reason=reason))
        again = asyncio.create_task(self._ends.get())
        await asyncio.wait({stopping, again}, return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            stopping.cancel()
            await asyncio.gather(stopping, return_exceptions=True)
            await worker.stop(grace=0.0, reason="told twice")
        again.cancel()
        await asyncio.gather(stopping, again, return_exceptions=True)
        await control.stop()
        return self._code

    def _fail(self, reason: str) -> None:
        """End, and be replaced: a worker that lacks a part would take mail and not hand it on."""
        if not self._is_ending:
            self._code = 1
            self._channel.send(failed=reason)
            self._ends.put_nowait(reason)

    def _end(self) -> None:
        if os.getppid() != self._place.parent:
            self._lose_parent()
        else:
            self._ends.put_nowait("SIGTERM")

    def _lose_parent(self) -> None:
        # Told twice, by the kernel's signal and by the channel; it counts once.
        if not self._is_orphan:
            self._is_orphan = True
            self._ends.put_nowait("the parent process is gone")

    def _listen(self) -> None:
        for message in self._channel.receive():
            if self._reloads.full():
                self._reloads.get_nowait()  # the newest counts
            self._reloads.put_nowait(message)
        if self._channel.is_closed:
            asyncio.get_running_loop().remove_reader(self._channel.fileno())
            self._lose_parent()

    async def _reload(self) -> None:
        from gatepost.config.load import load
        from gatepost.config.reload import keep_standing, needs_restart

        worker = self._worker
        while True:
            message = await self._reloads.get()
            try:
                if "refused" in message:
                    raise ConfigError(message["refused"])
                text = message["config"]
                config = load(Path(message["path"]), os.environ, text=text)
                waits = needs_restart(worker.config, config)
                await worker.reload(
                    keep_standing(worker.config, config),
                    [unpack_pair(each) for each in message["pairs"]],
                    {name: unpack_trust(each) for name, each in message["trusts"].items()},
                )
                worker.waits_for_restart = waits
            except (ConfigError, Unavailable) as error:
                worker.reload_error = str(error)
                if "refused" not in message:
                    worker.emit(ReloadRefused(str(error)))
            self._channel.send(generation=worker.generation, error=worker.reload_error)


def open_event_log(config: Config, *, has_thread: bool = True) -> Any:
    """Open the log that *config* names.

    Raises:
        ConfigError: it cannot be opened.
    """
    observe = config.observe
    try:
        return open_log(observe.log_file or STDOUT, observe.log_level, observe.log_format, has_thread=has_thread)
    except OSError as error:
        raise ConfigError(
            f"observe.log_file: {observe.log_file} cannot be opened: {error.strerror}; check folder and rights"
        ) from None


def loop_factory(name: str) -> type[asyncio.AbstractEventLoop] | None:
    """Return what makes the event loop of that name; None is asyncio's own.

    Raises:
        ConfigError: uvloop was asked for, and is not installed.
    """
    if name == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:
        if name == "uvloop":
            raise ConfigError("uvloop is not installed; use --loop asyncio") from None
        return None
    return uvloop.Loop


def name_process(name: str) -> None:
    """Say in the process list who this is."""
    _prctl(_PR_SET_NAME, name.encode()[:15])


def die_with(parent: int) -> None:
    """Get SIGTERM when the parent ends, also before the loop runs and can read so from the channel."""
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != parent:
        os._exit(1)


def prefer_throughput() -> None:
    """Let this process work on while others become ready; its share of the time stays the same.

    Each octet we send wakes somebody, and the kernel would let them, or another worker, run at once in our place: with
    two workers on two cores that was nine times a message, a tenth of the time.
    """
    with contextlib.suppress(OSError, AttributeError):  # not everywhere, and not everywhere allowed
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def tune_memory() -> None:
    """Tell glibc how to keep memory.

    All threads take it from two arenas: by itself glibc gives each its own, which keeps what it had, though only one
    thread at a time is in Python.  And 2 MiB stay at hand: a large message passes in pieces of 16 to 256 KiB, which the
    kernel would be asked for and be given back one by one, some 2,500 pages for 10 MiB.
    """
    with contextlib.suppress(OSError, AttributeError):  # not in every libc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 2)
        mallopt(_M_TRIM_THRESHOLD, 2 << 20)
        mallopt(_M_MMAP_THRESHOLD, 1 << 20)


def _prctl(option: int, argument: int | bytes) -> None:
    try:
        ctypes.CDLL(None).prctl(option, argument, 0, 0, 0)
    except (OSError, AttributeError):
        _log.debug("prctl is not there")
