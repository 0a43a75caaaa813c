"""Base64 as it stands on the lines of an exchange: one text for one value, all else refused (RFC 4648 §3, §4)."""

from __future__ import annotations

import binascii

from gatepost.errors import Malformed

__all__ = ["decode_base64", "encode_base64"]


def decode_base64(line: bytes) -> bytes:
    """Decode one line; an empty one is an empty message.

    Raises:
        Malformed: padding is missing, wrong or in the middle, bits under it are set, or a character is none of ours.
    """
    try:
        data = binascii.a2b_base64(line, strict_mode=True)
    except binascii.Error:
        data = None
    # RFC 4648 §3.3: characters outside the alphabet are refused; §3.5: so are bits that an encoder leaves zero.
    if data is None or encode_base64(data) != line:
        raise Malformed("not base64", text="Cannot decode base64")
    return data


def encode_base64(data: bytes) -> bytes:
    """Encode *data* as one line, without its end."""
    return binascii.b2a_base64(data, newline=False)
