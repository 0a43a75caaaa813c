"""The stores that the configuration names, made: a part of `gatepost.parts`."""

from __future__ import annotations

import asyncio
import importlib.util
import ipaddress
import json
import ssl
import subprocess
import sys
from typing import TYPE_CHECKING, assert_never

from gatepost.errors import ConfigError, StoreUnavailable
from gatepost.identity.ledger import Ledger, SqliteLedger
from gatepost.identity.store import Account, Credential, Store
from gatepost.identity.stores.file import FileStore
from gatepost.identity.stores.rows import SCHEMA_VERSION
from gatepost.identity.stores.sqlite import SqliteStore
from gatepost.identity.verifiers import Argon2
from gatepost.model.clock import Clock
from gatepost.model.identity import parse_sender_pattern
from gatepost.observe.emit import Emitter
from gatepost.state.keys import Keys

if TYPE_CHECKING:
    from gatepost.config import directory
    from gatepost.config import stores as schema
    from gatepost.config.postgres import PostgresStore as PostgresKeys
    from gatepost.config.schema import Config
    from gatepost.identity.stores.postgres_server import PostgresServer

__all__ = ["bring_postgres_up", "ledgers", "open_stores"]


def open_stores(config: Config, keys: Keys, clock: Clock, emit: Emitter) -> list[Store]:
    """Make the stores, in their order; each is opened when it is first asked."""
    kinds = [each.type for each in config.store]
    stores = []
    for number, each in enumerate(config.store):
        name = each.type if kinds.count(each.type) == 1 else f"{each.type} {kinds[:number].count(each.type) + 1}"
        stores.append(_open(each, name, config, keys, clock, emit))
    return stores


def ledgers(config: Config) -> list[Ledger]:
    """Return where it is written which credentials end."""
    found: list[Ledger] = []
    for each in config.store:
        if each.type == "sqlite":
            found.append(SqliteLedger(each.path))
        elif each.type == "postgres":
            from gatepost.identity.postgres_ledger import PostgresLedger

            found.append(PostgresLedger(each.server))
    return found


def bring_postgres_up(server: PostgresServer) -> None:
    """Make the tables, or bring them up to date, in a process of its own; a server that is away is left for later.

    Raises:
        ConfigError: they cannot be brought up to date.
    """
    from gatepost.identity.stores.postgres import schema as schema_there

    try:
        if asyncio.run(schema_there(server)) == SCHEMA_VERSION:
            return
    except StoreUnavailable:
        return  # the check of the configuration has told
    words = [sys.executable, "-m", "gatepost.identity.migrate"]
    # By standard input, because everybody can read the words of a process.
    told = json.dumps(server.to_words()).encode()
    if subprocess.run(words, input=told, check=False).returncode:  # noqa: S603 - our own program, our own words
        raise ConfigError(f"{server}: cannot be brought up to date; see above")


def _open(store: schema.Store, name: str, config: Config, keys: Keys, clock: Clock, emit: Emitter) -> Store:
    # Each kind is loaded only where it is configured.
    if store.type == "sqlite":
        return SqliteStore(store.path, name, _argon2(config))
    if store.type == "postgres":
        from gatepost.identity.stores.postgres import PostgresStore

        return PostgresStore(_reachable(store), name, store.connections, _argon2(config))
    if store.type == "passwd-file":
        from gatepost.identity.stores.passwd_file import PasswdFile

        return FileStore(store.path, PasswdFile(keys, config.auth.scram_iterations), clock, name=name, emit=emit)
    if store.type == "static":
        from gatepost.identity.stores.static import SECRET_LIMIT, SecretFileReader

        read = SecretFileReader(_account(store, config), _credential(store), keys, config.auth.mechanisms)
        return FileStore(store.secret_file, read, clock, name=name, size_limit=SECRET_LIMIT, emit=emit)
    if store.type == "http":
        return _http(store, name, config, keys, clock)
    if store.type == "dovecot":
        return _dovecot(store, name, config, keys, clock)
    if store.type == "ldap":
        return _ldap(store, name, config, keys, clock, emit)
    assert_never(store)


