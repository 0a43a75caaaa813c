"""The parent process: forks the workers, waits for signals and children, and keeps as many alive as were asked for.

It has no event loop, no thread and no open database: it waits for signals and forks.  Sockets and TLS contexts are made
before, once, so that every worker has the same: the same listening queue, and tickets that hold in all of them.

    SIGTERM, SIGINT     the workers come to their end; a second one ends them at once
    SIGHUP              reload: tried here first, then handed to every worker
    SIGCHLD             a process of ours ended: another takes its place after a pause that grows
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from gatepost import __version__
from gatepost.channel import Channel, pack_pair, pack_trust
from gatepost.child import Place, die_with, live, name_process
from gatepost.config.check import check
from gatepost.config.load import load, read
from gatepost.config.reload import keep_standing, needs_restart
from gatepost.errors import ConfigError
from gatepost.listener.tls import load_pairs
from gatepost.observe.board import Board
from gatepost.observe.emit import Emitter
from gatepost.observe.events import ReloadRefused, ServerStarted, ServerStopped, WorkerLost
from gatepost.observe.metrics import Metrics
from gatepost.parts import bring_stores_up, client_trusts, key_pairs
from gatepost.spool.layout import share
from gatepost.state.connections import ConnectionTable
from gatepost.systemd import notify

if TYPE_CHECKING:
    import socket
    import ssl

    from gatepost.config.schema import Config

__all__ = ["Supervisor"]

_log = logging.getLogger("gatepost.supervisor")

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_ENDS: Final = (signal.SIGTERM, signal.SIGINT)
_PAUSES: Final = (0.1, 1.0, 2.0, 5.0, 10.0, 30.0)
_SETTLED: Final = 60.0  # who lived so long did not die of its start
_TURN: Final = 0.05
# Objects made, and not let go of, between two looks for cycles; a message makes some hundred, and hardly a cycle.
_MADE_BETWEEN_LOOKS: Final = 10_000
_START_PATIENCE: Final = 120.0  # recovery of a large spool takes its time
_STOP_PATIENCE: Final = 30.0  # more than the grace of the workers


@dataclass
class _Child:
    """A process of ours, or the place of one."""

    name: str
    work: Callable[[Channel], int]
    process: int = 0
    channel: Channel | None = None
    began: float = 0.0
    is_ready: bool = False
    lives: bool = False
    deaths: int = 0
    due: float | None = None  # when to start it again
    trouble: str = ""
    hears: bool = True  # of reloads
    gone: Callable[[], None] = lambda: None  # called when it has ended


@dataclass
class Supervisor:
    """Keeps the processes of a server.

    Args:
        config: as loaded and checked.
        sockets: bound and listening, one per listener.
        context: TLS of the listeners.
        emit: hears of what happens here; writes at once, for there is no thread.
        workers: how many.
        loop: event loop of the workers.
        leaves_sockets: whether the sockets belong to somebody who goes on listening (socket activation).
        admin: is the admin process, until SIGTERM.
    """

    config: Config
    sockets: Sequence[socket.socket]
    context: ssl.SSLContext
    emit: Emitter
    workers: int
    loop: str = "auto"
    leaves_sockets: bool = False
    admin: Callable[[Board], None] | None = None
    _children: list[_Child] = field(default_factory=list)
    _is_up: bool = False
    _is_told_early: bool = False  # to reload, while it still started

    def run(self) -> int:
        """Start, serve and stop; return the exit code.

        Raises:
            ConfigError: a worker cannot start as configured.
        """
        name_process("gatepost")
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        board, table = Board(self.workers), ConnectionTable(self.workers)
        self.emit.add(Metrics(board, board.parent))
        for number, folders in enumerate(share(self.config.spool_dir, self.workers)):
            place = Place(number, self.workers, folders, self.loop, os.getpid(), self.leaves_sockets, board, table)
            gone = partial(table.clear, number)
            self._children.append(_Child(f"worker {number}", self._worker(place), gone=gone))
        if self.admin is not None:
            self._children.append(_Child("admin", self._admin(self.admin, board, os.getpid()), hears=False))
        gc.collect()
        gc.freeze()  # what stands now is shared by all, and never looked at again
        gc.set_threshold(_MADE_BETWEEN_LOOKS, 10, 10)
        reason = "SIGTERM"
        try:
            for child in self._children:
                self._start(child)
            reason = self._wait_for_start() or self._serve()
        finally:
            self._stop()
            if self._is_up:
                self.emit(ServerStopped(reason=reason))
        return 0

    def _worker(self, place: Place) -> Callable[[Channel], int]:
        return lambda channel: live(self.config, self.sockets, self.context, channel, place)

    def _admin(self, admin: Callable[[Board], None], board: Board, parent: int) -> Callable[[Channel], int]:
        def work(channel: Channel) -> int:
            name_process("gatepost-admin")
            die_with(parent)
            for sock in self.sockets:
                sock.close()
            channel.send(ready=True)
            admin(board)
            return 0

        return work

    # Processes.

    def _start(self, child: _Child) -> None:
        here, there = Channel.pair()
        try:
            process = os.fork()
        except OSError:
            here.close()
            there.close()
            raise
        if process == 0:
            self._be(child, here, there)
        there.close()
        child.process, child.channel, child.began = process, here, time.monotonic()
        child.lives, child.is_ready, child.due, child.trouble = True, False, None, ""

    def _be(self, child: _Child, here: Channel, there: Channel) -> None:
        """Be the child; never return."""
        code = 1
        try:
            here.close()
            for other in self._children:
                if other.channel is not None:
                    other.channel.close()
            code = child.work(there)
        except BaseException:  # noqa: BLE001 - told of below, and it must not come back into the parent's code
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                try:
                    stream.flush()
                except OSError:
                    code = code or 1
            os._exit(code)

    def _reap(self) -> list[_Child]:
        """Return the children that have ended; `trouble` says how."""
        ended: list[_Child] = []
        while True:
            try:
                process, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return ended
            if process == 0:
                return ended
            # As the first process of a container we inherit strangers, too.
            for child in self._children:
                if child.lives and child.process == process:
                    self._listen(child)
                    if child.channel is not None:
                        child.channel.close()
                    child.channel, child.is_ready, child.lives = None, False, False
                    child.gone()
                    child.trouble = child.trouble or f"{child.name} {_how(status)}"
                    ended.append(child)

    def _listen(self, child: _Child) -> None:
        for message in child.channel.receive() if child.channel is not None else ():
            child.is_ready = child.is_ready or "ready" in message
            child.trouble = str(message.get("failed", child.trouble))

    # The life of the server.

    def _wait_for_start(self) -> str:
        """Wait until all workers accept; return the reason to stop if there is one before."""
        deadline = time.monotonic() + _START_PATIENCE
        while not all(child.is_ready for child in self._children):
            number = self._next_signal(_TURN)
            if number in _ENDS:
                return signal.Signals(number).name
            self._is_told_early = self._is_told_early or number == signal.SIGHUP
            for child in self._reap():
                raise ConfigError(child.trouble)
            for child in self._children:
                self._listen(child)
            if time.monotonic() > deadline:
                raise ConfigError("the workers did not start in time; see the log")
        self._is_up = True
        named = tuple(
            f"{each.name} {each.address}:{sock.getsockname()[1]}"
            for each, sock in zip(self.config.listener, self.sockets, strict=True)
        )
        self.emit(ServerStarted(version=__version__, listeners=named))
        notify(READY=1, STATUS=f"{self.workers} workers accept")
        return ""

    def _serve(self) -> str:
        """Keep the children alive; return why to stop."""
        if self._is_told_early:
            self._reload()
        while True:
            dues = [child.due for child in self._children if child.due is not None]
            number = self._next_signal(max(min(dues) - time.monotonic(), 0.0) if dues else None)
            if number in _ENDS:
                return signal.Signals(number).name
            if number == signal.SIGHUP:
                self._reload()
            for child in self._reap():
                self._mourn(child)
            for child in self._children:
                self._listen(child)
                if child.due is not None and child.due <= time.monotonic():
                    self._start_again(child)

    def _start_again(self, child: _Child) -> None:
        try:
            self._start(child)
        except OSError as error:
            # Out of memory, processes or descriptors: those that live go on, and this one is tried again.
            child.due = time.monotonic() + _PAUSES[-1]
            _log.error("cannot start a process", extra={"problem": error.strerror, "name_of_it": child.name})

    def _next_signal(self, seconds: float | None) -> int:
        if seconds is None:
            return signal.sigwaitinfo(_SIGNALS).si_signo
        found = signal.sigtimedwait(_SIGNALS, seconds)
        return 0 if found is None else found.si_signo

    def _mourn(self, child: _Child) -> None:
        now = time.monotonic()
        if now - child.began > _SETTLED:
            child.deaths = 0
        pause = _PAUSES[min(child.deaths, len(_PAUSES) - 1)]
        child.deaths += 1
        child.due = now + pause
        self.emit(WorkerLost(worker=child.name, process=child.process, reason=child.trouble, pause=pause))

    def _reload(self) -> None:
        notify(RELOADING=1)
        path = self.config.source.path
        message: dict[str, object]
        try:
            text = read(path)
            config = load(path, os.environ, text=text)
            findings = check(config)
            if findings.problems:
                raise ConfigError(*findings.problems)
            bring_stores_up(config)
            pairs, trusts = key_pairs(config), client_trusts(config)
            # For the workers that are forked from now on.
            load_pairs(self.context, pairs, minimum_version=config.tls.minimum_version, trusts=trusts)
        except (ConfigError, OSError) as error:  # no SIGHUP ends a server, whatever the disk says to it
            self.emit(ReloadRefused(str(error)))
            message = {"refused": str(error)}
        else:
            for warning in (*findings.warnings, *needs_restart(self.config, config)):
                _log.warning("configuration", extra={"warning": warning})
            # What needs a restart stays as it is, also in workers that are forked from now on.
            self.config = keep_standing(self.config, config)
            message = {
                "path": str(path),
                "config": text,
                "pairs": [pack_pair(each) for each in pairs],
                "trusts": {name: pack_trust(each) for name, each in trusts.items()},
            }
        for child in self._children:
            if child.hears and child.channel is not None and not child.channel.send(**message):
                _log.error("a process does not listen", extra={"process": child.process})
        notify(READY=1)

    def _stop(self) -> None:
        """End all children; those that do not end in time are killed."""
        notify(STOPPING=1)
        self._tell(signal.SIGTERM)
        deadline = time.monotonic() + _STOP_PATIENCE
        self._reap()
        while any(child.lives for child in self._children):
            if self._next_signal(_TURN) in _ENDS:
                self._tell(signal.SIGTERM)
            self._reap()
            if time.monotonic() > deadline:
                self._tell(signal.SIGKILL)
                deadline = float("inf")

    def _tell(self, number: signal.Signals) -> None:
        for child in self._children:
            if child.lives:
                os.kill(child.process, number)


def _how(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"was ended by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"ended with exit code {os.WEXITSTATUS(status)}"
