"""DKIM signatures: the relaxed form of body and header, and the fields that are made of it (RFC 6376, RFC 8463).

A body is hashed while it arrives, piece by piece; nothing of it is kept.  A header is signed when nothing of it changes
any more.  No signature has `l=`: what anybody puts behind the body breaks it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from gatepost.message.headers import Field, Header, parse_header
from gatepost.model.value import value

__all__ = ["SIGNABLE", "BodyHash", "SigningKey", "canonical_field", "sign", "signatures", "without_signatures"]

# Signed once more often than they stand there, so that nobody can add another one unseen (RFC 6376 §8.15): those that
# say what the message is about, who wrote it and how it is read, also where they are missing.
_ALWAYS: Final = (
    b"from",
    b"to",
    b"cc",
    b"subject",
    b"date",
    b"message-id",
    b"reply-to",
    b"in-reply-to",
    b"references",
    b"mime-version",
    b"content-type",
    b"content-transfer-encoding",
)
# The same where they stand there.  Mailing lists and next hops add them to what has none, and may.
# RFC 8058 §4: both fields of one-click unsubscription must be signed.
_PRESENT: Final = (
    b"sender",
    b"content-id",
    b"content-description",
    b"content-disposition",
    b"content-language",
    b"list-id",
    b"list-help",
    b"list-unsubscribe",
    b"list-unsubscribe-post",
    b"list-subscribe",
    b"list-post",
    b"list-owner",
    b"list-archive",
    b"auto-submitted",
    b"feedback-id",
    b"autocrypt",
)
# Signed as often as they stand there: whoever sends a message again puts others on top (RFC 5322 §3.6.6).
_RESENT: Final = (
    b"resent-date",
    b"resent-from",
    b"resent-sender",
    b"resent-to",
    b"resent-cc",
    b"resent-message-id",
)
_ORDER: Final = (*_ALWAYS, *_PRESENT, *_RESENT)
_MISSED: Final = frozenset(_ALWAYS)
_COUNTED: Final = frozenset(_RESENT)

SIGNABLE: Final = frozenset(_ORDER)
"""Names of the fields that are signed, in lower case."""

_LINE: Final = 72
# What headers are like is remembered, up to so many signed fields, and so many kinds of header.
_USUAL_FIELDS: Final = 40
_KINDS: Final = 256
_BLOCK: Final = b"\r\n" * 32_768


@value(frozen=True, slots=True)
class SigningKey:
    """A private key, and where its public half is found.

    Args:
        domain: whose mail it signs, in A-labels (`d=`).
        selector: its name there (`s=`).
        algorithm: `rsa-sha256` or `ed25519-sha256` (`a=`).
        sign: makes the signature of a SHA-256 hash.
    """

    domain: str
    selector: str
    algorithm: str
    sign: Callable[[bytes], bytes]

    def __repr__(self) -> str:
        return f"SigningKey({self.selector}._domainkey.{self.domain}, {self.algorithm})"


class BodyHash:
    """SHA-256 over the relaxed form of a body that comes in pieces, cut anywhere; its lines end with CRLF."""

    __slots__ = ("_empty_lines", "_hash", "_held", "_is_empty")

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._held = b""  # what may belong to the end of a line: a space, a CR
        self._empty_lines = 0  # ends of line that count only if something follows
        self._is_empty = True

    def update(self, piece: bytes) -> None:
        """Take what follows; never takes longer than the length of *piece* asks for."""
        if self._held:
            piece = self._held + piece
            self._held = b""
        # RFC 6376 §3.4.4: a run of white space within a line is one space, and none stands at the end of a line.
        if b"\t" in piece:
            piece = piece.replace(b"\t", b" ")
        while b"  " in piece:
            piece = piece.replace(b"  ", b" ")
        if b" \r\n" in piece:
            piece = piece.replace(b" \r\n", b"\r\n")
        if piece.endswith((b" ", b"\r")):
            kept = piece.removesuffix(b"\r").removesuffix(b" ")
            self._held = piece[len(kept) :]
            piece = kept
        # RFC 6376 §3.4.4: empty lines at the end of the body do not count.
        text = piece.rstrip(b"\r\n")
        if text:
            self._end_lines()
            self._hash.update(text)
            self._is_empty = False
        self._empty_lines += (len(piece) - len(text)) // 2

    def _end_lines(self) -> None:
        missing = self._empty_lines * 2
        self._empty_lines = 0
        while missing > 0:
            self._hash.update(_BLOCK[:missing])
            missing -= len(_BLOCK)

    def digest(self) -> bytes:
        """Return the hash of all that came; to be asked once, at the end."""
        if not self._is_empty:
            # RFC 6376 §3.4.4: a body that is not empty ends with one CRLF, whether it came with one or not.
            self._hash.update(b"\r\n")
        return self._hash.digest()


def canonical_field(raw: bytes) -> bytes:
    """Return the relaxed form of a header field, with its CRLF (RFC 6376 §3.4.2)."""
    name, _, body = raw.partition(b":")
    # RFC 6376 §3.4.2: the name in lower case, the body unfolded, runs of white space as one space, none around it.
    if body.find(b"\v") < 0 and body.find(b"\f") < 0:
        body = b" ".join(body.split())
    else:  # which are white space to Python, not to DKIM
        body = body.replace(b"\r\n", b"").replace(b"\t", b" ")
        while b"  " in body:
            body = body.replace(b"  ", b" ")
        body = body.strip(b" ")
    return name.rstrip(b" \t").lower() + b":" + body + b"\r\n"


def signatures(
    fields: Sequence[Field],
    body_hash: bytes,
    keys: Sequence[SigningKey],
    now: float,
    left_out: frozenset[bytes] = frozenset(),
) -> bytes:
    """Return a DKIM-Signature field for each of *keys*.

    Args:
        fields: the header as it goes out.
        body_hash: from `BodyHash.digest`.
        keys: of one domain, or several.
        now: seconds since the epoch.
        left_out: names of fields that are not signed, in lower case.
    """
    raws = [field.raw for field in fields if field.name in SIGNABLE]
    there = tuple([field.name for field in fields if field.name in SIGNABLE])
    places, listed = _usual_plan(there, left_out) if len(there) <= _USUAL_FIELDS else _plan(there, left_out)
    signed = [canonical_field(raws[place]) for place in places]
    hashed = hashlib.sha256(b"".join(signed))
    digest = base64.b64encode(body_hash)
    made = []
    for key in keys:
        # RFC 6376 §3.5: `i=` is of the domain that signs, which is that of From.
        unsigned = (
            f"DKIM-Signature: v=1; a={key.algorithm}; c=relaxed/relaxed; d={key.domain};\r\n"
            f"\ts={key.selector}; i=@{key.domain}; t={int(now)};\r\n"
            f"\th="
        ).encode("ascii") + b"%b;\r\n\tbh=%b;\r\n\tb=" % (listed, digest)
        whole = hashed.copy()
        # RFC 6376 §3.7: the field itself comes last, with `b=` empty, and without the CRLF at its end.
        whole.update(canonical_field(unsigned + b"\r\n")[:-2])
        # RFC 8463 §3: Ed25519 signs the SHA-256 hash, as RSA does.
        octets = base64.b64encode(key.sign(whole.digest()))
        lines = [octets[start : start + _LINE] for start in range(0, len(octets), _LINE)]
        made.append(unsigned + b"\r\n\t".join(lines) + b"\r\n")
    return b"".join(made)


def _plan(there: tuple[bytes, ...], left_out: frozenset[bytes]) -> tuple[tuple[int, ...], bytes]:
    """Return the places of the fields to sign among those that are *there*, in their order, and what `h=` holds."""
    found: dict[bytes, list[int]] = {}
    for place, name in enumerate(there):
        found.setdefault(name, []).append(place)
    names: list[bytes] = []
    signed: list[int] = []
    for name in _ORDER:
        if name in left_out:
            continue
        if places := found.get(name):
            # RFC 6376 §5.4.2: of several fields of one name the last one is signed first.
            signed += reversed(places)
            names += [name] * (len(places) if name in _COUNTED else len(places) + 1)
        elif name in _MISSED:
            names.append(name)
    return tuple(signed), _folded(names)


_usual_plan: Final = lru_cache(maxsize=_KINDS)(_plan)


def _folded(names: Sequence[bytes]) -> bytes:
    """Write names with colons between them, in lines."""
    lines: list[bytes] = []
    line = b""
    for name in names:
        if line and len(line) + len(name) > _LINE:
            lines.append(line)
            line = b""
        line += name + b":"
    return b"\r\n\t".join([*lines, line])[:-1]


def sign(
    header: Header,
    body_hash: bytes,
    keys: Sequence[SigningKey],
    now: float,
    left_out: frozenset[bytes] = frozenset(),
) -> bytes:
    """Return a header section with `signatures`: under our own Received if that stands on top, else on top."""
    raws = [field.raw for field in header.fields]
    made = signatures(header.fields, body_hash, keys, now, left_out)
    # RFC 6376 §5.6: above any other signature.
    raws.insert(1 if raws and header.fields[0].name == b"received" else 0, made)
    raws.append(b"\r\n")
    return b"".join(raws)


def without_signatures(section: bytes, count: int) -> bytes:
    """Return a header section without the first *count* signatures: those that we made of it."""
    kept: list[bytes] = []
    for field in parse_header(section).fields:
        if count and field.name == b"dkim-signature":
            count -= 1
        else:
            kept.append(field.raw)
    return b"".join(kept) + b"\r\n"
