"""Where spools lie: numbered folders, one for each worker, and those left over by workers that are no more."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from gatepost.errors import SpoolUnavailable
from gatepost.spool.files import Files

__all__ = ["folders", "make_folder", "share"]

# As we write them: "007" is nobody's.
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,8}")


def folders(root: Path) -> list[Path]:
    """List the spools below *root* by their numbers; none, if there is no such folder.

    Raises:
        SpoolUnavailable: the folder cannot be read.
    """
    try:
        found = [path for path in root.iterdir() if _NUMBER.fullmatch(path.name) and path.is_dir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SpoolUnavailable(f"{root}: the spools cannot be listed: {error.strerror}") from error
    return sorted(found, key=lambda path: int(path.name))


def share(root: Path, workers: int) -> list[list[Path]]:
    """Say who works on which spools: each worker's own folder first, then left-over ones, shared out in turn.

    A folder that a worker lacks is made, and its name is durable.

    Raises:
        SpoolUnavailable: a folder cannot be made or read.
    """
    own = [root / str(number) for number in range(workers)]
    try:
        for folder in own:
            make_folder(folder, Files())
    except OSError as error:
        raise SpoolUnavailable(f"{root}: a spool's folder cannot be made: {error.strerror}") from error
    shares = [[folder] for folder in own]
    left_over = [folder for folder in folders(root) if folder not in own]
    for turn, folder in enumerate(left_over):
        shares[turn % workers].append(folder)
    return shares


def make_folder(path: Path, files: Files) -> None:
    """Make a folder that only we can enter, and those above it that are missing; their names are durable.

    Raises:
        OSError: it cannot be made.
    """
    if path.is_dir():
        return
    make_folder(path.parent, files)
    path.mkdir(mode=0o700, exist_ok=True)
    files.sync_folder(path.parent)
