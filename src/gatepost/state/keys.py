"""The secret key file of a node, and one key for each use made from it by HKDF (RFC 5869).

The file holds 32 random octets, is made once, and is never written again.  Losing it makes sealed verifiers useless
and changes the decoys of unknown names, so it belongs into the backup.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from gatepost.errors import ConfigError
from gatepost.model.identity import Secret

__all__ = ["KEY_BYTES", "Keys", "load_keys"]

KEY_BYTES: Final = 32


class Keys:
    """Keys of the node, one per use."""

    __slots__ = ("_master",)

    def __init__(self, master: Secret) -> None:
        if len(master.reveal()) != KEY_BYTES:
            raise ValueError(f"a master key has {KEY_BYTES} octets")
        self._master = master

    def derive(self, use: str) -> bytes:
        """Return the 32 octets for *use*: always the same for one use, unrelated to those of every other."""
        # RFC 5869 §3.3: the master key is uniformly random, so the extract step is left out.
        return HKDFExpand(SHA256(), KEY_BYTES, b"gatepost " + use.encode()).derive(self._master.reveal())


def load_keys(path: Path, *, create: bool = True) -> Keys:
    """Read the secret key file; make it first if it is missing and *create* is set.

    Raises:
        ConfigError: it cannot be read or made, has the wrong size, or others may read it.
    """
    try:
        try:
            return Keys(_read(path))
        except FileNotFoundError:
            if not create:
                raise
        _make(path)
        return Keys(_read(path))
    except OSError as error:
        remedy = "check the path and who owns it" if create else "start the server once, or bring it back from backup"
        raise ConfigError(f"{path}: secret_key_file: {error.strerror}; {remedy}") from None


def _read(path: Path) -> Secret:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{path}: secret_key_file: is no ordinary file; give the path of a file")
        if status.st_mode & 0o077:
            mode = stat.S_IMODE(status.st_mode)
            raise ConfigError(
                f"{path}: secret_key_file: others may use it (mode {mode:04o}); run: chmod 600 {path}",
            )
        octets = file.read(KEY_BYTES + 1)
    if len(octets) != KEY_BYTES:
        raise ConfigError(
            f"{path}: secret_key_file: must hold exactly {KEY_BYTES} octets; bring it back from backup, "
            "or remove it and let a new one be made (CRAM-MD5 secrets must then be given out anew)",
        )
    return Secret(octets)


def _make(path: Path) -> None:
    # Written beside its place and then linked there: nobody ever sees half a key, and of two processes that start at
    # the same time one makes the key and both use it.
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            _give_to_owner_of_folder(file.fileno(), path.parent)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _give_to_owner_of_folder(descriptor: int, folder: Path) -> None:
    # Root may run the command line before the server, which runs as somebody else, has ever started.
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
