"""The stores that the configuration names, made: a part of `gatepost.parts`."""

from __future__ import annotations

import ipaddress
import ssl
from typing import TYPE_CHECKING, assert_never

from gatepost.errors import ConfigError
from gatepost.identity.store import Account, Credential, Store
from gatepost.identity.stores.file import FileStore
from gatepost.identity.stores.sqlite import SqliteStore
from gatepost.identity.verifiers import Argon2
from gatepost.model.clock import Clock
from gatepost.model.identity import parse_sender_pattern
from gatepost.observe.emit import Emitter
from gatepost.state.keys import Keys

if TYPE_CHECKING:
    from gatepost.config import directory
    from gatepost.config import stores as schema
    from gatepost.config.schema import Config

__all__ = ["open_stores"]


def open_stores(config: Config, keys: Keys, clock: Clock, emit: Emitter) -> list[Store]:
    """Make the stores, in their order; each is opened when it is first asked."""
    kinds = [each.type for each in config.store]
    stores = []
    for number, each in enumerate(config.store):
        name = each.type if kinds.count(each.type) == 1 else f"{each.type} {kinds[:number].count(each.type) + 1}"
        stores.append(_open(each, name, config, keys, clock, emit))
    return stores


def _open(store: schema.Store, name: str, config: Config, keys: Keys, clock: Clock, emit: Emitter) -> Store:
    # Each kind is loaded only where it is configured.
    if store.type == "sqlite":
        hashing = config.auth.argon2
        cost = Argon2(memory_bytes=hashing.memory_bytes, passes=hashing.passes, lanes=hashing.lanes)
        return SqliteStore(store.path, name, cost)
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
