"""Postfix as a next hop: open on one port, and on others after a login by one mechanism each, which Dovecot judges."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from dovecot import Dovecot
from interop.unpacked import LOGIN, PASSWORD
from servers import Authority, Postfix, free_ports, postfix, reachable_folder

__all__ = ["MECHANISMS", "PostfixHop", "postfix_hops"]

MECHANISMS = ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256", "XOAUTH2")

_MORE = """\
# Whoever fails is not made to wait.
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
passdb {{
  driver = oauth2
  mechanisms = xoauth2
  args = {folder}/oauth2.conf
}}
"""

_LOCAL = """\
introspection_mode = local
local_validation_key_dict = fs:posix:prefix={folder}/keys/
username_attribute = sub
"""


@dataclass(frozen=True)
class PostfixHop:
    """A port of a Postfix, with a domain of its own.

    Args:
        secrets: the right one and a wrong one: passwords, or access tokens; none where no login is asked for.
    """

    domain: str
    port: int
    server: Postfix
    secrets: tuple[str, ...] = ()

    def messages(self, recipient: str) -> list[bytes]:
        """Return what came for *recipient*."""
        return self.server.messages(recipient)

    def log(self) -> str:
        """Return its log."""
        return self.server.log()


def _domain(name: str) -> str:
    return f"{name.lower()}.next.example"


@contextlib.contextmanager
def postfix_hops(authority: Authority) -> Iterator[dict[str, PostfixHop]]:
    """Run a Postfix, and a Dovecot for it; return its ports, by their mechanisms and as ``postfix``."""
    if missing := Postfix.missing():
        pytest.skip(missing)
    folder = reachable_folder("tokens")
    tokens = _tokens(folder)
    sasl_port, *ports = free_ports(1 + len(MECHANISMS))
    dovecot = Dovecot(mechanisms=" ".join(MECHANISMS).lower(), more=_MORE.format(folder=folder), port=sasl_port)
    dovecot.user(LOGIN, f"{{PLAIN}}{PASSWORD}")
    dovecot.start()
    try:
        domains = ", ".join(map(_domain, ("postfix", *MECHANISMS)))
        settings = f"""\
virtual_mailbox_domains = {domains}
smtpd_recipient_restrictions = check_recipient_access inline:{{ {{ nobody@{_domain("postfix")} = 550 5.1.1 no }} }}
smtpd_error_sleep_time = 0
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:127.0.0.1:{sasl_port}
smtpd_tls_auth_only = yes
"""
        services = "".join(
            f"127.0.0.1:{port} inet n - n - - smtpd -o smtpd_sasl_auth_enable=yes\n"
            "  -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject\n"
            f"  -o smtpd_sasl_mechanism_filter={mechanism}\n"
            for mechanism, port in zip(MECHANISMS, ports, strict=True)
        )
        with postfix(authority, settings=settings, services=services) as server:
            hops = {"postfix": PostfixHop(_domain("postfix"), server.port, server)}
            for mechanism, port in zip(MECHANISMS, ports, strict=True):
                secrets = tokens if mechanism == "XOAUTH2" else (PASSWORD, "not this one")
                hops[mechanism] = PostfixHop(_domain(mechanism), port, server, secrets)
            yield hops
    finally:
        dovecot.remove()
        shutil.rmtree(folder)


def _tokens(folder: Path) -> tuple[str, str]:
    """Write down for Dovecot whose tokens are good; return one, and one that is over."""
    key = ECKey.generate_key("P-256", {"kid": "next-hop"})
    place = folder / "keys" / "default" / "ES256"
    place.mkdir(parents=True)
    (place / "next-hop").write_bytes(key.as_pem(private=False))
    (folder / "oauth2.conf").write_text(_LOCAL.format(folder=folder))
    now = int(time.time())
    good, over = (
        jwt.encode({"alg": "ES256", "kid": "next-hop"}, {"sub": LOGIN, "iat": now - 900, "exp": now + seconds}, key)
        for seconds in (3600, -60)
    )
    return good, over
