"""A client over TLS that logs in with any mechanism or says what it likes; and neighbours that run beside it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, ClassVar

from gatepost.model.identity import Secret
from gatepost.sasl.client import MECHANISMS, Credentials
from servers import Gatepost

__all__ = ["Talk", "neighbours", "soon"]

_BY_NAME = {each.name: each for each in MECHANISMS}


class Talk:
    """A client that knows what it says, on a connection over TLS and from an address of its own."""

    heard: ClassVar[list[bytes]] = []
    _numbers = itertools.count(1)

    def __init__(self, server: Gatepost, context: ssl.SSLContext) -> None:
        number = next(self._numbers)
        source = (f"127.7.{number // 250}.{number % 250 + 1}", 0)
        plain = socket.create_connection(("127.0.0.1", server.implicit_port), timeout=60, source_address=source)
        self._socket = context.wrap_socket(plain, server_hostname="localhost")
        self._file = self._socket.makefile("rb")
        assert self._hear().startswith(b"220")
        self.ehlo = self.say(b"EHLO client.example.net")

    def say(self, line: bytes) -> bytes:
        """Return the last line of the reply; empty when the server has hung up."""
        try:
            self._socket.sendall(line + b"\r\n")
            return self._hear()
        except OSError:
            return b""

    def _hear(self) -> bytes:
        while True:
            line = self._file.readline()
            self.heard.append(line)
            if line[3:4] != b"-":
                return line.rstrip(b"\r\n")

    def log_in(self, mechanism: str, login: str, secret: str) -> bytes:
        how, brought = _BY_NAME[mechanism], Secret(secret.encode())
        talk = how.start(Credentials(login, **{"token" if how.takes_token else "password": brought}))
        said = f"AUTH {mechanism}".encode() + (b"" if talk.initial is None else b" " + base64.b64encode(talk.initial))
        answer = self.say(said)
        while answer.startswith(b"334"):
            answer = self.say(base64.b64encode(talk.respond(base64.b64decode(answer[4:]))))
        return answer

    def send(self, sender: str, to: str) -> bytes:
        for line in (f"MAIL FROM:<{sender}>", f"RCPT TO:<{to}>", "DATA"):
            answer = self.say(line.encode())
        assert answer.startswith(b"354"), answer
        return self.say(f"From: <{sender}>\r\nSubject: marked\r\n\r\nhello\r\n.".encode())

    def close(self) -> None:
        self._file.close()
        self._socket.close()


async def soon(call: Callable[[], None]) -> None:
    """Call it in the loop."""
    call()


@contextlib.contextmanager
def neighbours() -> Iterator[Callable[[Coroutine[Any, Any, None]], None]]:
    """Run an event loop in a thread; yield what runs something there and waits for it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="neighbours", daemon=True)
    thread.start()
    try:
        yield lambda work: asyncio.run_coroutine_threadsafe(work, loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
