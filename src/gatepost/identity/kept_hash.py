"""How a database keeps a hash that another program made: after a line with its likeness, which a survey can count.

An argon2id hash of ours that costs something else than those made today is handed out as one of these: it takes other
work, and is to be made anew.
"""

from __future__ import annotations

from typing import Final

from gatepost.identity.store import ARGON2ID, HASH
from gatepost.identity.verifiers import Argon2
from gatepost.model.identity import Secret

__all__ = ["ARGON2ID_TAIL", "argon2id_head", "held", "keep", "likeness_of"]

_SALT: Final = 22
_CHECKSUM: Final = 43

ARGON2ID_TAIL: Final = _SALT + 1 + _CHECKSUM
"""How many characters of an argon2id hash of ours come after its cost: salt and checksum."""


def keep(text: Secret, likeness: str) -> Secret:
    """Return what a database keeps under the scheme HASH."""
    return Secret(likeness.encode() + b"\n" + text.reveal())


def argon2id_head(argon2: Argon2) -> bytes:
    """Return what the argon2id hashes begin with that have this cost."""
    return f"$argon2id$v=19$m={argon2.memory_bytes // 1024},t={argon2.passes},p={argon2.lanes}$".encode()


def held(scheme: str, value: bytes, head: bytes = b"") -> tuple[str, Secret]:
    """Return scheme and verifier of a row as they are handed out.

    Args:
        scheme: of the row.
        value: of the row.
        head: what argon2id hashes of today begin with; empty takes them all for that.
    """
    if scheme == HASH:
        return HASH, Secret(value.partition(b"\n")[2])
    if scheme == ARGON2ID and not value.startswith(head):
        return HASH, Secret(b"{ARGON2ID}" + value)
    return scheme, Secret(value)


def likeness_of(found: bytes) -> str:
    """Return the likeness of what a survey found: that of a hash as it is kept, or the head of an argon2id hash."""
    text = found.decode()
    return "{ARGON2ID}" + text + "A" * _SALT + "$" + "A" * _CHECKSUM if text.startswith("$") else text
