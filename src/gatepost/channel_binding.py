"""What a login can be bound to of its TLS connection, so that nobody can carry it to another (RFC 5056, RFC 9266).

    TLS 1.3                                     tls-exporter (RFC 9266)
    TLS 1.2 with extended master secret         tls-unique (RFC 5929)

The ssl module hands out no exported keys, and a value for "tls-unique" also where it means nothing; so OpenSSL is asked
itself, by the pointer in the object of the ssl module.  Where that object does not look as we know it, there is no
binding; mechanisms that bind are then neither offered nor used.
"""

from __future__ import annotations

import asyncio
import ctypes
import functools
import ssl
import sys
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["bindings", "bindings_of"]

# RFC 9266 §2: the label; no context, which in TLS 1.3 is the same as an empty one; 32 octets.
_LABEL: Final = b"EXPORTER-Channel-Binding"
_OCTETS: Final = 32

# In openssl/ssl.h.
_GET_EXTENDED_MASTER_SECRET: Final = 122

_WORD: Final = ctypes.sizeof(ctypes.c_void_p)


def bindings(transport: asyncio.BaseTransport | None) -> Mapping[str, bytes]:
    """Return type and data of the binding that is sound on this connection; nothing if none is.

    Args:
        transport: of the connection, after the handshake if there is one.
    """
    return bindings_of(transport.get_extra_info("ssl_object")) if transport is not None else {}


def bindings_of(tls: Any) -> Mapping[str, bytes]:
    """Return the same, for an object or a socket of the ssl module; nothing for None."""
    if tls is None:
        return {}
    openssl = _openssl()
    pointer = _pointer(tls, openssl) if openssl is not None else None
    if openssl is None or pointer is None:
        return {}
    version = tls.version()
    if version == "TLSv1.3":
        octets = ctypes.create_string_buffer(_OCTETS)
        if openssl.SSL_export_keying_material(pointer, octets, _OCTETS, _LABEL, len(_LABEL), None, 0, 0) == 1:
            return {"tls-exporter": octets.raw}
    # RFC 9266 §3: without extended master secret (RFC 7627) two connections can have the same tls-unique.
    elif version == "TLSv1.2" and openssl.SSL_ctrl(pointer, _GET_EXTENDED_MASTER_SECRET, 0, None) == 1:
        finished = tls.get_channel_binding("tls-unique")
        if finished:
            return {"tls-unique": finished}
    return {}


@functools.cache
def _openssl() -> Any:
    """Return the OpenSSL that the ssl module uses; None if it cannot be reached."""
    if sys.implementation.name != "cpython":
        return None
    import _ssl

    try:
        # Names are looked for in the module's own file and what that is linked to, so it is the same library.
        library = ctypes.CDLL(getattr(_ssl, "__file__", None))
        version, control, export = library.SSL_get_version, library.SSL_ctrl, library.SSL_export_keying_material
    except (OSError, AttributeError):
        return None
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    version.argtypes, version.restype = [pointer], ctypes.c_char_p
    control.argtypes, control.restype = [pointer, ctypes.c_int, ctypes.c_long, pointer], ctypes.c_long
    export.argtypes = [pointer, pointer, size, ctypes.c_char_p, size, ctypes.c_char_p, size, ctypes.c_int]
    export.restype = ctypes.c_int
    return library


def _pointer(tls: Any, openssl: Any) -> int | None:
    """Return OpenSSL's own pointer to the connection, read from CPython's object; None if that looks otherwise.

    The object begins with its head, a reference to a socket, OpenSSL's pointer, and a reference to the context.  The
    last is known, and so tells whether the layout is that; only then the pointer is used.
    """
    inner = getattr(tls, "_sslobj", None)
    if inner is None or not isinstance(tls, ssl.SSLObject | ssl.SSLSocket):
        return None
    place = id(inner) + object.__basicsize__ + _WORD
    if type(inner).__basicsize__ < object.__basicsize__ + 3 * _WORD:
        return None
    pointer = ctypes.c_void_p.from_address(place).value
    context = ctypes.c_void_p.from_address(place + _WORD).value
    if pointer is None or context != id(inner.context):
        return None
    return pointer if (openssl.SSL_get_version(pointer) or b"").decode() == tls.version() else None
