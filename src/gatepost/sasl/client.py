"""The client side of the mechanisms, without I/O: how we log in at a next hop (RFC 4954, RFC 4422).

Use: ``mechanism = choose(offered, credentials)``, then ``login = mechanism.start(credentials)``.  Send AUTH with
``login.initial``, unless it is None; answer each 334 with ``login.respond(challenge)``; at 235 call
``login.succeed()``; at any other reply drop it.  Both calls raise `Malformed` when the server cheats or does not keep
to the mechanism: cancel with ``*``, or hang up.

In `respond`, SCRAM computes PBKDF2 with as many iterations as the server asks for (`MAXIMUM_ITERATIONS` take up to a
second); where ``mechanism.is_slow``, call it in a thread.
"""

from __future__ import annotations

import functools
import hmac
import re
import secrets
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Final

from gatepost.errors import Malformed
from gatepost.model.identity import Secret
from gatepost.sasl.gs2 import print_saslname
from gatepost.sasl.prepare import decode_text, password_forms, saslprep
from gatepost.sasl.scram import MINIMUM_ITERATIONS, exclusive_or, keys_of, sign
from gatepost.sasl.wire import decode_base64, encode_base64

__all__ = [
    "CRAM_MD5",
    "EXTERNAL",
    "LOGIN",
    "MAXIMUM_ITERATIONS",
    "MECHANISMS",
    "OAUTHBEARER",
    "PLAIN",
    "SCRAM_SHA_1",
    "SCRAM_SHA_1_PLUS",
    "SCRAM_SHA_256",
    "SCRAM_SHA_256_PLUS",
    "SCRAM_SHA_512",
    "SCRAM_SHA_512_PLUS",
    "XOAUTH2",
    "ClientMechanism",
    "Credentials",
    "Login",
    "Response",
    "choose",
]

MAXIMUM_ITERATIONS: Final = 1_000_000
"""A server that asks for more only wants to keep us busy."""

