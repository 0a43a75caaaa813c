"""HMAC-MD5 from its two inner states, so that CRAM-MD5 need not keep the secret itself (RFC 2104 §4, RFC 2195 §2).

`states` is done once, when a secret is stored; `finish` at each login, for 0.1 ms or so.  The states are as good as
the secret to CRAM-MD5, and to nothing else.  hashlib shows no such state, hence a compression function of our own.
"""

from __future__ import annotations

import hashlib
import math
import struct
from typing import Final

__all__ = ["STATES_BYTES", "finish", "states"]

STATES_BYTES: Final = 32

_BLOCK_BYTES: Final = 64
_MASK: Final = 0xFFFFFFFF
_START: Final = struct.pack("<4I", 0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
_INNER_PAD: Final = bytes(each ^ 0x36 for each in range(256))
_OUTER_PAD: Final = bytes(each ^ 0x5C for each in range(256))

# RFC 1321 §3.4: the table of sines, the rotations of each round, and the order in which it takes the words.
_SINES: Final = tuple(int(abs(math.sin(step + 1)) * 2**32) for step in range(64))
_SHIFTS: Final = (7, 12, 17, 22) * 4 + (5, 9, 14, 20) * 4 + (4, 11, 16, 23) * 4 + (6, 10, 15, 21) * 4
_WORDS: Final = (
    *range(16),
    *((5 * step + 1) % 16 for step in range(16)),
    *((3 * step + 5) % 16 for step in range(16)),
    *(7 * step % 16 for step in range(16)),
)
_STEPS: Final = tuple(zip(_SINES, _SHIFTS, _WORDS, strict=True))


def states(key: bytes) -> bytes:
    """Return the inner and the outer state for *key*, 16 octets each."""
    # RFC 2104 §2: a key longer than a block is hashed first; a shorter one is filled up with zeros.
    if len(key) > _BLOCK_BYTES:
        key = hashlib.md5(key, usedforsecurity=False).digest()
    block = key.ljust(_BLOCK_BYTES, b"\0")
    return _compress(_START, block.translate(_INNER_PAD)) + _compress(_START, block.translate(_OUTER_PAD))


def finish(states: bytes, message: bytes) -> bytes:
    """Return HMAC-MD5 of *message* under the key that *states* were made of.

    Raises:
        ValueError: these are no states.
    """
    if len(states) != STATES_BYTES:
        raise ValueError("HMAC-MD5 has 32 octets of state")
    return _digest(states[16:], _digest(states[:16], message))


def _digest(state: bytes, message: bytes) -> bytes:
    """Hash *message* on from *state*, which has seen one block."""
    # RFC 1321 §3.1, §3.2: a one bit, zeros, and the length in bits.
    bits = (_BLOCK_BYTES + len(message)) * 8
    padded = message + b"\x80" + bytes(-(len(message) + 9) % _BLOCK_BYTES) + struct.pack("<Q", bits)
    for start in range(0, len(padded), _BLOCK_BYTES):
        state = _compress(state, padded[start : start + _BLOCK_BYTES])
    return state


def _compress(state: bytes, block: bytes) -> bytes:
    """Take one block of 64 octets into a state of 16 (RFC 1321 §3.4)."""
    words = struct.unpack("<16I", block)
    start = struct.unpack("<4I", state)
    a, b, c, d = start
    for step, (sine, shift, word) in enumerate(_STEPS):
        if step < 16:
            mixed = d ^ (b & (c ^ d))
        elif step < 32:
            mixed = c ^ (d & (b ^ c))
        elif step < 48:
            mixed = b ^ c ^ d
        else:
            mixed = c ^ (b | (d ^ _MASK))
        turned = (a + mixed + sine + words[word]) & _MASK
        a, d, c, b = d, c, b, (b + (turned << shift | turned >> (32 - shift))) & _MASK
    return struct.pack("<4I", *((old + new) & _MASK for old, new in zip(start, (a, b, c, d), strict=True)))
