"""One failed login as a stranger sees it: a connection of its own, and how long each answer takes."""

from __future__ import annotations

import base64
import socket
import ssl
import time
from dataclasses import dataclass

from gatepost.model.identity import Secret
from gatepost.sasl.client import MECHANISMS, Credentials

__all__ = ["Bearer", "Tried", "try_to_log_in"]

_MECHANISMS = {each.name: each for each in MECHANISMS}
_PATIENCE = 60.0


@dataclass(frozen=True)
class Bearer:
    """What somebody brings: a login, and a secret or, for mechanisms that take one, an access token."""

    login: str
    secret: str


@dataclass(frozen=True)
class Tried:
    """What came of it: seconds from each line that was judged to its answer, and the last answer without its id."""

    seconds: dict[str, float]
    reply: str


class _Line:
    """A connection over TLS on which one line is said and one answer read."""

    def __init__(self, port: int, context: ssl.SSLContext, source: str) -> None:
        plain = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE, source_address=(source, 0))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = context.wrap_socket(plain, server_hostname="localhost")
        self._rest = b""

    def say(self, line: bytes) -> None:
        self.socket.sendall(line + b"\r\n")

    def hear(self) -> bytes:
        """Return the last line of the next reply."""
        while True:
            while b"\n" not in self._rest:
                octets = self.socket.recv(8192)
                if not octets:
                    raise ConnectionError("the server hung up")
                self._rest += octets
            line, _, self._rest = self._rest.partition(b"\n")
            if line[3:4] != b"-":
                return line.rstrip(b"\r")


def try_to_log_in(port: int, context: ssl.SSLContext, source: str, mechanism: str, bearer: Bearer) -> Tried:
    """Fail to log in from the address *source*.

    Raises:
        RuntimeError: it was no failure, or one of another kind.
    """
    how = _MECHANISMS[mechanism]
    secret = Secret(bearer.secret.encode())
    brought = Credentials(bearer.login, **{"token" if how.takes_token else "password": secret})
    line = _Line(port, context, source)
    try:
        line.hear()
        line.say(b"EHLO client.example.net")
        line.hear()
        talk = how.start(brought)
        said = f"AUTH {mechanism}".encode()
        if talk.initial is not None:
            said += b" " + base64.b64encode(talk.initial)
        seconds: dict[str, float] = {}
        while True:
            began = time.perf_counter()
            line.say(said)
            answer = line.hear()
            taken = time.perf_counter() - began
            if not answer.startswith(b"334"):
                seconds.setdefault("no", taken)
                break
            challenge = base64.b64decode(answer[4:])
            if how.takes_token:
                seconds["no"] = taken  # RFC 7628 §3.2.3: the challenge says it, and 535 only ends the exchange
            elif mechanism.startswith("SCRAM"):
                seconds["challenge"] = taken
            said = base64.b64encode(talk.respond(challenge))
    finally:
        line.socket.close()
    reply = answer.decode().partition(" [")[0]
    if not reply.startswith("535 5.7.8"):
        raise RuntimeError(f"{mechanism} {bearer.login}: {answer.decode()}")
    return Tried(seconds, reply)