# RFC 5802 §7: what the server says; extensions may follow, but none that must be understood.
_SERVER_FIRST: Final = re.compile(
    r"r=(?P<nonce>[\x21-\x2b\x2d-\x7e]+),s=(?P<salt>[A-Za-z0-9+/=]+),i=(?P<iterations>[1-9][0-9]{0,9})"
    r"(?:,[A-Za-z]=[^\0,]+)*"
)
_SERVER_FINAL: Final = re.compile(
    r"(?:v=(?P<signature>[A-Za-z0-9+/=]+)|e=(?P<error>[a-z0-9-]{1,40}))(?:,[A-Za-z]=[^\0,]+)*"
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a next hop wants to see.

    Args:
        authcid: login; may be empty for EXTERNAL.
        password: for all that take no token.
        token: access token, for XOAUTH2 and OAUTHBEARER.
        authzid: whom to act as, where the mechanism has it; empty for ourselves.
        binding: type and data of the channel binding of our connection, if we can have any (RFC 5056).
        has_certificate: whether our end of the connection showed a certificate, for EXTERNAL.
    """

    authcid: str
    password: Secret | None = None
    token: Secret | None = None
    authzid: str = ""
    binding: tuple[str, bytes] | None = None
    has_certificate: bool = False


@dataclass(frozen=True, slots=True)
class Response:
    """One response of ours.

    Args:
        data: what to send; None as the initial response where the server speaks first.
        may_succeed: whether the server may say success after it.
        is_server_proven: whether the server has then proven that it knows the secret too.
    """

    data: bytes | None
    may_succeed: bool = False
    is_server_proven: bool = False


Conversation = Generator[Response, bytes, None]
"""Yields responses, the initial one first; is sent challenges."""


class Login:
    """One login under way.

    Attributes:
        initial: the initial response; None where the server speaks first.
    """

    def __init__(self, name: str, conversation: Conversation) -> None:
        self._name = name
        self._conversation = conversation
        self._last = next(conversation)
        self.initial: Final = self._last.data

    def respond(self, challenge: bytes) -> bytes:
        """Return the response to a decoded challenge.

        Raises:
            Malformed: the mechanism has no such challenge, or the server cheats.
        """
        try:
            self._last = self._conversation.send(challenge)
        except StopIteration:
            raise Malformed(f"one challenge too many for {self._name}") from None
        return self._last.data or b""

    def succeed(self) -> bool:
        """Take note that the server says success; tell whether it has proven that it knows the secret too.

        Raises:
            Malformed: it says so too early; in SCRAM, before it has proven it.
        """
        if not self._last.may_succeed:
            raise Malformed(f"success too early for {self._name}")
        return self._last.is_server_proven


@dataclass(frozen=True, slots=True)
class ClientMechanism:
    """One mechanism, client side.

    Args:
        name: as registered with IANA.
        conversation: makes it, with a nonce.
        takes_token: whether it wants an access token, and no password.
        takes_certificate: whether it wants neither, but a certificate on the connection.
        binds: whether it wants a channel binding.
        is_slow: whether `Login.respond` may take long.
    """

    name: str
    conversation: Callable[[Credentials, str], Conversation]
    takes_token: bool = False
    takes_certificate: bool = False
    binds: bool = False
    is_slow: bool = False

    def start(self, credentials: Credentials, nonce: str | None = None) -> Login:
        """Start a login; *nonce* is for tests with known answers.

        Raises:
            Malformed: the mechanism cannot carry these credentials.
        """
        return Login(self.name, self.conversation(credentials, secrets.token_urlsafe(24) if nonce is None else nonce))

    def fits(self, credentials: Credentials) -> bool:
        """Tell whether *credentials* hold what it wants."""
        if self.binds and credentials.binding is None:
            return False
        if self.takes_certificate:
            return credentials.has_certificate
        return bool(credentials.token if self.takes_token else credentials.password)


def _password(credentials: Credentials) -> bytes:
    octets = credentials.password.reveal() if credentials.password else b""
    if not credentials.authcid or not octets or b"\0" in octets or "\0" in credentials.authcid + credentials.authzid:
        raise Malformed("a login and a password are needed, without NUL")
    return octets


def _plain(credentials: Credentials, _nonce: str) -> Conversation:
    # RFC 4616 §2: [authzid] NUL authcid NUL passwd; the server prepares them.
    password = _password(credentials)
    message = b"\0".join((credentials.authzid.encode(), credentials.authcid.encode(), password))
    yield Response(message, may_succeed=True)


def _login(credentials: Credentials, _nonce: str) -> Conversation:
    password = _password(credentials)
    # Some servers take no initial response here, and prompts differ; their order does not.
    yield Response(None)
    yield Response(credentials.authcid.encode())
    yield Response(password, may_succeed=True)


def _cram_md5(credentials: Credentials, _nonce: str) -> Conversation:
    password = _password(credentials)
    challenge = yield Response(None)
    # RFC 2195 §2: name, space, and the digest in lower-case hexadecimal digits.
    digest = hmac.digest(password, challenge, "md5").hex()
    yield Response(f"{credentials.authcid} {digest}".encode(), may_succeed=True)


def _scram(scheme: str, binding: tuple[str, bytes] | None, credentials: Credentials, nonce: str) -> Conversation:
    password = password_forms(_password(credentials))[0]
    name, authzid = (print_saslname(saslprep(each)) for each in (credentials.authcid, credentials.authzid))
    # RFC 5802 §6: "p" with a binding; "y" where we could have bound, and take it that the server cannot; else "n".
    flag, bound = (f"p={binding[0]}", binding[1]) if binding else ("y" if credentials.binding else "n", b"")
    header = f"{flag},a={authzid}," if authzid else f"{flag},,"
    client_first = f"n={name},r={nonce}"

    challenge = yield Response((header + client_first).encode())
    server_first = decode_text(challenge, "SCRAM message")
    match = _SERVER_FIRST.fullmatch(server_first)
    if match is None or b",m=" in challenge:
        raise Malformed("bad first SCRAM message of the server")
    # RFC 5802 §5.1: the nonce goes on from ours; a server that adds nothing could be a replay.
    if not match["nonce"].startswith(nonce) or match["nonce"] == nonce:
        raise Malformed("server changed our nonce, or added nothing")
    iterations = int(match["iterations"])
    if not MINIMUM_ITERATIONS <= iterations <= MAXIMUM_ITERATIONS:
        raise Malformed(f"server asks for {iterations} iterations")

    keys = keys_of(password, decode_base64(match["salt"].encode()), iterations, scheme)
    covered = f"c={encode_base64(header.encode() + bound).decode()},r={match['nonce']}"
    said = f"{client_first},{server_first},{covered}".encode()
    proof = exclusive_or(keys.client_key, sign(keys.stored_key, said, scheme))

    challenge = yield Response(f"{covered},p={encode_base64(proof).decode()}".encode())
    match = _SERVER_FINAL.fullmatch(decode_text(challenge, "SCRAM message"))
    if match is None or b",m=" in challenge:
        raise Malformed("bad final SCRAM message of the server")
    if match["error"]:
        raise Malformed(f"server ends SCRAM with {match['error']}")
    # RFC 5802 §5: a server that does not know the secret is not the one we want to talk to.
    signature = encode_base64(sign(keys.server_key, said, scheme)).decode()
    if not hmac.compare_digest(match["signature"], signature):
        raise Malformed("server did not prove that it knows the secret")
    yield Response(b"", may_succeed=True, is_server_proven=True)


def _scram_of(scheme: str) -> ClientMechanism:
    return ClientMechanism(scheme, functools.partial(_scram, scheme, None), is_slow=True)


def _scram_plus_of(scheme: str) -> ClientMechanism:
    def conversation(credentials: Credentials, nonce: str) -> Conversation:
        if credentials.binding is None:
            raise Malformed("channel binding is needed, and there is none")
        return (yield from _scram(scheme, credentials.binding, credentials, nonce))

    return ClientMechanism(f"{scheme}-PLUS", conversation, binds=True, is_slow=True)


def _token(credentials: Credentials) -> bytes:
    token = credentials.token.reveal() if credentials.token else b""
    if not credentials.authcid or not token or b"\x01" in credentials.authcid.encode() + token:
        raise Malformed("a login and a token are needed, without 0x01")
    return token


def _external(credentials: Credentials, _nonce: str) -> Conversation:
    name = credentials.authzid or credentials.authcid
    if not credentials.has_certificate or "\0" in name:
        raise Malformed("a certificate is needed, and a name without NUL")
    # RFC 4422 §A.1: whom to act as, or nothing for whoever the certificate says.
    yield Response(name.encode(), may_succeed=True)


def _oauthbearer(credentials: Credentials, _nonce: str) -> Conversation:
    token = _token(credentials)
    # RFC 7628 §3.1: the login stands where an authzid does; there is no other place for it.
    name = print_saslname(saslprep(credentials.authzid or credentials.authcid)).encode()
    yield Response(b"n,a=" + name + b",\x01auth=Bearer " + token + b"\x01\x01", may_succeed=True)
    # RFC 7628 §3.2.3: a challenge is JSON that says what is wrong with the token; after 0x01 comes the "no".
    yield Response(b"\x01")


def _xoauth2(credentials: Credentials, _nonce: str) -> Conversation:
    token = _token(credentials)
    authcid = credentials.authcid.encode()
    yield Response(b"user=" + authcid + b"\x01auth=Bearer " + token + b"\x01\x01", may_succeed=True)
    # A challenge is JSON that says what is wrong with the token; after an empty line comes the "no".
    yield Response(b"")


EXTERNAL = ClientMechanism("EXTERNAL", _external, takes_certificate=True)
OAUTHBEARER = ClientMechanism("OAUTHBEARER", _oauthbearer, takes_token=True)
XOAUTH2 = ClientMechanism("XOAUTH2", _xoauth2, takes_token=True)
SCRAM_SHA_1 = _scram_of("SCRAM-SHA-1")
SCRAM_SHA_256 = _scram_of("SCRAM-SHA-256")
SCRAM_SHA_512 = _scram_of("SCRAM-SHA-512")
SCRAM_SHA_1_PLUS = _scram_plus_of("SCRAM-SHA-1")
SCRAM_SHA_256_PLUS = _scram_plus_of("SCRAM-SHA-256")
SCRAM_SHA_512_PLUS = _scram_plus_of("SCRAM-SHA-512")
PLAIN = ClientMechanism("PLAIN", _plain)
LOGIN = ClientMechanism("LOGIN", _login)
CRAM_MD5 = ClientMechanism("CRAM-MD5", _cram_md5)

MECHANISMS: Final = (
    EXTERNAL,
    XOAUTH2,
    OAUTHBEARER,
    SCRAM_SHA_512_PLUS,
    SCRAM_SHA_256_PLUS,
    SCRAM_SHA_1_PLUS,
    SCRAM_SHA_512,
    SCRAM_SHA_256,
    SCRAM_SHA_1,
    PLAIN,
    LOGIN,
    CRAM_MD5,
)
"""What we can do, best first: all of it goes through verified TLS, so CRAM-MD5 has nothing to hide and comes last."""


def choose(offered: Iterable[str], credentials: Credentials) -> ClientMechanism | None:
    """Return the best mechanism that the server offers, in any letter case, and that *credentials* fit; else None."""
    names = {name.upper() for name in offered}
    return next((each for each in MECHANISMS if each.name in names and each.fits(credentials)), None)
