"""Make 8-bit content 7-bit, for a next hop without 8BITMIME (RFC 6152 §3, RFC 6409 §8.4).

Only what holds 8-bit octets changes: those leaves get another Content-Transfer-Encoding, and what stands around them
says so.  Everything else stays byte for byte.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from gatepost.errors import Malformed
from gatepost.message.comments import without_comments
from gatepost.message.headers import Field, Header, parse_header

__all__ = ["DEPTH_LIMIT", "PART_LIMIT", "to_seven_bit"]

DEPTH_LIMIT = 32
PART_LIMIT = 10_000

_TYPE = b"content-type"
_ENCODING = b"content-transfer-encoding"
_VERSION = b"mime-version"

_BLOTTED = bytes(range(128)) + b"?" * 128
_MEDIA_TYPE = re.compile(r"([\w!#$&^.+-]+)\s*/\s*([\w!#$&^.+-]+)\s*", re.ASCII)
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]++|\\.)*+)"|([^\s;"]*+))\s*', re.ASCII)


@dataclass(frozen=True, slots=True)
class _MediaType:
    main: str
    sub: str
    boundary: bytes = b""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a message or part lies.

    Args:
        depth: in how many others.
        delimiters: those of the multiparts around it.
        default: what it is if it does not say.
        is_message: whether it is a message rather than a part.
        numbers: counts the messages and parts looked at, all over.
    """

    depth: int = 0
    delimiters: tuple[bytes, ...] = ()
    default: _MediaType = _MediaType("text", "plain")
    is_message: bool = True
    numbers: Iterator[int] = field(default_factory=itertools.count)


def to_seven_bit(content: bytes) -> bytes:
    """Return *content*, a whole message, without any 8-bit octet; the same object if it has none.

    Raises:
        Malformed: it cannot be done, 554 5.6.3: its header is not ASCII, it is signed or encrypted where it is 8-bit,
            or it is no good MIME.
    """
    try:
        return _entity(content, _Place())
    except Malformed as error:
        text = "Message is 8-bit, the next hop takes 7-bit only, and it cannot be converted"
        raise Malformed(error.reason, code=554, enhanced="5.6.3", text=text) from None


def _entity(entity: bytes, place: _Place) -> bytes:
    """Convert a message or a body part."""
    if next(place.numbers) > PART_LIMIT:
        raise Malformed("too many parts")
    if entity.isascii():
        return entity
    if place.depth > DEPTH_LIMIT:
        raise Malformed("nested too deeply")
    header, body = _divide(entity)
    media_type = _media_type(header) or place.default
    # RFC 2045 §6.4: all other encodings give 7-bit data; what 8-bit octets mean in them nobody knows.
    if (_only(header, _ENCODING) or b"7bit").lower() not in (b"7bit", b"8bit", b"binary"):
        raise Malformed("8-bit octets in an encoded part")

    encoding = b"7bit"
    if media_type.main == "multipart":
        body = _multipart(body, media_type, place)
    elif (media_type.main, media_type.sub) == ("message", "rfc822"):
        # RFC 2046 §5.2.1: a message in a message has no other encoding; so it is converted itself.
        body = _entity(body, _Place(place.depth + 1, place.delimiters, numbers=place.numbers))
    else:
        if not header.count(_TYPE):
            header = header.replace(Field(_TYPE, b"Content-Type: text/plain; charset=" + _charset(body) + b"\r\n"))
        encoding, body = _leaf(body, media_type, place)
    if header.count(_ENCODING) or encoding != b"7bit":
        header = header.replace(Field(_ENCODING, b"Content-Transfer-Encoding: " + encoding + b"\r\n"))
    # RFC 2045 §4: without it a reader need not look at the other fields.
    if place.is_message and not header.count(_VERSION):
        header = header.replace(Field(_VERSION, b"MIME-Version: 1.0\r\n"))
    return bytes(header) + body


def _divide(entity: bytes) -> tuple[Header, bytes]:
    if entity.startswith(b"\r\n"):
        return Header(()), entity[2:]
    section, _, body = entity.partition(b"\r\n\r\n")
    # RFC 6152 §3 is about bodies: a header has no encoding that could be added.
    if not section.isascii():
        raise Malformed("8-bit octets in a header")
    return parse_header(section), body


