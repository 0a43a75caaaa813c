"""A message that may be signed, while it arrives: whose it is once its header is there, and then the hash of its body.

A message whose domain has no key costs nothing but a look for one; without keys there is not even this.
"""

from __future__ import annotations

from collections.abc import Callable

from gatepost.errors import Malformed
from gatepost.message.dkim import BodyHash, SigningKey
from gatepost.message.prepare import Examined, Prepared, examine
from gatepost.message.signer import Signer

__all__ = ["Signing", "signing_of"]


class Signing:
    """One message.

    Args:
        signer: signs it.

    Attributes:
        examined: what its header says; None before the header has ended, and if it must be refused.
    """

    __slots__ = ("_body", "_keys", "_signer", "_write", "examined")

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self._body = BodyHash()
        self._keys: tuple[SigningKey, ...] | None = None
        self._write: Callable[[bytes], None]
        self.examined: Examined | None = None

    def begin(self, header: bytes, write: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """Look at the header; return what takes the body, and gives it to *write*."""
        try:
            self.examined = examine(header)
        except Malformed:
            return write  # refused once all of it was read
        self._keys = self._signer.choose(self.examined.from_addresses)
        if not self._keys:
            return write
        self._write = write
        return self._take

    def _take(self, piece: bytes) -> None:
        self._write(piece)
        self._body.update(piece)

    def sign(self, prepared: Prepared, examined: Examined) -> tuple[bytes, int]:
        """Return the header section as it goes out, signed, and how many signatures it has got."""
        keys = self._keys
        if keys is None:
            # It has no body, not even the empty line before one.
            keys = self._signer.choose(examined.from_addresses)
        return (
            (self._signer.sign(prepared.header, self._body.digest(), keys), len(keys)) if keys else (prepared.prefix, 0)
        )

    def why_not(self, examined: Examined) -> str:
        """Say why it gets no signature, in one word or two."""
        return self._signer.why_not(examined.from_addresses)


def signing_of(signer: Signer | None) -> Signing | None:
    """Return what signs the next message; None if nobody has a key."""
    return Signing(signer) if signer is not None and signer.keys else None
