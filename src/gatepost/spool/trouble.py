"""What went wrong with the disk or the database, as the exception that a caller of the spool sees."""

from __future__ import annotations

import errno
import sqlite3
from typing import Final

from gatepost.errors import SpoolFull, SpoolUnavailable

__all__ = ["spool_error"]

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def spool_error(error: Exception) -> SpoolUnavailable:
    """Return the exception that says *error* to a caller: `SpoolFull` when there is no room."""
    if isinstance(error, SpoolUnavailable):
        return error
    if isinstance(error, OSError):
        trouble = SpoolFull if error.errno in _NO_ROOM else SpoolUnavailable
        return trouble(error.strerror or repr(error))
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", 0)
        return (SpoolFull if code & 0xFF == sqlite3.SQLITE_FULL else SpoolUnavailable)(str(error))
    return SpoolUnavailable(repr(error))
