"""See whether the stores can be used: their files, what stands in them, what keeps a mechanism from being offered."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.config.check_dovecot import check_dovecot
from gatepost.config.check_services import check_directory, check_service
from gatepost.config.directory import LdapStore
from gatepost.config.locate import Key
from gatepost.config.postgres import PostgresStore
from gatepost.config.schema import Config
from gatepost.config.stores import DovecotStore, HttpStore, PasswdFileStore, SqliteStore, StaticStore
from gatepost.errors import StoreUnavailable

if TYPE_CHECKING:
    from gatepost.config.check import Findings
    from gatepost.identity.stores.rows import Withheld

__all__ = ["check_stores"]

_SHOWN = 5


def check_stores(config: Config, findings: Findings, now: dt.datetime) -> None:
    """Look at each store."""
    paths: set[Path] = set()
    logins: set[str] = set()
    servers: set[tuple[str, int, str]] = set()
    for number, store in enumerate(config.store):
        key: Key = ("store", number)
        if isinstance(store, StaticStore):
            if store.login in logins:
                findings.wrong((*key, "login"), "is the login of another static store too; remove one of them")
            logins.add(store.login)
            for each in store.listeners:
                if each not in {listener.name for listener in config.listener}:
                    findings.wrong((*key, "listeners"), f'names "{each}", which is no listener; correct it')
            _secret_file(store, (*key, "secret_file"), findings)
            continue
        if isinstance(store, HttpStore):
            check_service(config, store, key, findings)
            continue
        if isinstance(store, LdapStore):
            check_directory(config, store, key, findings)
            continue
        if isinstance(store, DovecotStore):
            check_dovecot(config, store, number, findings)
            continue
        if isinstance(store, PostgresStore):
            if (store.host, store.port, store.database) in servers:
                findings.wrong((*key, "database"), "is the database of another store too; remove one of them")
            servers.add((store.host, store.port, store.database))
            continue
        try:
            is_folder = store.path.is_dir()
        except OSError:
            is_folder = False  # what reads it says that it cannot be reached
        if is_folder:
            findings.wrong((*key, "path"), "is a folder; name a file in it")
        elif store.path in paths:
            findings.wrong((*key, "path"), f"is the {_noun(store)} of another store too; remove one of them")
        elif isinstance(store, PasswdFileStore):
            _passwd_file(config, store, (*key, "path"), findings)
        paths.add(store.path)
    _credentials(config, findings, now)


def _noun(store: SqliteStore | PasswdFileStore) -> str:
    return "database" if isinstance(store, SqliteStore) else "file"


def _read(path: Path, size_limit: int, key: Key, findings: Findings) -> bytes | None:
    from gatepost.identity.stores.file import read_file

    try:
        descriptor, _, octets = read_file(path, size_limit)
    except OSError as error:
        findings.wrong(key, f"cannot be read ({error.strerror}); correct the path or who may read it")
        return None
    except ValueError as error:
        findings.wrong(key, str(error).partition(": ")[2])
        return None
    mode = os.fstat(descriptor).st_mode
    os.close(descriptor)
    if mode & 0o004 and not path.is_relative_to("/run/secrets"):
        findings.odd(key, f"can be read by everybody on this machine; run: chmod o= {path}")
    return octets


def _secret_file(store: StaticStore, key: Key, findings: Findings) -> None:
    from gatepost.identity.stores.static import SECRET_LIMIT, why_unusable

    octets = _read(store.secret_file, SECRET_LIMIT, key, findings)
    problem = "" if octets is None else why_unusable(octets, store.login)
    if problem:
        findings.wrong(key, f"holds no secret that can be used: {problem}; write a longer, random one")


def _passwd_file(config: Config, store: PasswdFileStore, key: Key, findings: Findings) -> None:
    from gatepost.identity.store import MECHANISM_SCHEMES
    from gatepost.identity.stores.file import SIZE_LIMIT
    from gatepost.identity.stores.passwd_file import PasswdFile
    from gatepost.model.identity import Secret
    from gatepost.state.keys import Keys

    octets = _read(store.path, SIZE_LIMIT, key, findings)
    if octets is None:
        return
    # What the key makes (salts, ids) is not looked at, and the real one may not be there yet.
    read = PasswdFile(Keys(Secret(bytes(32))), config.auth.scram_iterations)
    try:
        accounts = read(octets).accounts
    except ValueError as error:
        findings.wrong(key, f"{store.path}:{error}")
        return
    if read.weak:
        shown = ", ".join(read.weak[:_SHOWN]) + (", …" if len(read.weak) > _SHOWN else "")
        findings.odd(key, f"holds hashes that are soon guessed once they are stolen (line {shown}); make new ones")
    for mechanism, scheme in MECHANISM_SCHEMES.items():
        if mechanism in config.auth.mechanisms:
            names = [
                account.login
                for account in accounts.values()
                if any(scheme not in each.verifiers for each in account.credentials)
            ]
            if names:
                more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
                findings.odd(
                    ("auth", "mechanisms"),
                    f"{mechanism} is not offered where these may log in: {store.path} has no verifier for it of "
                    f"{', '.join(names[:_SHOWN])}{more}; leave it out of mechanisms, or keep them elsewhere",
                )


def _credentials(config: Config, findings: Findings, now: dt.datetime) -> None:
    """Name the credentials that keep a mechanism from being offered: clients that prefer it rarely fall back."""
    listeners = {each.name: each.mechanisms or config.auth.mechanisms for each in config.listener}
    for number, store in enumerate(config.store):
        found: Sequence[Withheld] = ()
        if isinstance(store, SqliteStore):
            found = _withheld(store, number, findings, listeners, now.timestamp())
        elif isinstance(store, PostgresStore):
            from gatepost.config.check_postgres import check_postgres

            found = check_postgres(store, ("store", number), findings, listeners, now.timestamp())
        for each in found:
            names = ", ".join(f"{obstacle.account} ({obstacle.credential})" for obstacle in each.obstacles)
            findings.odd(
                ("auth", "mechanisms"),
                f"{each.mechanism} is not offered on {each.listener}: no verifier for it in the credential of {names}; "
                "make new ones and revoke those, or keep them to other listeners",
            )


def _withheld(
    store: SqliteStore, number: int, findings: Findings, listeners: Mapping[str, Collection[str]], now: float
) -> Sequence[Withheld]:
    from gatepost.identity.stores.sqlite import is_current, withheld

    if not is_current(store.path):
        return ()  # not made yet, or brought up to date at the next start
    try:
        return withheld(store.path, listeners, now)
    except StoreUnavailable as error:
        findings.wrong(("store", number), f"cannot be read ({error}); see to the file")
        return ()
