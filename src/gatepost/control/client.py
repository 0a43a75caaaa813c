"""The other end of the control sockets, for programs that may wait: the command line.

rows = ask(path, {"verb": "status"}, timeout=5.0)
answers = ask_all(socket_paths(run_dir), {"verb": "status"}, timeout=5.0)
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gatepost.control.protocol import ROW_BYTES, decode, encode, reachable
from gatepost.errors import Malformed, Unavailable

__all__ = ["Caller", "HungUp", "ask", "ask_all"]

_PIECE = 1 << 16


class HungUp(Unavailable):
    """A worker took the call and said nothing to it: it is just ending, and may come back."""


class Caller:
    """One request to one worker.

    Args:
        path: its socket.
        request: what is asked.
        timeout: how long to wait for the connection, in seconds.

    Raises:
        Unavailable: it does not listen.
    """

    def __init__(self, path: Path, request: dict[str, Any], timeout: float) -> None:
        self._name = path.stem.replace("-", " ")
        self._path = path
        self._buffer = b""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(timeout)
        try:
            with reachable(path) as address:
                self._socket.connect(address)
            # Who hung up already may have said why, and that is still to be read.
            with contextlib.suppress(BrokenPipeError):
                self._socket.sendall(encode(request))
        except OSError as error:
            self._socket.close()
            raise self._silent(error) from None

    def fileno(self) -> int:
        """Return the descriptor, to wait for what comes."""
        return self._socket.fileno()

    def read(self, timeout: float) -> tuple[list[Any], bool]:
        """Wait for something to come; return the rows of it, and whether they were the last.

        Raises:
            HungUp: the worker is gone.
            Unavailable: nothing comes in time, or it says that it cannot.
        """
        self._socket.settimeout(max(timeout, 0.001))
        try:
            piece = self._socket.recv(_PIECE)
        except OSError as error:
            raise self._silent(error) from None
        *lines, self._buffer = (self._buffer + piece).split(b"\n")
        rows: list[Any] = []
        for line in lines:
            message = self._understood(line)
            if "error" in message:
                raise Unavailable(f"{self._name}: {message['error']}")
            if "done" in message:
                return rows, True
            rows.append(message.get("row"))
        if not piece:
            raise HungUp(f"{self._name} ended before it had answered; see its log")
        if len(self._buffer) > ROW_BYTES:
            raise Unavailable(f"{self._name} ({self._path}) sends lines without end: is it gatepost?")
        return rows, False

    def _understood(self, line: bytes) -> dict[str, Any]:
        try:
            return decode(line)
        except Malformed as error:
            raise Unavailable(f"{self._name} ({self._path}) sends what is not understood: {error}") from None

    def _silent(self, error: OSError) -> Unavailable:
        reason = "nothing came in time" if isinstance(error, TimeoutError) else error.strerror or str(error)
        kind = HungUp if isinstance(error, ConnectionError) else Unavailable
        return kind(f"{self._name} does not answer: {self._path}: {reason}")

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def ask(path: Path, request: dict[str, Any], timeout: float) -> list[Any]:
    """Ask one worker; return its rows.

    Args:
        path: its socket.
        request: what is asked.
        timeout: how long the whole of it may take, in seconds.

    Raises:
        Unavailable: it does not answer, or says that it cannot.
    """
    return _finish(Caller(path, request, timeout), time.monotonic() + timeout)


def ask_all(paths: Mapping[int, Path], request: dict[str, Any], timeout: float) -> dict[int, list[Any] | Unavailable]:
    """Ask all workers at once; return the rows of each, or why there are none."""
    deadline = time.monotonic() + timeout
    answers: dict[int, list[Any] | Unavailable] = {}
    callers: dict[int, Caller] = {}
    for number, path in paths.items():
        try:
            callers[number] = Caller(path, request, max(deadline - time.monotonic(), 0.001))
        except Unavailable as error:
            answers[number] = error
    for number, caller in callers.items():
        try:
            answers[number] = _finish(caller, deadline)
        except Unavailable as error:
            answers[number] = error
    return dict(sorted(answers.items()))


def _finish(caller: Caller, deadline: float) -> list[Any]:
    rows: list[Any] = []
    is_last = False
    with contextlib.closing(caller):
        while not is_last:
            more, is_last = caller.read(deadline - time.monotonic())
            rows += more
    return rows
