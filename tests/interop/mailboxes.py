"""Next hops that keep mail for their users: Dovecot over LMTP, and stock aiosmtpd behind a login."""

from __future__ import annotations

import os
import pwd
import ssl
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from dovecot import Dovecot
from interop.unpacked import LOGIN, PASSWORD
from servers import Authority, free_ports

__all__ = ["Aiosmtpd", "DovecotHop", "DovecotLmtp"]

_LMTP = """\
protocols = lmtp
mail_save_crlf = yes
first_valid_uid = 1
lmtp_save_to_detail_mailbox = no
service lmtp {{
  {user}
  unix_listener lmtp {{
    mode = 0600
  }}
  inet_listener {{
    address = 127.0.0.1
    port = {port}
  }}
}}
"""


class DovecotLmtp:
    """A Dovecot that keeps mail for the users of some domains, and answers for each of them on its own.

    Args:
        domains: each has all of *users*.

    Attributes:
        socket: where it speaks LMTP.
        port: where it does so on 127.0.0.1.
    """

    def __init__(self, domains: Sequence[str], *users: str) -> None:
        if not Path("/usr/lib/dovecot/lmtp").exists():
            pytest.skip("Dovecot's LMTP server is missing: apt-get install dovecot-lmtpd")
        (self.port,) = free_ports(1)
        # As root it would serve each user as that user; an ordinary user can serve itself alone.
        user, group, setting = 65534, 65534, ""
        if os.geteuid():
            user, group = os.geteuid(), os.getegid()
            setting = f"user = {pwd.getpwuid(user).pw_name}"
        self._dovecot = Dovecot(more=_LMTP.format(user=setting, port=self.port))
        self.socket = self._dovecot.folder / "run" / "lmtp"
        self.mail = Path(tempfile.mkdtemp(prefix="mail-", dir=self._dovecot.folder))
        os.chown(self.mail, user, group)
        for address in [f"{each}@{domain}" for domain in domains for each in users]:
            place = self.mail / address
            fields = {"userdb_uid": user, "userdb_gid": group, "userdb_home": place, "userdb_mail": f"maildir:{place}"}
            self._dovecot.user(address, extras={name: str(value) for name, value in fields.items()})

    def spoil(self, address: str) -> None:
        """Let everything that comes for *address* fail when it is to be kept."""
        (self.mail / address).write_text("no folder")

    def __enter__(self) -> Self:
        self._dovecot.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._dovecot.remove()

    def messages(self, recipient: str) -> list[bytes]:
        """Return what came for *recipient*."""
        return [path.read_bytes() for path in sorted((self.mail / recipient / "new").glob("*"))]

    def log(self) -> str:
        """Return its log."""
        return self._dovecot.log.read_text()


@dataclass(frozen=True)
class DovecotHop:
    """One of the domains of a Dovecot."""

    domain: str
    server: DovecotLmtp

    def messages(self, recipient: str) -> list[bytes]:
        """Return what came for *recipient*."""
        return self.server.messages(recipient)

    def log(self) -> str:
        """Return its log."""
        return self.server.log()


class _Keeper:
    """Keeps what it gets; refuses who is called nobody."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, bytes]] = []
        self.lock = threading.Lock()

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("nobody@"):
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        with self.lock:
            self.kept += [(recipient, content) for recipient in envelope.rcpt_tos]
        return "250 2.0.0 kept"


class Aiosmtpd:
    """Stock aiosmtpd, which keeps what it takes from whoever is logged in; it refuses ``nobody``."""

    domain = "aiosmtpd.next.example"

    def __init__(self, authority: Authority) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority.certificate, authority.key)
        self._keeper = _Keeper()
        (self.port,) = free_ports(1)
        options: dict[str, Any] = {"tls_context": context, "require_starttls": True, "auth_required": True}
        self._controller = Controller(
            self._keeper,
            hostname="127.0.0.1",
            port=self.port,
            authenticator=_known,
            enable_SMTPUTF8=True,
            data_size_limit=50 << 20,
            **options,
        )

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    def messages(self, recipient: str) -> list[bytes]:
        """Return what came for *recipient*."""
        with self._keeper.lock:
            return [content for each, content in self._keeper.kept if each == recipient]

    def log(self) -> str:
        """It has none."""
        return ""


def _known(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword) -> AuthResult:
    return AuthResult(success=(data.login, data.password) == (LOGIN.encode(), PASSWORD.encode()), handled=False)
