"""The client's side of SASL mechanisms, for clients that leave the exchange to us.

Each is a generator: what it yields first is the initial response, or None; then each challenge is sent to it, and it
yields the response.  Written apart from the program's own mechanisms, so that neither can hide a mistake of the other.
"""

from __future__ import annotations

import functools
import hmac
from collections.abc import Callable, Generator

import scramp

__all__ = ["EXCHANGES", "Exchange"]

Exchange = Generator[bytes | None, bytes, None]


def plain(login: str, secret: str) -> Exchange:
    """RFC 4616."""
    yield f"\0{login}\0{secret}".encode()


def login(login: str, secret: str) -> Exchange:
    """What the Murchison draft wrote down."""
    yield None
    yield login.encode()
    yield secret.encode()


def cram_md5(login: str, secret: str) -> Exchange:
    """RFC 2195."""
    challenge = yield None
    yield f"{login} {hmac.new(secret.encode(), challenge, 'md5').hexdigest()}".encode()


def scram(mechanism: str, login: str, secret: str) -> Exchange:
    """RFC 5802, RFC 7677; the server's signature is checked."""
    client = scramp.ScramClient([mechanism], login, secret)
    challenge = yield client.get_client_first().encode()
    client.set_server_first(challenge.decode())
    challenge = yield client.get_client_final().encode()
    client.set_server_final(challenge.decode())
    yield b""


def xoauth2(login: str, secret: str) -> Exchange:
    """Google's XOAUTH2; a challenge is the reason of a no, and wants an empty line."""
    yield f"user={login}\x01auth=Bearer {secret}\x01\x01".encode()
    yield b""


def oauthbearer(login: str, secret: str) -> Exchange:
    """RFC 7628; a challenge is the reason of a no, and wants 0x01."""
    yield f"n,a={login},\x01host=localhost\x01port=587\x01auth=Bearer {secret}\x01\x01".encode()
    yield b"\x01"


EXCHANGES: dict[str, Callable[[str, str], Exchange]] = {
    "PLAIN": plain,
    "LOGIN": login,
    "CRAM-MD5": cram_md5,
    "SCRAM-SHA-1": functools.partial(scram, "SCRAM-SHA-1"),
    "SCRAM-SHA-256": functools.partial(scram, "SCRAM-SHA-256"),
    "SCRAM-SHA-512": functools.partial(scram, "SCRAM-SHA-512"),
    "OAUTHBEARER": oauthbearer,
    "XOAUTH2": xoauth2,
}
