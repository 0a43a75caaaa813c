"""See whether a PostgreSQL store can be used: its settings, its files, and the server, if it answers."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from gatepost.config.locate import Key
from gatepost.config.postgres import PostgresStore
from gatepost.config.store_files import check_readable, check_tls_files
from gatepost.config.values import is_loopback
from gatepost.errors import StoreUnavailable
from gatepost.identity.stores.postgres_server import Refused
from gatepost.identity.stores.rows import SCHEMA_VERSION, Withheld

if TYPE_CHECKING:
    from gatepost.config.check import Findings

__all__ = ["check_postgres"]


def check_postgres(
    store: PostgresStore, key: Key, findings: Findings, listeners: Mapping[str, Collection[str]], now: float
) -> Sequence[Withheld]:
    """Look at a store; return what it keeps from being offered on the *listeners*, if the server can be asked."""
    if importlib.util.find_spec("asyncpg") is None:
        findings.wrong((*key, "type"), "needs asyncpg; install it: pip install 'gatepost[postgres]'")
        return ()
    before = len(findings.problems)
    _secrets(store, key, findings)
    _encryption(store, key, findings)
    if len(findings.problems) > before:
        return ()
    try:
        return asyncio.run(_ask(store, listeners, now))
    except Refused as error:
        findings.wrong((*key, "host"), f"does not let gatepost in ({error}); correct the settings of this store")
    except StoreUnavailable as error:
        findings.odd((*key, "host"), f"cannot be asked now ({error}); until it can, logins are told to try again later")
    return ()


def _secrets(store: PostgresStore, key: Key, findings: Findings) -> None:
    written = (*key, "password")
    if store.password is not None and written not in findings.config.source.variables:
        findings.odd(written, "stands in the open; move it into a file of its own: password_file")
    if store.password_file is not None:
        check_readable(store.password_file.path, (*key, "password_file"), findings)
    secret = store.password_secret
    if secret is not None:
        try:
            is_text = "\0" not in secret.reveal().decode()
        except UnicodeDecodeError:
            is_text = False
        if not is_text:
            name = "password" if store.password is not None else "password_file"
            findings.wrong((*key, name), "holds no password that can be sent; write one in UTF-8")


def _encryption(store: PostgresStore, key: Key, findings: Findings) -> None:
    for name in ("tls", "ca_file", "certificate", "key"):
        if store.is_local and name in store.model_fields_set and getattr(store, name) is not None:
            findings.wrong((*key, name), "has no effect with a Unix socket; remove it")
        elif store.tls == "none" and name != "tls" and getattr(store, name) is not None:
            findings.wrong((*key, name), "has no effect without TLS; remove it, or tls")
    if store.is_local or store.tls == "none":
        if not store.is_local and not is_loopback(store.host):
            findings.odd((*key, "tls"), "lets whoever is on the way read verifiers, and let anybody in")
        return
    check_tls_files(store.ca_file, store.certificate, store.key, key, findings)


async def _ask(store: PostgresStore, listeners: Mapping[str, Collection[str]], now: float) -> Sequence[Withheld]:
    from gatepost.identity.stores.postgres import schema, withheld

    if await schema(store.server) != SCHEMA_VERSION:
        return ()  # not made yet, or brought up to date at the next start
    return await withheld(store.server, listeners, now)
