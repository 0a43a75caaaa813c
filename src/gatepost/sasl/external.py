"""EXTERNAL: the client certificate of the TLS connection is the proof (RFC 4422 appendix A).

Clients come in three forms: an empty initial response; none, and then a name or an empty line; a name at once.  The
name is whom they want to act as, and must be the certificate's own.
"""

from __future__ import annotations

from gatepost.sasl.mechanism import Context, Mechanism, Needs
from gatepost.sasl.prepare import decode_name
from gatepost.sasl.steps import Denied, Exchange, Granted, Outcome, ask, check_certificate

__all__ = ["EXTERNAL"]


def exchange(initial: bytes | None, _context: Context) -> Exchange[Outcome]:
    """Talk as the server."""
    # RFC 4422 §A.1: the client is first; without initial response it is asked by an empty challenge.
    message = (yield from ask(b"")) if initial is None else initial
    # RFC 4422 §A.1: nothing leaves it to us who that is; else it is a name in UTF-8 without NUL.
    authzid = decode_name(message) if message else ""
    identity = yield from check_certificate(authzid)
    return Granted(identity, authzid) if identity is not None else Denied("no certificate, or nobody's")


EXTERNAL = Mechanism("EXTERNAL", exchange, Needs.CERTIFICATE)
