"""XOAUTH2: an access token in one message (Google's and Microsoft's; RFC 6750 tokens, no RFC of its own).

A refusal takes one step more: clients read a JSON text from it, and many renew their token only then.
"""

from __future__ import annotations

import json
import re
from typing import Final

from gatepost.errors import Malformed
from gatepost.model.identity import Secret
from gatepost.sasl.mechanism import Context, Mechanism, Needs
from gatepost.sasl.prepare import decode_name
from gatepost.sasl.steps import Denied, Exchange, Granted, Outcome, TokenProblem, TokenRefused, ask, check_token, refuse

__all__ = ["XOAUTH2"]

# RFC 6750 §2.1: "Bearer", in any letter case (RFC 9110 §11.1), and a b64token.
_BEARER: Final = re.compile(rb"bearer +([A-Za-z0-9\-._~+/]+=*)", re.IGNORECASE)
_STATUS: Final = {TokenProblem.MALFORMED: "400", TokenProblem.INVALID: "401", TokenProblem.SCOPE: "403"}


def exchange(initial: bytes | None, _context: Context) -> Exchange[Outcome]:
    """Talk as the server."""
    message = (yield from ask(b"")) if initial is None else initial
    fields = _fields(message)
    authcid = decode_name(fields.get(b"user", b""))
    match = _BEARER.fullmatch(fields.get(b"auth", b""))
    answer = (
        (yield from check_token(authcid, Secret(match[1])))
        if match is not None
        else TokenRefused(TokenProblem.MALFORMED)
    )
    if not isinstance(answer, TokenRefused):
        return Granted(answer)
    problem = {"status": _STATUS[answer.problem], "schemes": "bearer", "scope": answer.scope}
    # The answer is an empty line, by some clients 0x01; nothing hangs on it.
    yield from refuse(json.dumps(problem, separators=(",", ":")).encode())
    return Denied(f"token refused: {answer.problem.value}")


def _fields(message: bytes) -> dict[bytes, bytes]:
    """Read ``key=value`` fields in any order, each ended by 0x01, all of them by one more."""
    if not message.endswith(b"\x01\x01"):
        raise Malformed("XOAUTH2 ends with two 0x01")
    fields: dict[bytes, bytes] = {}
    for field in message[:-2].split(b"\x01"):
        key, found, value = field.partition(b"=")
        if not key or not found or key in fields:
            raise Malformed("bad field of XOAUTH2")
        fields[key] = value
    return fields


XOAUTH2 = Mechanism("XOAUTH2", exchange, Needs.TOKEN)
