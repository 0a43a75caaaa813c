"""The yardstick: stock aiosmtpd with a naive handler that writes and syncs a file in the loop.  It relays nothing.

stock.py FOLDER CERTIFICATE KEY PORT LOGIN PASSWORD
"""

from __future__ import annotations

import itertools
import logging
import os
import signal
import ssl
import sys
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

folder, certificate, key, port, login, password = sys.argv[1:]
numbers = itertools.count()


def authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object) -> AuthResult:
    known = LoginPassword(login.encode(), password.encode())
    return AuthResult(success=data == known, handled=False)


class Spool:
    """Keeps each message in a file."""

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        path = f"{folder}/m{next(numbers)}"
        descriptor = os.open(f"{path}.t", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, repr((envelope.mail_from, envelope.rcpt_tos)).encode() + b"\n")
            os.write(descriptor, envelope.content or b"")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(f"{path}.t", path)
        return "250 2.0.0 queued"


class Listener(Controller):
    """The stock one, with room for all connections of the load at once."""

    def _create_server(self) -> Any:
        return self.loop.create_server(self._factory_invoker, host=self.hostname, port=self.port, backlog=1024)


logging.disable(logging.WARNING)
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(certificate, key)
Listener(
    Spool(),
    hostname="127.0.0.1",
    port=int(port),
    tls_context=context,
    require_starttls=True,
    authenticator=authenticate,
    auth_required=True,
    data_size_limit=64 << 20,
    timeout=300,
).start()
signal.sigwait({signal.SIGTERM, signal.SIGINT})
os._exit(0)
