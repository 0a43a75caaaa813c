"""The server of this machine as verbs reach it: by the sockets of its workers, or, if none runs, by its files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatepost.cli.output import Told

if TYPE_CHECKING:
    from gatepost.config.schema import Config
    from gatepost.errors import Unavailable
    from gatepost.state.lock import StateLock

__all__ = ["act_as_owner", "ask_workers", "check_state_dir", "is_running", "lock_if_stopped"]

# Longer than a worker takes to do what it is asked, or to say that it could not: whoever gives up sooner knows nothing.
_PATIENCE = 35.0
_QUICK = 5.0


def check_state_dir(state_dir: Path) -> None:
    """See that there is a state folder.

    Raises:
        Told: there is none, or it is closed to us.
    """
    try:
        state_dir.stat()
    except FileNotFoundError:
        raise Told(f"{state_dir} does not exist: no server has run with this configuration yet") from None
    except OSError as error:
        raise Told(f"{state_dir}: {error.strerror}; run this as root or as the user of the server") from None


def act_as_owner(folder: Path) -> None:
    """Go on as the owner of *folder*, if we are root: what we make there must be readable for the server.

    Import everything first: the owner may not be able to read our libraries.
    """
    owner = folder.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.setgroups([owner.st_gid])
        os.setegid(owner.st_gid)
        os.seteuid(owner.st_uid)


def is_running(state_dir: Path) -> bool:
    """Tell whether a server works with *state_dir*; leaves nothing behind.

    Raises:
        Told: that cannot be seen.
    """
    import fcntl

    from gatepost.state.lock import LOCK_FILE

    try:
        with (state_dir / LOCK_FILE).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError as error:
        raise Told(f"{state_dir}: {error.strerror}; run this as root or as the user of the server") from None
    return False


def lock_if_stopped(state_dir: Path) -> StateLock | None:
    """Keep servers from starting as long as the lock is held that is returned; None if one runs.

    Raises:
        Told: the lock file cannot be opened.
    """
    from gatepost.state.lock import InUse, StateLock

    try:
        return StateLock(state_dir)
    except InUse:
        return None
    except OSError as error:
        raise Told(
            f"{state_dir}: cannot be locked: {error.strerror}; run this as root or as the user of the server"
        ) from None


def ask_workers(
    config: Config, request: dict[str, Any], *, changes: bool = False
) -> dict[int, list[Any] | Unavailable]:
    """Ask every worker of the running server; return the rows of each, or why there are none.

    Args:
        config: says where they listen.
        request: what is asked.
        changes: whether it changes something, and is worth waiting for.

    Raises:
        Told: none of them listens.
    """
    from gatepost.control.client import ask_all
    from gatepost.control.protocol import socket_paths

    paths = socket_paths(config.run_dir)
    if not paths:
        raise Told(
            f"{config.state_dir} is in use, but no worker listens in {config.run_dir}: "
            "the server is just starting, or another verb is at work; try again in a moment"
        )
    return ask_all(paths, request, _PATIENCE if changes else _QUICK)
