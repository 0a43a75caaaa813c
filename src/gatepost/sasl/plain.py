"""PLAIN: name and password in one message (RFC 4616); under TLS only, which the session sees to."""

from __future__ import annotations

from gatepost.errors import Malformed
from gatepost.sasl import password
from gatepost.sasl.mechanism import Context, Mechanism, Needs
from gatepost.sasl.steps import Exchange, Outcome, ask

__all__ = ["PLAIN"]


def exchange(initial: bytes | None, _context: Context) -> Exchange[Outcome]:
    """Talk as the server."""
    # RFC 4954 §4: a client-first mechanism without initial response starts with an empty challenge.
    message = (yield from ask(b"")) if initial is None else initial
    # RFC 4616 §2: [authzid] NUL authcid NUL passwd, with exactly two NULs.
    parts = message.split(b"\0")
    if len(parts) != 3:
        raise Malformed("PLAIN wants two NULs")
    authzid, authcid, secret = parts
    return (yield from password.judge(authcid, secret, authzid))


PLAIN = Mechanism("PLAIN", exchange, Needs.CHECK_PASSWORD)
