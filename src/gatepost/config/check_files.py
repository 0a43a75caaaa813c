"""See whether the files that gatepost itself makes and writes can be: the secret key, the log, the audit trail."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.config.locate import Key
from gatepost.config.schema import Config

if TYPE_CHECKING:
    from gatepost.config.check import Findings

__all__ = ["check_files"]


def check_files(config: Config, findings: Findings) -> None:
    """Look at each file."""
    state_dir, key_file, observe = config.state_dir, config.secret_key_file, config.observe
    files: list[tuple[Key, Path]] = [(("secret_key_file",), key_file)]
    for name, path in (("log_file", observe.log_file), ("audit_file", observe.audit_file)):
        if path is not None:
            files.append((("observe", name), path))
    for key, path in files:
        try:
            # The folder of the state is made, and looked at by itself.
            if path.parent != state_dir or os.access(state_dir, os.W_OK | os.X_OK):
                _file(key, path, findings, is_read=path == key_file)
        except OSError as error:
            if path.parent != state_dir:
                text = f"{path}: {error.strerror}; let the user that runs gatepost into its folder, or name another"
                findings.wrong(key, text)
    if observe.audit_file and observe.log_file and _same(observe.audit_file, observe.log_file):
        findings.wrong(("observe", "audit_file"), "is the log file, too, and its chain would be broken; name another")


def _same(one: Path, other: Path) -> bool:
    return Path(os.path.realpath(one)) == Path(os.path.realpath(other))


def _file(key: Key, path: Path, findings: Findings, *, is_read: bool) -> None:
    """A file that must be writable, or only *is_read* if it is there, or that can be made; also a pipe or a terminal.

    Raises:
        OSError: a folder on the way to it lets nobody through.
    """
    if path.is_dir():
        findings.wrong(key, f"{path} is a folder; name a file in it")
    elif path.exists():
        if not is_read and not os.access(path, os.W_OK):
            findings.wrong(key, f"{path} cannot be written; give it to the user that runs gatepost")
    elif not path.parent.is_dir():
        findings.wrong(key, f"{path.parent} is no folder; make it for the user that runs gatepost, or correct the path")
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        findings.wrong(key, f"{path} cannot be made; let the user that runs gatepost write to its folder")
