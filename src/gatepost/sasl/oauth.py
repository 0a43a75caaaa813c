"""XOAUTH2 and OAUTHBEARER: an access token in one message (Google's and Microsoft's form; RFC 7628; RFC 6750 tokens).

A refusal takes one step more: clients read a JSON text from it, and many renew their token only then.
"""

from __future__ import annotations

import json
import re
from typing import Final

from gatepost.errors import Malformed
from gatepost.model.identity import Secret
from gatepost.sasl.gs2 import parse_gs2_header
from gatepost.sasl.mechanism import Context, Mechanism, Needs
from gatepost.sasl.prepare import decode_name, decode_text, prepare_name
from gatepost.sasl.steps import Denied, Exchange, Granted, Outcome, TokenProblem, TokenRefused, ask, check_token, refuse

__all__ = ["OAUTHBEARER", "XOAUTH2"]

# RFC 6750 §2.1: "Bearer", in any letter case (RFC 9110 §11.1), and a b64token.
_BEARER: Final = re.compile(rb"bearer +([A-Za-z0-9\-._~+/]+=*)", re.IGNORECASE)
_STATUS: Final = {TokenProblem.MALFORMED: "400", TokenProblem.INVALID: "401", TokenProblem.SCOPE: "403"}
# RFC 7628 §3.2.2, RFC 6750 §3.1: the words for the same three.
_ERROR: Final = {
    TokenProblem.MALFORMED: "invalid_request",
    TokenProblem.INVALID: "invalid_token",
    TokenProblem.SCOPE: "insufficient_scope",
}
# RFC 7628 §3.1: letters, an equals sign, and printable ASCII with blanks, tabs and line ends.
_PAIR: Final = re.compile(rb"([A-Za-z]+)=([\t\n\r -~]*)")
_PORT: Final = re.compile(rb"[0-9]{1,5}")


def xoauth2(initial: bytes | None, _context: Context) -> Exchange[Outcome]:
    """Talk as the server of XOAUTH2."""
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


def oauthbearer(initial: bytes | None, _context: Context) -> Exchange[Outcome]:
    """Talk as the server of OAUTHBEARER."""
    message = (yield from ask(b"")) if initial is None else initial
    # RFC 7628 §3.1: a GS2 header, 0x01, then pairs as in XOAUTH2.
    start, _, rest = message.partition(b"\x01")
    header, beyond = parse_gs2_header(decode_text(start, "OAUTHBEARER message"))
    if beyond:
        raise Malformed("OAUTHBEARER wants 0x01 after its GS2 header")
    pairs = _pairs(rest)
    # RFC 7628 §3.1: no channel is bound, and whoever asks for that must not come in without.
    if header.flag == "p":
        return Denied("channel binding with a mechanism that has none")
    authzid = prepare_name(header.authzid) if header.authzid else ""
    auth = pairs.get(b"auth")
    match = _BEARER.fullmatch(auth) if auth else None
    if match is not None and _is_port(pairs.get(b"port")):
        answer = yield from check_token(authzid, Secret(match[1]))
    elif auth == b"":
        # RFC 7628 §4.3: an empty value asks what a token would have to be; it gets the answer for a bad one.
        answer = yield from check_token(authzid, Secret(b""))
    else:
        answer = TokenRefused(TokenProblem.MALFORMED)
    if not isinstance(answer, TokenRefused):
        return Granted(answer, authzid)
    # RFC 7628 §3.2.2: "status" must be there; scope and configuration where there are any.
    problem = {"status": _ERROR[answer.problem]}
    if answer.scope:
        problem["scope"] = answer.scope
    if answer.configuration:
        problem["openid-configuration"] = answer.configuration
    # RFC 7628 §3.2.3: the client answers with 0x01; nothing hangs on it.
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


def _pairs(text: bytes) -> dict[bytes, bytes]:
    """Read key/value pairs in any order, each ended by 0x01, all of them by one more; there may be none."""
    if text != b"\x01" and not text.endswith(b"\x01\x01"):
        raise Malformed("OAUTHBEARER ends with 0x01, and each of its pairs too")
    pairs: dict[bytes, bytes] = {}
    for pair in text[:-2].split(b"\x01") if len(text) > 1 else ():
        match = _PAIR.fullmatch(pair)
        if match is None or match[1] in pairs:
            raise Malformed("bad pair of OAUTHBEARER")
        pairs[match[1]] = match[2]
    return pairs


def _is_port(value: bytes | None) -> bool:
    """Tell whether *value* may stand for a port, if there is one.

    Which host and port a client thinks it talks to depends on names, balancers and forwarded ports before us, and no
    bearer token hangs on them: they must make sense, and are not compared with ours.
    """
    return value is None or (_PORT.fullmatch(value) is not None and 0 < int(value) < 65536)


XOAUTH2 = Mechanism("XOAUTH2", xoauth2, Needs.TOKEN)
OAUTHBEARER = Mechanism("OAUTHBEARER", oauthbearer, Needs.TOKEN)
