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
    key_file, observe = config.secret_key_file, config.observe
    # The folder of the state is made, and looked at by itself; a key that is there is only read.
    if not key_file.exists() and key_file.parent != config.state_dir:
        _file(("secret_key_file",), key_file, findings)
    elif key_file.is_dir():
        findings.wrong(("secret_key_file",), f"{key_file} is a folder; name a file in it")
    for name, path in (("log_file", observe.log_file), ("audit_file", observe.audit_file)):
        if path is not None:
            _file(("observe", name), path, findings)
    if observe.audit_file and observe.log_file and observe.audit_file.resolve() == observe.log_file.resolve():
        findings.wrong(("observe", "audit_file"), "is the log file, too, and its chain would be broken; name another")


def _file(key: Key, path: Path, findings: Findings) -> None:
    """A file that must be writable, or that can be made; it may be a pipe or a terminal."""
    if path.is_dir():
        findings.wrong(key, f"{path} is a folder; name a file in it")
    elif path.exists():
        if not os.access(path, os.W_OK):
            findings.wrong(key, f"{path} cannot be written; give it to the user that runs gatepost")
    elif not path.parent.is_dir():
        findings.wrong(key, f"{path.parent} is no folder; make it for the user that runs gatepost, or correct the path")
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        findings.wrong(key, f"{path} cannot be made; let the user that runs gatepost write to its folder")
