"""The control socket of a worker: takes one request from each client, answers it, hangs up.

Only the owner of the state folder, and root, can connect.  Even so, no client can stop the loop or make memory grow: a
request is short and must come soon, answers are bounded, few clients are served at once, and a reader who is too slow
is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gatepost.control.protocol import REQUEST_BYTES, decode, encode, reachable, socket_paths
from gatepost.control.tail import Tail, parse_wanted
from gatepost.control.verbs import VERBS, Context
from gatepost.ending import cancelled
from gatepost.errors import ConfigError, GatepostError, Malformed
from gatepost.observe.events import Event

if TYPE_CHECKING:
    from gatepost.app import Worker

__all__ = ["Control"]

_log = logging.getLogger("gatepost.control")

_CLIENTS: Final = 32
_TAILS: Final = 8
_REQUEST_SECONDS: Final = 5.0
_VERB_SECONDS: Final = 30.0
_WRITE_SECONDS: Final = 10.0


class Control:
    """Listens on a socket for one worker.

    Args:
        worker: who answers.
        path: of the socket, in a folder that is made if it is missing.
        workers: how many workers there are; the first of them removes the sockets of more.
    """

    def __init__(self, worker: Worker, path: Path, workers: int = 1) -> None:
        self._worker = worker
        self._path = path
        self._workers = workers
        self._since = worker.clock.now()
        self._inode = (0, 0)
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._tails: set[Tail] = set()

    async def start(self) -> None:
        """Listen; the socket of a process that is no more is replaced.

        Raises:
            ConfigError: it cannot be made, or another process listens there.
        """
        sock = self._bind()
        # More clients than we serve wait in the backlog only until they are told so.
        self._server = await asyncio.start_unix_server(self._accept, sock=sock, limit=REQUEST_BYTES)
        self._worker.emit.add(self._hear)

    async def stop(self) -> None:
        """Hang up on everybody, and remove the socket."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        await cancelled(self._clients)
        with contextlib.suppress(OSError):
            status = self._path.lstat()
            if (status.st_dev, status.st_ino) == self._inode:
                self._path.unlink()

    def _bind(self) -> socket.socket:
        folder = self._path.parent
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        fresh = self._path.with_suffix(f".{os.getpid()}")
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
            self._check_free()
            self._sweep()
            with reachable(fresh) as address:
                fresh.unlink(missing_ok=True)
                sock.bind(address)
            fresh.chmod(0o600)
            sock.listen(_CLIENTS)
            status = fresh.lstat()
            self._inode = (status.st_dev, status.st_ino)
            fresh.replace(self._path)
        except OSError as error:
            sock.close()
            raise ConfigError(
                f"{self._path}: the control socket cannot be made: {error.strerror or error}; "
                "check who owns the folder, and whether its file system has room"
            ) from None
        except BaseException:
            sock.close()
            raise
        return sock

    def _check_free(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as probe:
            try:
                with reachable(self._path) as address:
                    probe.connect(address)
            except (FileNotFoundError, ConnectionRefusedError):
                return
            except BlockingIOError:
                pass  # somebody listens, and is busy
        raise ConfigError(f"{self._path}: another process listens there; stop it first")

    def _sweep(self) -> None:
        """Remove sockets of workers that are no more: a server has started with fewer than before."""
        if self._worker.number == 0:
            for number, path in socket_paths(self._path.parent).items():
                if number >= self._workers:
                    path.unlink(missing_ok=True)

    def _hear(self, event: Event) -> None:
        for tail in self._tails:
            tail(event)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        writer.transport.set_write_buffer_limits(high=0)  # drain() waits until everything is with the kernel
        try:
            await self._serve(reader, writer)
        except (OSError, TimeoutError) as error:
            _log.debug("a control client was left: %s", error or type(error).__name__)
        finally:
            self._clients.discard(task)
            # What is left was not read in time; close() would keep it until it is.
            if writer.transport.get_write_buffer_size():
                writer.transport.abort()
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) > _CLIENTS:
            await self._send(writer, {"error": f"busy with {_CLIENTS} others; try again in a moment"})
            return
        async with asyncio.timeout(_REQUEST_SECONDS):
            try:
                line = await reader.readline()
            except ValueError:  # what asyncio says of a line that is too long
                line = b""
        try:
            request = decode(line)
            verb = request.get("verb")
            if verb == "tail":
                await self._tail(reader, writer, request)
                return
            if not isinstance(verb, str) or verb not in VERBS:
                raise Malformed(f"there is no such verb; there are: {', '.join(VERBS)}, tail")
            async with asyncio.timeout(_VERB_SECONDS):
                rows = await VERBS[verb](Context(self._worker, self._workers, self._since), request)
        except GatepostError as error:
            await self._send(writer, {"error": str(error)})
        except TimeoutError:
            await self._send(writer, {"error": f"could not do it within {_VERB_SECONDS:.0f} seconds"})
        else:
            for row in rows:
                await self._send(writer, {"row": row})
            await self._send(writer, {"done": True})

    async def _tail(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Mapping[str, Any]
    ) -> None:
        """Send events until the client hangs up; what it does not read in time is dropped, and counted."""
        if len(self._tails) >= _TAILS:
            raise Malformed(f"{_TAILS} others follow the events of this worker already; end one of them")
        tail = Tail(parse_wanted(request))
        sending = asyncio.ensure_future(self._send_on(writer, tail))
        hung_up = asyncio.ensure_future(reader.read(1))
        self._tails.add(tail)
        try:
            await asyncio.wait({sending, hung_up}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._tails.discard(tail)
            for task in (sending, hung_up):
                task.cancel()
            await asyncio.gather(sending, hung_up, return_exceptions=True)

    async def _send_on(self, writer: asyncio.StreamWriter, tail: Tail) -> None:
        # The first line says that from now on nothing is missed.
        writer.write(encode({"row": {"tail": self._worker.number}}))
        while True:
            # No deadline here: a terminal may stand still, and has its bound in the tail.
            await writer.drain()
            lines, dropped = await tail.next()
            writer.write(b"".join([encode({"row": {"line": line}}) for line in lines]))
            if dropped:
                writer.write(encode({"row": {"dropped": dropped}}))

    async def _send(self, writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
        writer.write(encode(message))
        async with asyncio.timeout(_WRITE_SECONDS):
            await writer.drain()
