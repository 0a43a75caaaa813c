"""What goes over a control socket: JSON objects (RFC 8259), one a line.

One request comes, ``{"verb": "status"}`` and what it needs.  Rows follow, ``{"row": ...}``, and a last line:
``{"done": true}``, or ``{"error": "why"}``.  Then the connection is closed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from gatepost.errors import Malformed

__all__ = ["IDS_LIMIT", "REQUEST_BYTES", "ROW_BYTES", "decode", "encode", "reachable", "socket_path", "socket_paths"]

REQUEST_BYTES: Final = 16 << 10
"""Longest request, line ending included."""
ROW_BYTES: Final = 1 << 20
"""Longest line that a client takes."""
IDS_LIMIT: Final = 100
"""How many messages one request may name."""

_SOCKET: Final = re.compile(r"worker-(0|[1-9][0-9]{0,5})\.sock")
_NAME_LIMIT: Final = 107  # octets of a path that fit into a socket's address


def encode(message: dict[str, Any]) -> bytes:
    """Write one line."""
    return json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """Read one line.

    Raises:
        Malformed: it is no JSON object.
    """
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not a line of JSON: {type(error).__name__}") from None
    if not isinstance(message, dict):
        raise Malformed("not a JSON object")
    return message


def socket_path(run_dir: Path, number: int) -> Path:
    """Return where the worker of that number listens."""
    return run_dir / f"worker-{number}.sock"


def socket_paths(run_dir: Path) -> dict[int, Path]:
    """Return the sockets that are there, by number of the worker; some may be of processes that are no more."""
    found: dict[int, Path] = {}
    with contextlib.suppress(OSError):
        for path in run_dir.iterdir():
            match = _SOCKET.fullmatch(path.name)
            if match is not None:
                found[int(match[1])] = path
    return dict(sorted(found.items()))


@contextlib.contextmanager
def reachable(path: Path) -> Iterator[str]:
    """Yield an address for the socket at *path*, also where the path is longer than an address may be.

    Raises:
        OSError: its folder is not there, or closed to us.
    """
    if len(os.fsencode(path)) <= _NAME_LIMIT:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
