"""Password hashes that other programs made, with {SCHEME} prefixes as Dovecot and Apache write them: read and checked.

    crypt(3)   {CRYPT} {BLF-CRYPT} {SHA256-CRYPT} {SHA512-CRYPT} {MD5-CRYPT} {DES-CRYPT}, or without a prefix
    Apache     $apr1$, {SHA}
    digests    {SSHA} {SSHA256} {SSHA512} {SHA256} {SHA512} {SMD5} {LDAP-MD5} {PLAIN-MD5}, in base64 or, as {SSHA.HEX},
               in hexadecimal
    HMAC-MD5   {CRAM-MD5} {HMAC-MD5}: its two states, which serve CRAM-MD5 too (`cram_md5_states`)
    PBKDF2     {PBKDF2} {PBKDF2-SHA256} {PBKDF2-SHA512}, of Dovecot and of passlib
    argon2     {ARGON2ID} {ARGON2I}
    SCRAM      {SCRAM-SHA-1} {SCRAM-SHA-256} {SCRAM-SHA-512}, as Dovecot writes them

Nothing here makes such a hash.  Checks are slow by design; `crypt_r` and hashlib let other threads run meanwhile.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from gatepost.errors import Malformed
from gatepost.model.identity import Secret
from gatepost.sasl.hmac_md5 import STATES_BYTES, states
from gatepost.sasl.scram import Record, parse_record, stored_key

__all__ = ["WEAK", "Hash", "cram_md5_states", "is_match", "parse_hash", "parse_scram"]

WEAK: Final = frozenset(
    {"DES-CRYPT", "MD5-CRYPT", "APR1", "SHA", "SHA256", "SHA512", "SMD5", "LDAP-MD5", "PLAIN-MD5", "CRAM-MD5"}
)
"""Schemes whose hashes are soon guessed once they are stolen."""

_PREFIX: Final = re.compile(r"\{([A-Za-z0-9-]+)(?:\.([A-Za-z0-9]+))?\}(.*)", re.DOTALL)
_CRYPT_DATA_BYTES: Final = 1 << 18  # more than any C library wants
_B64: Final = "[./0-9A-Za-z]"
# What crypt(3) writes, whole: the cost; the salt; the checksum.
_CRYPT_SHAPES: Final = {
    "MD5-CRYPT": re.compile(rf"(\$1\$)([^$:\s]{{0,8}}\$)({_B64}{{22}})"),
    "SHA256-CRYPT": re.compile(rf"(\$5\$(?:rounds=[1-9][0-9]{{3,8}}\$)?)([^$:\s]{{0,16}}\$)({_B64}{{43}})"),
    "SHA512-CRYPT": re.compile(rf"(\$6\$(?:rounds=[1-9][0-9]{{3,8}}\$)?)([^$:\s]{{0,16}}\$)({_B64}{{86}})"),
    "BLF-CRYPT": re.compile(rf"(\$2[aby]\$[0-3][0-9]\$)({_B64}{{22}})({_B64}{{31}})"),
    "YESCRYPT": re.compile(rf"(\$y\${_B64}+\$)({_B64}{{1,86}}\$)({_B64}{{43}})"),
    "DES-CRYPT": re.compile(rf"()({_B64}{{2}})({_B64}{{11}})"),
}
_CHEAPEST: Final = {
    "MD5-CRYPT": "$1$aaaaaaaa$",
    "SHA256-CRYPT": "$5$rounds=1000$aaaaaaaa$",
    "SHA512-CRYPT": "$6$rounds=1000$aaaaaaaa$",
    "BLF-CRYPT": "$2b$04$......................",
    "YESCRYPT": "$y$j75$aaaaaaaa$",
    "DES-CRYPT": "aa",
}
_DIGESTS: Final = {
    "SMD5": ("md5", True),
    "LDAP-MD5": ("md5", False),
    "PLAIN-MD5": ("md5", False),
    "SHA": ("sha1", False),
    "SSHA": ("sha1", True),
    "SHA256": ("sha256", False),
    "SSHA256": ("sha256", True),
    "SHA512": ("sha512", False),
    "SSHA512": ("sha512", True),
}
_PBKDF2: Final = {"PBKDF2": "sha1", "PBKDF2-SHA1": "sha1", "PBKDF2-SHA256": "sha256", "PBKDF2-SHA512": "sha512"}
_CLEAR: Final = frozenset({"PLAIN", "CLEAR", "CLEARTEXT", "PLAIN-TRUNC"})
_MOST_ITERATIONS: Final = 10_000_000
_SHORTEST_SALT: Final = 4


class Hash(NamedTuple):
    """A hash that can be checked.

    Args:
        scheme: its name, in upper case.
        text: in one form for each scheme, with its prefix; `parse_hash` reads it again.
        likeness: a hash of the same scheme and cost that no password opens.
    """

    scheme: str
    text: Secret
    likeness: str


def parse_hash(text: str) -> Hash:
    """Read a hash.

    Raises:
        ValueError: it is none, or of a kind that cannot be checked here; the text never shows it.
    """
    match = _PREFIX.fullmatch(text)
    scheme, encoding, rest = (match[1].upper(), (match[2] or "").upper(), match[3]) if match else ("", "", text)
    if rest.startswith("$argon2"):
        return _parse_argon2(rest)
    if rest.startswith("$apr1$"):
        return _parse_apache(rest)
    if rest.startswith("$pbkdf2"):
        name, _, rest = rest[1:].partition("$")
        scheme = name.upper()
    if scheme in _DIGESTS:
        return _parse_digest(scheme, encoding, rest)
    if scheme in ("CRAM-MD5", "HMAC-MD5"):
        return _parse_states(rest)
    if scheme in _PBKDF2:
        return _parse_pbkdf2(scheme, rest)
    if scheme.startswith("SCRAM-"):
        record = parse_scram(scheme, rest)
        zero = bytes(len(record.stored_key))
        likeness = Record(record.scheme, bytes(len(record.salt)), record.iterations, zero, zero)
        return _hash(scheme, _scram_text(record), _scram_text(likeness))
    if scheme in _CLEAR:
        raise ValueError("is a password in clear; replace it by a hash of it, such as: doveadm pw -s ARGON2ID")
    if scheme and scheme != "CRYPT" and scheme not in _CRYPT_SHAPES:
        raise ValueError(f"is of the scheme {{{scheme[:30]}}}, which is not known here")
    return _parse_crypt(scheme, rest)


def is_match(password: bytes, verifier: Secret) -> bool:
    """Tell whether *password* opens the text of a `Hash`."""
    match = _PREFIX.fullmatch(verifier.reveal().decode())
    if match is None or b"\0" in password:
        return False
    try:
        return _CHECKS[match[1]](password, match[3])
    except ValueError:  # too long for the scheme: no password of ours
        return False


def parse_scram(scheme: str, rest: str) -> Record:
    """Read ``iterations,salt,stored key,server key``, as Dovecot writes it.

    Raises:
        ValueError: it is something else.
    """
    parts = rest.split(",")
    if len(parts) != 4:
        raise ValueError("is no SCRAM record of iterations, salt and two keys")
    try:
        record = parse_record(f"{scheme}${parts[0]}:{parts[1]}${parts[2]}:{parts[3]}")
    except (ValueError, Malformed):
        raise ValueError("is no SCRAM record that can be used") from None
    if not 1 <= record.iterations <= _MOST_ITERATIONS or not record.salt:
        raise ValueError("is a SCRAM record without proper salt and iterations")
    return record


def cram_md5_states(verifier: Secret) -> bytes | None:
    """Return the states of HMAC-MD5, as `gatepost.sasl.hmac_md5` has them, of the text of a `Hash` that holds them."""
    scheme, _, rest = verifier.reveal().decode().partition("}")
    if scheme != "{CRAM-MD5":
        return None
    # Dovecot has the outer one first.
    octets = bytes.fromhex(rest)
    return octets[16:] + octets[:16]


def _hash(scheme: str, rest: str, likeness: str) -> Hash:
    return Hash(scheme, Secret(f"{{{scheme}}}{rest}".encode()), f"{{{scheme}}}{likeness}")


# Of the C library


def _parse_crypt(scheme: str, rest: str) -> Hash:
    for name, shape in _CRYPT_SHAPES.items():
        match = shape.fullmatch(rest)
        if match is not None and scheme in ("", "CRYPT", name):
            if not _is_known_to_libcrypt(name):
                raise ValueError(f"is a {name} hash, which the C library of this machine cannot check")
            salt = "." * len(match[2].removesuffix("$")) + ("$" if match[2].endswith("$") else "")
            return _hash(name, rest, match[1] + salt + "." * len(match[3]))
    raise ValueError("is no whole hash of a scheme that is known here")


def _is_crypt(shape: re.Pattern[str], password: bytes, rest: str) -> bool:
    made = _crypt(password, rest.encode())
    one, other = shape.fullmatch(made.decode("latin-1") if made else ""), shape.fullmatch(rest)
    # The checksums alone: of a salt's last character some bits do not count, and not every program clears them.
    return one is not None and other is not None and hmac.compare_digest(one[3], other[3])


@functools.cache
def _is_known_to_libcrypt(name: str) -> bool:
    made = _crypt(b"password", _CHEAPEST[name].encode())
    return made is not None and _CRYPT_SHAPES[name].fullmatch(made.decode("latin-1")) is not None


def _crypt(password: bytes, setting: bytes) -> bytes | None:
    function = _crypt_r()
    if function is None:
        return None
    import ctypes

    made: bytes | None = function(password, setting, ctypes.create_string_buffer(_CRYPT_DATA_BYTES))
    return made


@functools.cache
def _crypt_r() -> Any:
    import ctypes

    # Python has no crypt module any more since 3.13, and the one before it keeps all other threads waiting.
    for name in ("libcrypt.so.1", "libcrypt.so.2", None):
        try:
            function = ctypes.CDLL(name).crypt_r
        except (OSError, AttributeError):
            continue
        function.restype = ctypes.c_char_p
        function.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p)
        return function
    return None


# What libpass knows


def _parse_argon2(rest: str) -> Hash:
    try:
        parsed = _argon2().from_string(rest)
    except (ValueError, TypeError):
        raise ValueError("is no whole argon2 hash") from None
    if not parsed.checksum or len(parsed.checksum) % 16:
        raise ValueError("is no whole argon2 hash")
    scheme = f"ARGON2{str(parsed.type).upper()}"
    head, salt, checksum = rest.rsplit("$", 2)
    return _hash(scheme, rest, f"{head}${'A' * len(salt)}${'A' * len(checksum)}")


def _is_argon2(password: bytes, rest: str) -> bool:
    return bool(_argon2().verify(password, rest))


@functools.cache
def _argon2() -> Any:
    from passlib.hash import argon2

    return argon2


def _parse_apache(rest: str) -> Hash:
    from passlib.hash import apr_md5_crypt

    try:
        parsed: Any = apr_md5_crypt.from_string(rest)
    except (ValueError, TypeError):
        raise ValueError("is no whole hash of Apache's") from None
    if parsed.checksum is None:
        raise ValueError("is no whole hash of Apache's")
    return _hash("APR1", rest, f"$apr1${'.' * 8}${'.' * 22}")


def _is_apache(password: bytes, rest: str) -> bool:
    from passlib.hash import apr_md5_crypt

    return bool(apr_md5_crypt.verify(password, rest))


# Digests and PBKDF2


def _parse_digest(scheme: str, encoding: str, rest: str) -> Hash:
    name, is_salted = _DIGESTS[scheme]
    size = hashlib.new(name, usedforsecurity=False).digest_size
    encoding = encoding or ("HEX" if scheme == "PLAIN-MD5" and len(rest) == 2 * size else "")
    try:
        octets = bytes.fromhex(rest) if encoding == "HEX" else base64.b64decode(rest, validate=True)
    except (ValueError, binascii.Error):
        octets = b""
    if encoding not in ("", "B64", "HEX") or (
        len(octets) < size + _SHORTEST_SALT if is_salted else len(octets) != size
    ):
        raise ValueError(f"is no whole {scheme} hash")
    return _hash(scheme, base64.b64encode(octets).decode(), base64.b64encode(bytes(size + 8 * is_salted)).decode())


def _is_digest(name: str, password: bytes, rest: str) -> bool:
    octets = base64.b64decode(rest)
    made = hashlib.new(name, usedforsecurity=False)
    size = made.digest_size
    made.update(password + octets[size:])
    return hmac.compare_digest(made.digest(), octets[:size])


def _parse_states(rest: str) -> Hash:
    try:
        octets = bytes.fromhex(rest)
    except ValueError:
        octets = b""
    if len(octets) != STATES_BYTES:
        raise ValueError("is no whole CRAM-MD5 hash")
    return _hash("CRAM-MD5", octets.hex(), "00" * STATES_BYTES)


def _is_cram_md5(password: bytes, rest: str) -> bool:
    made = states(password)
    return hmac.compare_digest(made[16:] + made[:16], bytes.fromhex(rest))


def _parse_pbkdf2(scheme: str, rest: str) -> Hash:
    # Dovecot: $1$salt$rounds$hex, and the salt is used as it stands.  passlib: rounds$salt$checksum, in its base64.
    parts = rest.split("$")
    size = hashlib.new(_PBKDF2[scheme]).digest_size
    try:
        if len(parts) == 5 and parts[:2] == ["", "1"]:
            salt, rounds, checksum = parts[2].encode(), parts[3], bytes.fromhex(parts[4])
        else:
            rounds, salt, checksum = parts[0], _ab64(parts[1]), _ab64(parts[2])
            if len(parts) != 3:
                raise ValueError
        if not rounds.isascii() or not 1 <= int(rounds) <= _MOST_ITERATIONS or len(checksum) != size or not salt:
            raise ValueError
    except (ValueError, IndexError):
        raise ValueError(f"is no whole {scheme} hash") from None
    nobody = f"{int(rounds)}${_as_ab64(bytes(16))}${_as_ab64(bytes(size))}"
    return _hash(scheme, f"{int(rounds)}${_as_ab64(salt)}${_as_ab64(checksum)}", nobody)


def _as_ab64(octets: bytes) -> str:
    return base64.b64encode(octets).decode().rstrip("=").replace("+", ".")


def _ab64(text: str) -> bytes:
    return base64.b64decode(text.replace(".", "+") + "=" * (-len(text) % 4), validate=True)


def _is_pbkdf2(name: str, password: bytes, rest: str) -> bool:
    rounds, salt, checksum = rest.split("$")
    made = hashlib.pbkdf2_hmac(name, password, _ab64(salt), int(rounds))
    return hmac.compare_digest(made, _ab64(checksum))


def _scram_text(record: Record) -> str:
    return str(record).partition("$")[2].replace("$", ",").replace(":", ",")


def _is_scram(scheme: str, password: bytes, rest: str) -> bool:
    record = parse_scram(scheme, rest)
    made = stored_key(password, record.salt, record.iterations, record.scheme)
    return hmac.compare_digest(made, record.stored_key)


_CHECKS: Final[dict[str, Callable[[bytes, str], bool]]] = {
    **{scheme: functools.partial(_is_crypt, shape) for scheme, shape in _CRYPT_SHAPES.items()},
    **{scheme: functools.partial(_is_digest, name) for scheme, (name, _) in _DIGESTS.items()},
    **{scheme: functools.partial(_is_pbkdf2, name) for scheme, name in _PBKDF2.items()},
    **dict.fromkeys(("ARGON2ID", "ARGON2I", "ARGON2D"), _is_argon2),
    **{scheme: functools.partial(_is_scram, scheme) for scheme in ("SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512")},
    "CRAM-MD5": _is_cram_md5,
    "APR1": _is_apache,
}
