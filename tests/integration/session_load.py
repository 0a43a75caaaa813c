"""Sessions of one message each, by turns with STARTTLS and implicit TLS, resuming TLS; a JSON line for each.

Usage: session_load.py STARTTLS_PORT IMPLICIT_PORT CA_FILE LOGIN SECRET NAME.  SIGTERM ends it after the session under
way.  Nothing is tried twice: what goes wrong is written down.
"""

from __future__ import annotations

import base64
import json
import signal
import socket
import ssl
import sys


class Trouble(Exception):
    """An answer that was not expected."""


class Session:
    """One connection."""

    def __init__(self, port: int, context: ssl.SSLContext, tickets: dict[str, ssl.SSLSession], kind: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.context, self.tickets, self.kind = context, tickets, kind
        self.buffer = b""

    def start_tls(self) -> bool:
        self.socket = self.context.wrap_socket(
            self.socket, server_hostname="localhost", session=self.tickets.get(self.kind)
        )
        return bool(self.socket.session_reused)

    def expect(self, code: str) -> None:
        while True:
            while b"\n" not in self.buffer:
                octets = self.socket.recv(65536)
                if not octets:
                    raise Trouble(f"hung up where {code} was expected")
                self.buffer += octets
            line, _, self.buffer = self.buffer.partition(b"\n")
            if line[3:4] != b"-":
                break
        if not line.startswith(code.encode()):
            raise Trouble(line.decode())

    def say(self, text: str, code: str) -> None:
        self.socket.sendall(text.encode() + b"\r\n")
        self.expect(code)


def main() -> None:
    """Go on until told to stop."""
    starttls_port, implicit_port, ca_file, login, secret, name = sys.argv[1:]
    context = ssl.create_default_context(cafile=ca_file)
    is_over = []
    signal.signal(signal.SIGTERM, lambda *_: is_over.append(True))
    tickets: dict[str, ssl.SSLSession] = {}
    token = base64.b64encode(f"\0{login}\0{secret}".encode()).decode()
    number = 0
    while not is_over:
        number += 1
        mark = f"{name}-{number}"
        kind = "starttls" if number % 2 else "implicit"
        stage = "connect"
        try:
            session = Session(int(starttls_port if number % 2 else implicit_port), context, tickets, kind)
            with session.socket:
                stage = "tls"
                resumed = False
                if kind == "implicit":
                    resumed = session.start_tls()
                stage = "greeting"
                session.expect("220")
                session.say("EHLO load.example", "250")
                if kind == "starttls":
                    session.say("STARTTLS", "220")
                    stage = "tls"
                    resumed = session.start_tls()
                    session.say("EHLO load.example", "250")
                stage = "login"
                session.say(f"AUTH PLAIN {token}", "235")
                stage = "transaction"
                session.say(f"MAIL FROM:<{login}>", "250")
                session.say("RCPT TO:<bob@example.net>", "250")
                session.say("DATA", "354")
                head = f"From: {login}\r\nX-Mark: {mark}\r\n\r\n"
                session.say(f"{head}hello\r\nend of {mark}\r\n.", "250")
                # The ticket is there by now.
                assert isinstance(session.socket, ssl.SSLSocket)
                if session.socket.session is not None:
                    tickets[kind] = session.socket.session
                print(json.dumps({"mark": mark, "resumed": int(resumed)}), flush=True)
        except (Trouble, OSError) as error:
            print(json.dumps({"trouble": f"{stage}: {error}", "session": mark}), flush=True)


if __name__ == "__main__":
    main()
