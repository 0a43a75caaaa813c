"""A plain SMTP conversation, one command at a time, for the test message of ``gatepost send`` (RFC 5321, RFC 4954)."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from gatepost.errors import GatepostError, Malformed
from gatepost.sasl.wire import decode_base64, encode_base64

if TYPE_CHECKING:
    from gatepost.sasl.client import Login

__all__ = ["Refused", "Reply", "Talk"]

_SECONDS = 60.0
_LINE_LIMIT = 65536
_LINES_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server said."""

    code: int
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.code} {' '.join(self.lines)}"


class Refused(GatepostError):
    """The server did not say what it should: what it said instead."""


class Talk:
    """One connection.  Every method raises `Refused` when the server says no, and `OSError` when the line breaks."""

    def __init__(self, address: tuple[str, int], name: str, context: ssl.SSLContext, *, implicit_tls: bool) -> None:
        self._name = name
        self._context = context
        self._socket = socket.create_connection(address, _SECONDS)
        try:
            if implicit_tls:
                self._wrap()
            self._file = self._socket.makefile("rb")
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    @property
    def tls(self) -> str:
        """Version and cipher of the TLS session."""
        if not isinstance(self._socket, ssl.SSLSocket):
            return "none"
        cipher = self._socket.cipher()
        return f"{self._socket.version()} {cipher[0] if cipher else ''}".strip()

    @property
    def binding(self) -> tuple[str, bytes] | None:
        """Type and data of the channel binding, if the connection can have one."""
        from gatepost.channel_binding import bindings_of

        return next(iter(bindings_of(self._socket).items()), None)

    def greeting(self) -> Reply:
        """Read the greeting."""
        return self._expect(self._reply(), 220)

    def ehlo(self) -> Mapping[str, str]:
        """Say EHLO; return the extensions by keyword, with their parameters."""
        reply = self._expect(self.command("EHLO [127.0.0.1]"), 250)
        return {keyword.upper(): rest for keyword, _, rest in (line.partition(" ") for line in reply.lines[1:])}

    def start_tls(self) -> Reply:
        """Go over to TLS."""
        reply = self._expect(self.command("STARTTLS"), 220)
        self._file.close()
        self._wrap()
        self._file = self._socket.makefile("rb")
        return reply

    def login(self, name: str, login: Login) -> Reply:
        """Log in with the mechanism called *name*; the server must prove itself where the mechanism has that."""
        initial = login.initial
        # RFC 4954 §4: "=" stands for an initial response that is empty.
        words = ["AUTH", name] if initial is None else ["AUTH", name, encode_base64(initial).decode() or "="]
        reply = self.command(" ".join(words))
        try:
            while reply.code == 334:
                reply = self.command(encode_base64(login.respond(decode_base64(reply.lines[0].encode()))).decode())
            self._expect(reply, 235)
            login.succeed()
        except Malformed as error:
            raise Refused(f"the server does not keep to {name}: {error.reason}") from None
        return reply

    def expect(self, line: str, code: int) -> Reply:
        """Send a command, and want that code."""
        return self._expect(self.command(line), code)

    def data(self, text: bytes) -> Reply:
        """Send a message that has no line that begins with a dot."""
        self.expect("DATA", 354)
        self._socket.sendall(text + b".\r\n")
        return self._expect(self._reply(), 250)

    def command(self, line: str) -> Reply:
        """Send a command; return the reply, whatever it is."""
        self._socket.sendall(line.encode() + b"\r\n")
        return self._reply()

    def _wrap(self) -> None:
        self._socket = self._context.wrap_socket(self._socket, server_hostname=self._name)

    def _reply(self) -> Reply:
        lines: list[str] = []
        while len(lines) < _LINES_LIMIT:
            line = self._file.readline(_LINE_LIMIT)
            if not line.endswith(b"\n"):
                raise Refused("the server closed the connection")
            # RFC 5321 §4.2.1: three digits, and a hyphen on all lines but the last.
            if not line[:3].isdigit() or line[3:4] not in (b" ", b"-", b"\r", b"\n"):
                raise Refused("the server does not speak SMTP")
            lines.append(line[4:].decode("utf-8", "replace").rstrip("\r\n"))
            if line[3:4] != b"-":
                return Reply(int(line[:3]), tuple(lines))
        raise Refused("the server does not end its reply")

    def _expect(self, reply: Reply, code: int) -> Reply:
        if reply.code != code:
            raise Refused(str(reply))
        return reply
