"""Say why a connection came to nothing in the system's words, however many libraries have wrapped them."""

from __future__ import annotations

import os

__all__ = ["system_words"]


def system_words(error: BaseException) -> str:
    """Return what the system said where *error* began; its own text if the system said nothing."""
    each: BaseException | None = error
    while each is not None:
        if isinstance(each, BaseExceptionGroup):
            each = each.exceptions[0]
        if isinstance(each, OSError) and each.errno:
            return _words(each)
        each = each.__cause__ or each.__context__
    return str(error) or type(error).__name__


def _words(error: OSError) -> str:
    # What only errors of TLS have: why a certificate is not good, or what OpenSSL calls the trouble.
    refused, reason = getattr(error, "verify_message", None), getattr(error, "reason", None)
    if refused:
        return f"certificate refused: {refused}"
    if reason:
        return f"TLS failed: {reason}"
    # A negative one is of the resolver.  asyncio writes words of its own into strerror: "Connect call failed".
    return str(error.strerror) if error.errno is None or error.errno < 0 else os.strerror(error.errno)
