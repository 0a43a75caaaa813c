"""``gatepost backup``: what must not be lost, in one file, consistent while the server runs."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import sqlite3
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gatepost import __version__
from gatepost.cli.options import config_option, json_option
from gatepost.cli.output import Told, print_rows, remark

if TYPE_CHECKING:
    from gatepost.config.schema import Config

__all__ = ["backup"]

_COLUMNS = ("name", "path", "bytes")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@config_option
@json_option
def backup(config: Config, file: Path, force: bool, as_json: bool) -> None:
    """Write accounts, state, keys and configuration to FILE.

    FILE is a tar archive that only you can read.

    The server may go on meanwhile: each database is copied as it was at one moment, and the copy is checked.  Together
    the accounts and the key are enough to log in, and a DKIM key to sign: keep FILE where nobody else comes.

    Mail is not in it: most of it would have been delivered by the time it is restored, and would go out again.  Nor are
    the certificate, its key, and the files that hold secrets of routes and stores: keep those where they came from.
    Accounts in PostgreSQL are not in it either: back its database up with pg_dump.
    """
    if file.exists() and not force:
        raise Told(f"{file}: is there already; choose another name, or use --force")
    left_out: list[str] = []
    try:
        with tempfile.TemporaryDirectory(prefix=".gatepost-backup-", dir=file.absolute().parent) as name:
            folder = Path(name)
            parts = _collect(config, folder, left_out)
            _pack(parts, file, folder / "archive.tar")
            rows = [
                {"name": each.name, "path": each.path and str(each.path), "bytes": each.copy.stat().st_size}
                for each in parts
            ]
    except OSError as error:
        raise Told(f"{error.filename or file}: {error.strerror or error}; no backup was made") from None
    print_rows(rows, _COLUMNS, as_json)
    for store in config.store:
        if store.type == "postgres":
            remark(f"the accounts in {store.server} are not in the backup; keep them with pg_dump")
    for each in left_out:
        remark(f"{each}; it is not in the backup")
    raise SystemExit(1 if left_out else 0)


@dataclass(frozen=True)
class _Part:
    """A file of the backup.

    Args:
        name: in the archive.
        path: where it belongs; None for what describes the others.
        copy: what goes into the archive.
    """

    name: str
    path: Path | None
    copy: Path


def _collect(config: Config, folder: Path, left_out: list[str]) -> list[_Part]:
    """Copy everything into *folder*; note what is worth less than all the rest, and cannot be copied."""
    from gatepost.state.node import STATE_FILE
    from gatepost.state.paused_routes import PAUSED_ROUTES_FILE
    from gatepost.state.signing_keys import KEYS_FOLDER
    from gatepost.state.token_store import TOKENS_FOLDER

    if not config.secret_key_file.exists():
        raise Told(f"{config.secret_key_file}: is not there: no server has run with this configuration yet")
    parts = []
    for name, path in (
        ("gatepost.toml", config.source.path),
        ("secret.key", config.secret_key_file),
        (PAUSED_ROUTES_FILE, config.state_dir / PAUSED_ROUTES_FILE),
        *((f"{TOKENS_FOLDER}/{one.name}", one) for one in sorted((config.state_dir / TOKENS_FOLDER).glob("*.sealed"))),
    ):
        if path.exists():
            parts.append(_Part(name, path, _copy_file(path, folder / name.replace("/", "-"))))
    if (keys := config.state_dir / KEYS_FOLDER).is_dir():
        (folder / KEYS_FOLDER).mkdir(0o700)
        for path in sorted(keys.glob("[!.]*.json")):
            name = f"{KEYS_FOLDER}/{path.name}"
            parts.append(_Part(name, path, _copy_file(path, folder / name)))
    databases = [(number, each) for number, each in enumerate(config.store) if each.type == "sqlite"]
    for number, store in databases:
        name = "accounts.db" if len(databases) == 1 else f"accounts-{number}.db"
        try:
            parts.append(_Part(name, store.path, _copy_database(store.path, folder / name)))
        except sqlite3.Error as error:
            raise Told(f"{store.path}: cannot be copied: {error}; no backup was made") from None
    state = config.state_dir / STATE_FILE
    if state.exists():
        try:
            parts.append(_Part(STATE_FILE, state, _copy_database(state, folder / STATE_FILE)))
        except sqlite3.Error as error:
            left_out.append(f"{state}: cannot be copied: {error}")
    manifest = {
        "made": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "files": {each.name: str(each.path) for each in parts},
    }
    path = folder / "manifest.json"
    path.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return [_Part(path.name, None, path), *parts]


def _copy_file(path: Path, copy: Path) -> Path:
    copy.touch(0o600)
    copy.write_bytes(path.read_bytes())
    return copy


def _copy_database(path: Path, copy: Path) -> Path:
    """Copy a database as it is at one moment, and check the copy.

    Raises:
        sqlite3.Error: it cannot be read, or is damaged.
    """
    # Read-only, so that it moves nothing of the log, not even as the last one to close it.
    address = f"{path.absolute().as_uri()}?mode=ro"
    copy.touch(0o600)
    with (
        contextlib.closing(sqlite3.connect(address, uri=True, isolation_level=None, timeout=10.0)) as source,
        contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as target,
    ):
        source.backup(target)
        # One file, without a log beside it; the server turns that on again.
        target.execute("PRAGMA journal_mode = DELETE")
        found = target.execute("PRAGMA integrity_check").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(f"it is damaged: {found}")
    return copy


def _pack(parts: list[_Part], file: Path, archive: Path) -> None:
    """Write the archive, and give it its name once all of it is on disk."""
    descriptor = os.open(archive, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for each in parts:
                member = tar.gettarinfo(each.copy, each.name)
                member.mode, member.uid, member.gid, member.uname, member.gname = 0o600, 0, 0, "", ""
                with each.copy.open("rb") as source:
                    tar.addfile(member, source)
        stream.flush()
        os.fsync(stream.fileno())
    archive.replace(file)
    folder = os.open(file.absolute().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
