"""CRAM-MD5: prove you know the secret by keying a hash of our challenge (RFC 2195).

Offered only when asked for by name in the configuration: what the store must keep (the two inner states of HMAC-MD5)
is as good as the secret here, and MD5 is no longer a hash to choose (RFC 6151).
"""

from __future__ import annotations

import hmac
import re

from gatepost.errors import Malformed, UnwantedInitialResponse
from gatepost.sasl import hmac_md5
from gatepost.sasl.mechanism import Context, Mechanism, Needs
from gatepost.sasl.prepare import decode_name
from gatepost.sasl.steps import Denied, Exchange, Granted, Outcome, ask, fetch_secret

__all__ = ["CRAM_MD5"]

_DIGEST = re.compile(rb"[0-9A-Fa-f]{32}")


def exchange(initial: bytes | None, context: Context) -> Exchange[Outcome]:
    """Talk as the server."""
    # RFC 4954 §4: no initial response where the server speaks first.
    if initial is not None:
        raise UnwantedInitialResponse

    # RFC 2195 §2: a message id of its own for each attempt, made of chance, time, and our name.
    challenge = f"<{context.nonce()}.{context.time}@{context.hostname}>".encode()
    response = yield from ask(challenge)

    # RFC 2195 §2: user name, space, digest.  A name may hold spaces; a digest not.
    name, _, digest = response.rpartition(b" ")
    if _DIGEST.fullmatch(digest) is None:
        raise Malformed("CRAM-MD5 wants a name and 32 hexadecimal digits")
    authcid = decode_name(name)

    held = yield from fetch_secret(authcid, Needs.HMAC_MD5.value)
    found = None
    for candidate in held.candidates:  # all of them, also after a match: one time for all
        expected = hmac_md5.finish(candidate.verifier.reveal(), challenge).hex().encode()
        if hmac.compare_digest(expected, digest.lower()) and found is None:
            found = candidate.identity
    return Granted(found) if found is not None else Denied("wrong digest or unknown name")


CRAM_MD5 = Mechanism("CRAM-MD5", exchange, Needs.HMAC_MD5)