def _only(header: Header, name: bytes) -> bytes | None:
    """Return the body of the field called *name* without comments; None if there is no such field."""
    fields = header.find(name)
    if not fields:
        return None
    if len(fields) > 1:
        raise Malformed(f"several {name.decode('ascii')} fields")
    value = fields[0].value
    if b"(" in value and b'"' not in value:
        bare = without_comments(value.decode("ascii"))
        if bare is None:
            raise Malformed(f"bad {name.decode('ascii')}")
        value = bare.encode().strip()
    return value


def _media_type(header: Header) -> _MediaType | None:
    value = _only(header, _TYPE)
    if value is None:
        return None
    text = value.decode("ascii")
    match = _MEDIA_TYPE.match(text)
    if match is None:
        # RFC 2045 §5.2: a type that cannot be read is plain text to some and octets to others.
        raise Malformed("bad content-type")
    main, sub = match[1].lower(), match[2].lower()
    while match := _PARAMETER.match(text, match.end()):
        if match[1].lower() == "boundary":
            boundary = match[3] if match[2] is None else re.sub(r"\\(.)", r"\1", match[2])
            return _MediaType(main, sub, boundary.encode())
    return _MediaType(main, sub)


def _multipart(body: bytes, media_type: _MediaType, place: _Place) -> bytes:
    # RFC 1847 §2.1, §2.2: these are 7-bit when they are made, and a signature would not survive.
    if media_type.sub in ("signed", "encrypted"):
        raise Malformed(f"8-bit octets in multipart/{media_type.sub}")
    if not media_type.boundary:
        raise Malformed("multipart without a boundary")
    delimiter = b"--" + media_type.boundary
    # RFC 2046 §5.1.2: parts of a digest are messages unless they say otherwise.
    default = _MediaType("message", "rfc822") if media_type.sub == "digest" else _MediaType("text", "plain")
    delimiters = (*place.delimiters, delimiter)
    inner = _Place(place.depth + 1, delimiters, default, is_message=False, numbers=place.numbers)

    # RFC 2046 §5.1.1: a delimiter is a line of its own, and the CRLF before it belongs to it.
    lines = re.compile(rb"(?:\A|\r\n)" + re.escape(delimiter) + rb"(--)?[ \t]*(?=\r\n|\Z)")
    pieces: list[bytes] = []
    position, is_part = 0, False
    for match in lines.finditer(body):
        pieces += [_between(body[position : match.start()], inner, is_part), match[0]]
        position, is_part = match.end(), match[1] is None
        if not is_part:
            break
    if not pieces:
        raise Malformed("multipart without parts")
    pieces.append(_between(body[position:], inner, is_part))
    return b"".join(pieces)


def _between(piece: bytes, place: _Place, is_part: bool) -> bytes:
    """Convert what stands between two delimiters, with the CRLF after the first."""
    if is_part:
        return piece[:2] + _entity(piece[2:], place)
    # RFC 2046 §5.1.1: what stands before the first part and after the last has no meaning, nor an encoding.
    return piece.translate(_BLOTTED)


def _charset(body: bytes) -> bytes:
    # RFC 1428 §3: 8-bit text that does not say what it is, is "unknown-8bit"; but what reads as UTF-8 is UTF-8.
    try:
        body.decode()
    except UnicodeDecodeError:
        return b"unknown-8bit"
    return b"utf-8"


def _leaf(body: bytes, media_type: _MediaType, place: _Place) -> tuple[bytes, bytes]:
    """Encode a body; return the name of the encoding too."""
    # RFC 2046 §5.2: no other type of message may be encoded; RFC 6533 §6 lets its global ones.
    if media_type.main == "message" and not media_type.sub.startswith("global"):
        raise Malformed(f"8-bit octets in message/{media_type.sub}")
    # RFC 2045 §6.7: quoted-printable keeps lines that end with CRLF, and nothing else that looks like an end of line.
    if media_type.main in ("text", "message") and body.count(b"\r") == body.count(b"\n") == body.count(b"\r\n"):
        # The CRLF at the end is only there to be looked at: it tells which ends of line there are.
        encoded = binascii.b2a_qp(body + b"\r\n")[:-2]
        # A line that had to be broken could now begin like a delimiter.
        if not any(delimiter in encoded for delimiter in place.delimiters):
            return b"quoted-printable", encoded
    encoded = base64.encodebytes(body).replace(b"\n", b"\r\n")
    return b"base64", encoded if body.endswith(b"\r\n") else encoded[:-2]
