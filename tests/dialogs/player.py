"""Play a dialog: a conversation as a text file, one line for each that is sent or must come.

    # what it proves; `RFC 4954 §4:` at the start names the rule
    with implicit                     settings of the session, before the first line: `starttls` or `implicit`
    C: EHLO client.example            sent, with CRLF; several C lines in a row go out in one write
    C+ .\\r\\n                        sent as it is, escapes read, with no CRLF of its own
    S: 250-* SIZE 26214400 *          one whole reply, its lines joined by spaces; `*` is anything
    S! *AUTH*                         the reply of the line before does not look like this
    TLS                               shake hands now
    END                               the server hangs up, and says nothing more

In a C line `{base64:tim\\0secret}` stands for the base64 of what is in it, `{x*100}` for a hundred x, and
`{X: y\\r\\n*100}` for a hundred such lines.
"""

from __future__ import annotations

import base64
import contextlib
import re
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Dialog", "play", "read_dialog"]

_ESCAPE = re.compile(rb"\\(r|n|0|t|\\|x[0-9a-f]{2})")
_PLAIN = {b"r": b"\r", b"n": b"\n", b"0": b"\0", b"t": b"\t", b"\\": b"\\"}


@dataclass(frozen=True)
class Dialog:
    """One conversation."""

    path: Path
    is_implicit: bool
    marks: tuple[str, ...]
    steps: tuple[tuple[str, str], ...]


def read_dialog(path: Path) -> Dialog:
    """Read a dialog file."""
    steps = []
    text = path.read_text()
    is_implicit = False
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("with "):
            is_implicit = line.split()[1] == "implicit"
            continue
        kind, _, rest = line.partition(" ")
        assert kind in {"C:", "C+", "S:", "S!", "TLS", "END"}, f"{path}:{number}: {line}"
        steps.append((kind, rest))
    marks = tuple(re.findall(r"^# RFC (\d+ §[\d.]+)", text, re.MULTILINE))
    assert text.startswith("# "), f"{path}: say what it proves"
    return Dialog(path, is_implicit, marks, tuple(steps))


def _octets(text: str) -> bytes:
    def replace(match: re.Match[bytes]) -> bytes:
        what = match[1]
        return bytes([int(what[1:], 16)]) if what[:1] == b"x" else _PLAIN[what]

    def unescape(raw: bytes) -> bytes:
        return _ESCAPE.sub(replace, raw)

    raw = re.sub(
        rb"\{base64:([^}]*)\}",
        lambda match: base64.b64encode(unescape(match[1])).replace(b"\\", b"\\\\"),
        text.encode(),
    )
    raw = re.sub(rb"\{([^{}*]+)\*(\d+)\}", lambda match: match[1] * int(match[2]), raw)
    return unescape(raw)


class _Line:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = b""

    def reply(self) -> str:
        lines = []
        while True:
            while b"\r\n" not in self.buffer:
                data = self.sock.recv(65536)
                if not data:
                    raise AssertionError(f"hung up after {lines} {self.buffer!r}")
                self.buffer += data
            line, _, self.buffer = self.buffer.partition(b"\r\n")
            assert re.match(rb"[2-5]\d\d[ -]", line), f"not a reply line: {line!r}"
            lines.append(line.decode("ascii"))
            if line[3:4] == b" ":
                assert len({each[:3] for each in lines}) == 1
                return " ".join(lines)

    def at_end(self) -> bool:
        if self.buffer:
            return False
        try:
            return self.sock.recv(1) == b""
        except ConnectionResetError:
            return True


def play(dialog: Dialog, address: tuple[str, int], context: ssl.SSLContext, hostname: str) -> None:
    """Hold the conversation with the server at *address*."""
    with contextlib.ExitStack() as sockets:
        sock: socket.socket = sockets.enter_context(socket.create_connection(address, timeout=60))
        if dialog.is_implicit:
            sock = sockets.enter_context(context.wrap_socket(sock, server_hostname=hostname))
        line = _Line(sock)
        out = b""
        last = ""
        for number, (kind, text) in enumerate(dialog.steps, 1):
            where = f"{dialog.path.name}, step {number}: {kind} {text}"
            if kind == "C:":
                out += _octets(text) + b"\r\n"
                continue
            if kind == "C+":
                out += _octets(text)
                continue
            if out:
                line.sock.sendall(out)
                out = b""
            if kind == "S:":
                last = line.reply()
                assert _matches(text, last), f"{where}\ngot: {last}"
            elif kind == "S!":
                assert not _matches(text, last), f"{where}\ngot: {last}"
            elif kind == "TLS":
                assert not line.buffer, where
                line.sock = sockets.enter_context(context.wrap_socket(line.sock, server_hostname=hostname))
            else:
                assert line.at_end(), where


def _matches(pattern: str, reply: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), reply, re.DOTALL) is not None
