"""The DKIM keys of a node on disk: one file for each domain, written whole or not at all, for gatepost's eyes only.

    state_dir/dkim/example.org.json     every key of the domain: selector, kind, since when it signs, private key

What signs at a moment follows from the file and the clock (`gatepost.message.signer`): a switch that was planned needs
nobody to be there.  Changes are made under a lock, so that two commands do not lose each other's.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gatepost.errors import ConfigError, Malformed
from gatepost.message.signer import DomainKeys, ScheduledKey
from gatepost.model.address import ascii_domain, parse_domain
from gatepost.model.identity import Secret

if TYPE_CHECKING:
    from gatepost.message.dkim_key import PrivateKey

__all__ = ["KEYS_FOLDER", "StoredKey", "change_keys", "is_selector", "load_signing_keys", "read_keys", "write_keys"]

KEYS_FOLDER: Final = "dkim"
_SUFFIX: Final = ".json"
_FILE_LIMIT: Final = 1 << 20

# RFC 6376 §3.1: a selector is labels with dots between them, as in a name of the DNS.
_SELECTOR: Final = re.compile(
    r"(?=.{1,63}\Z)[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
)


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key of a domain.

    Args:
        selector: its name in the DNS, below ``_domainkey``.
        kind: `rsa` or `ed25519`.
        created: when it was made or brought, in seconds since the epoch.
        signs_from: when it takes over from those of its kind before it; None: not yet told.
        private: the key.
    """

    selector: str
    kind: str
    created: float
    signs_from: float | None
    private: PrivateKey


def is_selector(text: str) -> bool:
    """Tell whether *text* can be a selector."""
    return _SELECTOR.fullmatch(text) is not None


def load_signing_keys(state_dir: Path) -> DomainKeys:
    """Read the keys of all domains, ready to sign.

    Raises:
        ConfigError: some cannot be read, are wrong, or may be read by others.
    """
    stored = read_keys(state_dir)
    if not stored:
        return {}
    from gatepost.message.dkim_key import signing_key

    return {
        domain: tuple(
            [ScheduledKey(signing_key(domain, each.selector, each.private), each.signs_from) for each in keys]
        )
        for domain, keys in stored.items()
    }


def read_keys(state_dir: Path) -> dict[str, tuple[StoredKey, ...]]:
    """Read the keys of all domains, by domain.

    Raises:
        ConfigError: some cannot be read, are wrong, or may be read by others.
    """
    folder = state_dir / KEYS_FOLDER
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == _SUFFIX and not path.name.startswith("."))
    except FileNotFoundError:
        return {}
    except OSError as error:
        if not os.access(state_dir, os.X_OK):
            return {}  # what is wrong is state_dir
        raise ConfigError(f"{folder}: dkim: {error.strerror}; give it to the user that runs gatepost") from None
    found: dict[str, tuple[StoredKey, ...]] = {}
    problems: list[str] = []
    for path in paths:
        try:
            found[_domain_of(path)] = _decode(_read(path))
        except Malformed as error:
            problems.append(f"{path}: dkim: {error.reason}")
        except OSError as error:
            problems.append(f"{path}: dkim: {error.strerror}; give it to the user that runs gatepost, or remove it")
    if problems:
        raise ConfigError(*problems)
    return found


def _domain_of(path: Path) -> str:
    domain = path.name.removesuffix(_SUFFIX)
    try:
        if ascii_domain(parse_domain(domain)) == domain and not domain.startswith("["):
            return domain
    except Malformed:
        pass
    raise Malformed("is not named after a domain; remove it, and make keys with: gatepost dkim add DOMAIN")


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise Malformed("is no ordinary file; remove it")
        if status.st_mode & 0o077:
            mode = stat.S_IMODE(status.st_mode)
            raise Malformed(f"others may read the private keys (mode {mode:04o}); run: chmod 600 {path}")
        octets = file.read(_FILE_LIMIT + 1)
    if len(octets) > _FILE_LIMIT:
        raise Malformed("is too long; bring it back from backup")
    return octets


_REMEDY: Final = "bring it back from backup, or remove it and make new keys with: gatepost dkim add DOMAIN"


def _decode(octets: bytes) -> tuple[StoredKey, ...]:
    from gatepost.message.dkim_key import read_key

    try:
        rows: list[dict[str, Any]] = json.loads(octets)["keys"]
        found = []
        for row in rows:
            signs_from = row["signs_from"]
            key = StoredKey(
                str(row["selector"]),
                str(row["kind"]),
                float(row["created"]),
                None if signs_from is None else float(signs_from),
                read_key(Secret(row["private_key"].encode("ascii"))),
            )
            found.append(key)
    except Malformed as error:
        raise Malformed(f"a private key {error.reason}; {_REMEDY}") from None
    # What went wrong may quote a private key: it is not told.
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Malformed(f"is not as gatepost wrote it; {_REMEDY}") from None
    selectors = {each.selector for each in found}
    if not found or len(selectors) < len(found) or not all(map(is_selector, selectors)):
        raise Malformed(f"holds no keys, or selectors that cannot be; {_REMEDY}")
    return tuple(found)


@contextlib.contextmanager
def change_keys(state_dir: Path) -> Iterator[dict[str, tuple[StoredKey, ...]]]:
    """Read the keys and keep others from changing them until the block ends.

    Raises:
        ConfigError: they cannot be read.
        OSError: the folder cannot be made or locked.
    """
    folder = state_dir / KEYS_FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _give_to_owner_of(state_dir, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield read_keys(state_dir)
    finally:
        os.close(descriptor)


def write_keys(state_dir: Path, domain: str, keys: Sequence[StoredKey]) -> None:
    """Write the keys of a domain down, durably, within `change_keys`; without any its file goes.

    Raises:
        OSError: they cannot be written; those that were there still are.
    """
    folder = state_dir / KEYS_FOLDER
    path = folder / f"{domain}{_SUFFIX}"
    if keys:
        fresh = folder / f".{path.name}.{secrets.token_hex(4)}"
        try:
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(json.dumps({"keys": [_row(each) for each in keys]}, indent=1).encode("ascii"))
                _give_to_owner_of(state_dir, file.fileno())
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
    else:
        path.unlink(missing_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _row(key: StoredKey) -> Mapping[str, object]:
    from gatepost.message.dkim_key import write_key

    return {
        "selector": key.selector,
        "kind": key.kind,
        "created": key.created,
        "signs_from": key.signs_from,
        "private_key": write_key(key.private).reveal().decode("ascii"),
    }


def _give_to_owner_of(folder: Path, descriptor: int) -> None:
    # Root may run the command line while the server runs as somebody else.
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