def _ldap(store: directory.LdapStore, name: str, config: Config, keys: Keys, clock: Clock, emit: Emitter) -> Store:
    from gatepost.identity.ldap.filter import parse_filter
    from gatepost.identity.ldap.server import parse_server
    from gatepost.identity.stores.ldap import ANY_ENTRY, LdapStore, Where
    from gatepost.identity.stores.ldap_account import AttributeNames

    password = store.bind_password_file.secret if store.bind_password_file is not None else None
    given = {key: value for key, value in store.attributes.model_dump().items() if value is not None}
    return LdapStore(
        [parse_server(each) for each in store.urls],
        Where(store.base or "", store.scope, parse_filter(store.filter or ANY_ENTRY), store.dn_template or ""),
        keys,
        clock,
        name=name,
        context=_context(store, ", ".join(store.urls)),
        starts_tls=store.starttls,
        service=(store.bind_dn, password) if store.bind_dn is not None and password is not None else None,
        attributes=AttributeNames(**given),
        emit=emit,
        timeout=store.timeout.total_seconds(),
        cache_seconds=store.cache_time.total_seconds(),
        cache_entries=store.cache_entries,
        connections=store.connections,
        iterations=config.auth.scram_iterations,
    )


def _argon2(config: Config) -> Argon2:
    cost = config.auth.argon2
    return Argon2(memory_bytes=cost.memory_bytes, passes=cost.passes, lanes=cost.lanes)


def _reachable(store: PostgresKeys) -> PostgresServer:
    if importlib.util.find_spec("asyncpg") is None:
        raise ConfigError("store of type postgres: needs asyncpg; install it: pip install 'gatepost[postgres]'")
    server = store.server
    try:
        _ = server.context
    except OSError as error:
        raise ConfigError(f"{server}: its certificates cannot be used: {error}; give PEM files") from None
    return server


def _http(store: schema.HttpStore, name: str, config: Config, keys: Keys, clock: Clock) -> Store:
    from gatepost.identity.stores.http import HttpStore

    return HttpStore(
        store.url,
        keys,
        clock,
        name=name,
        token=store.token_file.secret if store.token_file is not None else None,
        context=_context(store, store.url),
        timeout=store.timeout.total_seconds(),
        cache_seconds=store.cache_time.total_seconds(),
        cache_entries=store.cache_entries,
        connections=store.connections,
        iterations=config.auth.scram_iterations,
    )


def _dovecot(store: schema.DovecotStore, name: str, config: Config, keys: Keys, clock: Clock) -> Store:
    from gatepost.identity.stores.dovecot import DovecotStore

    return DovecotStore(
        store.where,
        keys,
        clock,
        name=name,
        userdb=store.userdb_socket,
        timeout=store.timeout.total_seconds(),
        cache_seconds=store.cache_time.total_seconds(),
        cache_entries=store.cache_entries,
        iterations=config.auth.scram_iterations,
    )


def _context(store: schema.HttpStore | directory.LdapStore, place: str) -> ssl.SSLContext:
    from gatepost.identity.stores.http_context import client_context

    try:
        return client_context(store.ca_file, store.certificate, store.key)
    except OSError as error:
        raise ConfigError(f"store {place}: its certificates cannot be used: {error}; give PEM files") from None


def _account(store: schema.StaticStore, config: Config) -> Account:
    senders = store.senders
    if senders is None:
        senders = (store.login,) if "@" in store.login else ()
    return Account(
        store.login, b"", config.auth.scram_iterations, senders=tuple(parse_sender_pattern(each) for each in senders)
    )


def _credential(store: schema.StaticStore) -> Credential:
    return Credential(
        "",
        "static",
        listeners=frozenset(store.listeners),
        networks=tuple(ipaddress.ip_network(each) for each in store.networks),
        sandbox=store.sandbox,
    )
