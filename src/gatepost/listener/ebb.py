"""Give memory back to the system when a crowd of connections has left: glibc keeps what it has until it is asked."""

from __future__ import annotations

import asyncio
import ctypes
from typing import Final

__all__ = ["Ebb"]

# A crowd is so many connections; fewer hold next to nothing.
_CROWD: Final = 100
# What the last ones held is free by then.
_SECONDS: Final = 1.0

# Not in every libc.
_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)


class Ebb:
    """Watches the number of connections."""

    def __init__(self) -> None:
        self._most = 0  # at once, since memory was last given back

    def rose(self, count: int) -> None:
        """Hear that there are so many now, one more than before."""
        if count > self._most:
            self._most = count

    def fell(self, count: int) -> None:
        """Hear that there are so many now, one less than before; once three quarters have left, give memory back."""
        if count * 4 <= self._most and self._most >= _CROWD:
            self._most = 0
            if _trim is not None:
                asyncio.get_running_loop().call_later(_SECONDS, _trim, 0)
