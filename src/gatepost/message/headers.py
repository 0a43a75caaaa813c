"""A header section as fields that keep their octets: find, count, remove, prepend, replace (RFC 5322 §2.2).

`bytes(parse_header(section))` gives the section back, octet for octet; only a missing end is added.  Nothing is decoded
or unfolded until `Field.value` is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from gatepost.errors import Malformed
from gatepost.model.value import value

__all__ = ["FIELD_LIMIT", "Field", "Header", "bad_header", "parse_header"]

FIELD_LIMIT = 2000

# RFC 5322 §2.2: a name of printable octets but the colon; the body goes on over lines that begin with white space.
# RFC 5322 §4.5: white space before the colon is obsolete, but "From :" is a From field to whoever reads it.
# A match begins only after a line feed and never goes back, so that hostile input costs no more than its length.
_FIELD = re.compile(rb"(?<![^\n])(([!-9;-~]++)[ \t]*+:[^\r\n]*+(?:\r\n[ \t][^\r\n]*+)*+\r\n)")


def bad_header(reason: str, text: str) -> Malformed:
    """Make the refusal of a header section: 554 5.6.0 with *text* for the client (RFC 6409 §8)."""
    return Malformed(reason, code=554, enhanced="5.6.0", text=text)


@value(frozen=True, slots=True)
class Field:
    """One field.

    Args:
        name: its name in lower case, without white space.
        raw: all its octets, from the name to its last CRLF.
    """

    name: bytes
    raw: bytes

    @property
    def value(self) -> bytes:
        """Its body, unfolded (RFC 5322 §2.2.3), without white space around it."""
        body = self.raw[self.raw.index(b":") + 1 : -2]
        return body.replace(b"\r\n", b"").strip(b" \t")


@value(frozen=True, slots=True)
class Header:
    """The fields of a header section, in their order.  Names are asked for in lower case."""

    fields: tuple[Field, ...]

    def find(self, name: bytes) -> tuple[Field, ...]:
        """Return all fields called *name*."""
        return tuple([field for field in self.fields if field.name == name])

    def count(self, name: bytes) -> int:
        """Return how many fields are called *name*."""
        return len(self.find(name))

    def remove(self, *names: bytes) -> Header:
        """Return the header without the fields called any of *names*."""
        return Header(tuple([field for field in self.fields if field.name not in names]))

    def prepend(self, fields: Iterable[Field]) -> Header:
        """Return the header with *fields* on top."""
        return Header((*fields, *self.fields))

    def replace(self, new: Field) -> Header:
        """Return the header with *new* for all fields of its name: where the first stood, or at the end."""
        fields: list[Field] = []
        is_placed = False
        for field in self.fields:
            if field.name != new.name:
                fields.append(field)
            elif not is_placed:
                fields.append(new)
                is_placed = True
        if not is_placed:
            fields.append(new)
        return Header(tuple(fields))

    def __bytes__(self) -> bytes:
        """Return the whole section, with its empty line."""
        return b"".join([field.raw for field in self.fields]) + b"\r\n"


def parse_header(section: bytes) -> Header:
    """Divide a header section into its fields.

    Args:
        section: all lines up to the end of the header, with or without the empty line.

    Raises:
        Malformed: a line is neither a field nor a continuation, there is a NUL, a bare CR or a bare LF, or there are
            more than `FIELD_LIMIT` fields.
    """
    if section.endswith(b"\r\n\r\n") or section == b"\r\n":
        section = section[:-2]
    elif section and not section.endswith(b"\r\n"):
        section += b"\r\n"
    found: list[tuple[bytes, bytes]] = _FIELD.findall(section)
    if len(b"".join([raw for raw, _ in found])) != len(section):
        raise bad_header("a line of the header is no field", "A line of the header is not a header field")
    # RFC 5322 §4: NUL stands only in obsolete text; whoever ends a string there would read another header than we.
    if section.find(b"\0") >= 0:
        raise bad_header("NUL in the header", "NUL in the header")
    if len(found) > FIELD_LIMIT:
        raise bad_header("too many fields", "Too many header fields")
    return Header(tuple([Field(name.lower(), raw) for raw, name in found]))
