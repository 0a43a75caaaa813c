"""The end of every mechanism that brings a name and a password as they are: let the stores check them."""

from __future__ import annotations

import hashlib

from gatepost.errors import Malformed
from gatepost.model.identity import Secret
from gatepost.sasl.prepare import PASSWORD_LIMIT, decode_name, decode_text
from gatepost.sasl.steps import Denied, Exchange, Granted, Outcome, check_password

__all__ = ["judge"]


def judge(authcid: bytes, password: bytes, authzid: bytes = b"") -> Exchange[Outcome]:
    """Have name and password checked; the names are prepared first, the password goes as it came.

    Whoever checks it tries `gatepost.sasl.prepare.password_forms`.

    Raises:
        Malformed: a part is no UTF-8 or holds NUL, or name or password are empty.
    """
    name = decode_name(authcid)
    acting_as = decode_name(authzid) if authzid else ""
    text = decode_text(password, "password")
    if not text or "\0" in text:
        raise Malformed("password is empty or holds NUL")
    if len(text) > PASSWORD_LIMIT:
        # A "no" whatever the stores say, yet they do the work of any other password: a digest stands in for it.
        yield from check_password(name, Secret(hashlib.sha256(password).hexdigest().encode()))
        return Denied("password too long")
    identity = yield from check_password(name, Secret(password))
    return Granted(identity, acting_as) if identity is not None else Denied("wrong password or unknown name")
