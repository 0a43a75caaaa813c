"""Write verifiers down that were made anew: with plain statements, in a thread, by whichever worker comes first.

Everything is compared with what the login saw, in the transaction that changes it: what was revoked, renewed or
imported anew meanwhile stays as it is.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Final

from gatepost.errors import StoreUnavailable
from gatepost.identity.kept_hash import held
from gatepost.identity.renewal import Renewal, next_scheme
from gatepost.identity.store import HASH, SCRAM_SCHEMES

__all__ = ["renew"]

# How long another writer is waited for, in seconds; the next login tries again.
_PATIENCE: Final = 5.0
# The log is moved into the database when it is longer than this: logins after an import write a lot.
_LOG_BYTES: Final = 4 << 20

_STANDS: Final = """
    SELECT a.id FROM credentials AS c JOIN accounts AS a ON a.id = c.account_id
    WHERE c.id = ? AND c.revoked IS NULL AND a.login = ? AND a.salt = ? AND a.iterations = ?"""
_ROWS: Final = "SELECT scheme, value FROM verifiers WHERE credential_id = ?"
_OTHERS: Final = """
    SELECT c.id, c.revoked IS NOT NULL, v.scheme, v.value
    FROM credentials AS c JOIN verifiers AS v ON v.credential_id = c.id WHERE c.account_id = ?"""
_PUT: Final = "INSERT OR REPLACE INTO verifiers (credential_id, scheme, value) VALUES (?, ?, ?)"
_DROP: Final = "DELETE FROM verifiers WHERE credential_id = ? AND scheme = ?"


def renew(path: Path, renewal: Renewal, head: bytes) -> bool:
    """Write *renewal* down; tell whether it still held.

    Args:
        path: of the database.
        renewal: what changes.
        head: what argon2id hashes of today begin with.

    Raises:
        StoreUnavailable: the database cannot be written.
    """
    try:
        with contextlib.closing(_open(path)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            is_done = _write(connection, renewal, head)
            connection.execute("COMMIT" if is_done else "ROLLBACK")
            if is_done:
                _move_log(path, connection)
            return is_done
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{path}: {error}") from None


def _write(connection: sqlite3.Connection, renewal: Renewal, head: bytes) -> bool:
    account, credential = renewal.account, renewal.credential
    row = connection.execute(_STANDS, (credential.id, account.login, account.salt, account.iterations)).fetchone()
    if row is None:
        return False
    rows = dict(held(scheme, value, head) for scheme, value in connection.execute(_ROWS, (credential.id,)))
    compared = (HASH,) if HASH in credential.verifiers else SCRAM_SCHEMES
    if any(rows.get(each) != credential.verifiers.get(each) for each in compared):
        return False
    for scheme in renewal.gone:
        connection.execute(_DROP, (credential.id, scheme))
    for scheme, verifier in renewal.made.items():
        place = next_scheme(scheme) if renewal.moves else scheme
        connection.execute(_PUT, (credential.id, place, verifier.reveal()))
    if renewal.moves:
        _move(connection, row[0], renewal)
    return True


def _move(connection: sqlite3.Connection, account: int, renewal: Renewal) -> None:
    """Let the account go by its new count, if all records that anybody could use are there."""
    begin = f"${renewal.iterations}:".encode()
    found = connection.execute(_OTHERS, (account,)).fetchall()
    made = {(each, scheme): value for each, _, scheme, value in found if begin in value}
    records = [(each, is_gone, scheme) for each, is_gone, scheme, _ in found if scheme in SCRAM_SCHEMES]
    if any(not is_gone and (each, next_scheme(scheme)) not in made for each, is_gone, scheme in records):
        return
    for each, is_gone, scheme in records:
        connection.execute(_DROP, (each, next_scheme(scheme)))
        if is_gone:
            connection.execute(_DROP, (each, scheme))
        else:
            connection.execute(_PUT, (each, scheme, made[each, next_scheme(scheme)]))
    changed = "UPDATE accounts SET salt = ?, iterations = ? WHERE id = ?"
    connection.execute(changed, (renewal.salt, renewal.iterations, account))


def _move_log(path: Path, connection: sqlite3.Connection) -> None:
    """Move the log, as the command line does: while an empty transaction keeps every other writer out."""
    try:
        if path.with_name(f"{path.name}-wal").stat().st_size < _LOG_BYTES:
            return
    except OSError:
        return
    connection.execute("BEGIN IMMEDIATE")
    with contextlib.closing(_open(path)) as mover:
        mover.execute("PRAGMA wal_checkpoint(PASSIVE)")
    connection.execute("ROLLBACK")


def _open(path: Path) -> sqlite3.Connection:
    # As `gatepost.identity.database` does it.
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=_PATIENCE
    )
    for setting in ("wal_autocheckpoint = 0", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {setting}")
    return connection
