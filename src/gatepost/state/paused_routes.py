"""Which routes somebody paused by hand: a small file in the state folder, so that they stay paused over restarts.

Whoever pauses or resumes a route writes the file first and tells the workers then; a worker that starts reads it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from gatepost.errors import ConfigError

__all__ = ["PAUSED_ROUTES_FILE", "note_paused", "paused_since", "read_paused"]

PAUSED_ROUTES_FILE: Final = "paused-routes.json"


def read_paused(state_dir: Path) -> dict[str, float]:
    """Return the routes that are paused by hand, and since when.

    Raises:
        ConfigError: the file cannot be read, or is not ours: no mail must go out that somebody wanted to stop.
    """
    path = state_dir / PAUSED_ROUTES_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: cannot be read ({error}); correct that, or remove it to resume all routes"
        ) from None
    try:
        paused = {str(name): float(since) for name, since in json.loads(text).items()}
        if not all(map(math.isfinite, paused.values())):
            raise ValueError("a time is not finite")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{path}: is damaged ({error}); remove it to resume all routes") from None
    return paused


def paused_since(paused: Mapping[str, float], name: str) -> float | None:
    """Return since when the route *name* is paused, itself or, if it is one login of a route, with all of that."""
    return paused.get(name, paused.get(name.partition(":")[0]))


def note_paused(state_dir: Path, name: str, since: float | None) -> bool:
    """Write down that a route is paused *since* then, or, with None, that it is not; return whether that is new.

    Raises:
        ConfigError: what is there cannot be read.
        OSError: it cannot be written.
    """
    with _alone(state_dir) as folder:
        paused = read_paused(state_dir)
        if (since is None) == (name not in paused):
            return False
        if since is None:
            del paused[name]
        else:
            paused[name] = since
        _write(state_dir / PAUSED_ROUTES_FILE, paused)
        os.fsync(folder)
        return True


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[int]:
    """Keep out others who would write at the same time."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _write(path: Path, paused: dict[str, float]) -> None:
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if os.geteuid() == 0:
            owner = path.parent.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        octets = json.dumps(paused, indent=2, sort_keys=True).encode() + b"\n"
        while octets:
            octets = octets[os.write(descriptor, octets) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    fresh.replace(path)
