"""What the configuration asks for, made: the parts that `gatepost.app` joins, and makes anew at a reload."""

from __future__ import annotations

import ipaddress
import math
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from gatepost.cores import cores
from gatepost.errors import ConfigError
from gatepost.identity.authority import Authority
from gatepost.identity.ledger import Ledger
from gatepost.identity.passwords import HashingPool, PasswordMemory, Passwords
from gatepost.identity.renewal import Renewals
from gatepost.identity.retirement import Retirement, Warn
from gatepost.identity.stores.sqlite import is_current
from gatepost.identity.verifiers import Argon2
from gatepost.listener.client_trust import ClientTrust, read_trust
from gatepost.listener.listener import bind
from gatepost.listener.tls import KeyPair, ListenerContext, read_pair, server_context
from gatepost.message.signer import DomainKeys, Signer
from gatepost.model.clock import Clock
from gatepost.observe.emit import Emitter
from gatepost.policy.chain import Chain
from gatepost.policy.null_sender import NullSender
from gatepost.policy.policy import Policy
from gatepost.policy.quota import Quota, RecipientQuota
from gatepost.policy.recipient import AllowedRecipients, RecipientLimit
from gatepost.policy.sender import HeaderFrom, OwnSender
from gatepost.policy.size import DeclaredSize
from gatepost.queue.mail_queue import MailQueue
from gatepost.queue.owner import OwnerMail
from gatepost.queue.resumption import try_again
from gatepost.relay.token_sources import TokenSources
from gatepost.sasl.mechanism import Mechanism, Needs
from gatepost.sasl.outside import mechanism_of
from gatepost.session.data import ContentLimits
from gatepost.session.service import Limits
from gatepost.state.counters import Counters
from gatepost.state.database import Database
from gatepost.state.keys import Keys
from gatepost.state.node import STATE_FILE, NodeState
from gatepost.state.signing_keys import load_signing_keys
from gatepost.state.subjects import LoginLimits
from gatepost.state.token_store import TokenStore
from gatepost.state.unheard import Unheard
from gatepost.store_parts import bring_postgres_up, ledgers, open_stores
from gatepost.token_parts import token_verifier

if TYPE_CHECKING:
    from gatepost.config import schema

__all__ = [
    "authority",
    "bring_stores_up",
    "client_trusts",
    "connection_limits",
    "context_of",
    "ending",
    "key_pairs",
    "login_limits",
    "networks",
    "node_state",
    "open_sockets",
    "policies",
    "retirement",
    "rules",
    "session_limits",
    "signing",
    "tls_context",
    "token_sources",
    "unheard",
]


def bring_stores_up(config: schema.Config) -> None:
    """Make each accounts database, or bring it up to date, in a process of its own: this one stays small.

    Raises:
        ConfigError: one cannot be brought up to date.
    """
    for store in config.store:
        if store.type == "sqlite" and not is_current(store.path):
            words = [sys.executable, "-m", "gatepost.identity.migrate", str(store.path)]
            if subprocess.run(words, check=False).returncode:  # noqa: S603 - our own program, our own words
                raise ConfigError(f"{store.path}: the accounts database cannot be brought up to date; see above")
        elif store.type == "postgres":
            bring_postgres_up(store.server)


def authority(config: schema.Config, keys: Keys, clock: Clock, emit: Emitter) -> Authority:
    """Open the stores.

    Raises:
        ConfigError: an issuer of tokens has no keys, or a mechanism cannot be loaded.
        StoreUnavailable: a store cannot be opened.
    """
    auth = config.auth
    tokens = token_verifier(config, keys, clock, emit)
    # Half of the cores, over all workers: the rest is for the loops, and for whoever else is on the machine.
    pool = HashingPool(max(1, cores() // (2 * (config.workers or cores()))), auth.hashing_queue)
    argon2 = Argon2(memory_bytes=auth.argon2.memory_bytes, passes=auth.argon2.passes, lanes=auth.argon2.lanes)
    return Authority(
        open_stores(config, keys, clock, emit),
        Passwords(
            pool,
            PasswordMemory(keys, clock, auth.cache_time.total_seconds(), auth.cache_entries),
        ),
        keys,
        clock,
        {each.name: _mechanisms(each, auth) for each in config.listener},
        iterations=auth.scram_iterations,
        argon2=argon2,
        tokens=tokens,
        emit=emit,
        naming={each.name: each.client_identity for each in config.listener},
        renewals=Renewals(pool, keys, auth.mechanisms, auth.scram_iterations, argon2, emit),
    )


def _mechanisms(listener: schema.Listener, auth: schema.Auth) -> list[Mechanism]:
    """Return what *listener* has on; a certificate is asked for only where somebody may make it."""
    found = [mechanism_of(each) for each in listener.mechanisms or auth.mechanisms]
    return [each for each in found if listener.client_ca is not None or each.needs is not Needs.CERTIFICATE]


def retirement(
    config: schema.Config, queue: MailQueue, clock: Clock, emit: Emitter, signer: Signer | None = None
) -> Retirement:
    """Return what looks after credentials whose time is nearly over."""
    kept, warning, warn = ending(config, queue, clock, emit, signer)
    return Retirement(kept, config.state_dir / STATE_FILE, warning, clock, emit, warn)


def ending(
    config: schema.Config, queue: MailQueue, clock: Clock, emit: Emitter, signer: Signer | None = None
) -> tuple[Sequence[Ledger], float, Warn | None]:
    """Return the accounts databases that are looked after, how long before its end a credential is warned of, and how.

    Mail to owners goes by *queue*.
    """
    mail = OwnerMail(config.hostname, queue.spool, queue.scheduler.wake, clock, emit, signer)
    return ledgers(config), config.auth.expiry_warning.total_seconds(), mail.warn if config.auth.expiry_mail else None


def token_sources(
    config: schema.Config, keys: Keys, clock: Clock, emit: Emitter, queues: Callable[[], Sequence[MailQueue]]
) -> TokenSources:
    """Return what looks after the access tokens of routes; *queues* see at once when one works again."""
    store = TokenStore(config.state_dir, keys)
    return TokenSources(store, clock, emit, lambda route: try_again(queues(), route, clock.now()))


def policies(config: schema.Config, counters: Counters) -> Chain:
    """Make the policies, in the order in which they are asked."""
    return Chain([*rules(config), *_quotas(config, counters)])


def rules(config: schema.Config) -> list[Policy]:
    """Make those of the policies that take nothing from anybody, and can be asked at any time."""
    policy = config.policy
    separator = policy.detail_separator or None
    return [
        OwnSender(detail_separator=separator),
        NullSender(allow=policy.null_sender == "allow"),
        DeclaredSize(config.limits.message_bytes),
        AllowedRecipients(),
        RecipientLimit(config.limits.recipients),
        HeaderFrom(detail_separator=separator),
    ]


def _quotas(config: schema.Config, counters: Counters) -> list[Policy]:
    a_day, a_minute = config.limits.recipients_per_day, config.limits.messages_per_minute
    if a_minute is None:
        a_minute = math.ceil(a_day / 2)
    return [RecipientQuota(counters, a_day, a_minute), Quota(counters, a_day, a_minute)]


def connection_limits(config: schema.Config) -> tuple[int, int, int | None]:
    """Return how many connections there may be: in all, from one address, and from one address in a minute."""
    limits = config.limits
    return limits.connections, limits.connections_per_address, limits.connections_per_minute


def networks(written: Sequence[str]) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    """Return networks as they are compared with."""
    return tuple(map(ipaddress.ip_network, written))


def node_state(config: schema.Config, clock: Clock, emit: Emitter) -> NodeState:
    """Return what the worker shares with the others; not open yet."""
    return NodeState(config.state_dir, login_limits(config), clock, emit)


def login_limits(config: schema.Config) -> LoginLimits:
    """Return how many logins may fail."""
    limits = config.limits
    return LoginLimits(
        per_address=limits.failed_logins_per_address,
        per_network=limits.failed_logins_per_network,
        per_login=limits.failed_logins_per_login,
        window=limits.failed_logins_window.total_seconds(),
        exempt=networks(limits.failed_logins_exempt),
    )


def session_limits(config: schema.Config) -> Limits:
    """Return the numbers that bound a session."""
    limits = config.limits
    return Limits(
        message_bytes=limits.message_bytes,
        recipients=limits.recipients,
        auth_failures=config.auth.max_failures,
        failure_delay=config.auth.failure_delay.total_seconds(),
        login_patience=limits.login_timeout.total_seconds(),
        idle_patience=limits.idle_timeout.total_seconds(),
        data_patience=limits.data_timeout.total_seconds(),
        handshake_patience=limits.handshake_timeout.total_seconds(),
        login_time=limits.login_deadline.total_seconds(),
        session_time=limits.session_deadline.total_seconds(),
    )


def content_limits(config: schema.Config, listener: schema.Listener) -> ContentLimits:
    """Return what content *listener* takes."""
    limits = config.limits
    return ContentLimits(limits.header_bytes, limits.line_bytes, listener.bare_line_endings == "normalise")


def signing(config: schema.Config) -> tuple[DomainKeys, frozenset[bytes]]:
    """Read the DKIM keys of the domains whose mail is signed; return them, and which fields are left out.

    Raises:
        ConfigError: some cannot be used, or a domain has none that must have one.
    """
    wanted = config.dkim.domains
    keys = {} if wanted == () else load_signing_keys(config.state_dir)
    if wanted is not None:
        if missing := [domain for domain in wanted if domain not in keys]:
            raise ConfigError(f'dkim.domains: "{missing[0]}" has no key; run: gatepost dkim add {missing[0]}')
        keys = {domain: keys[domain] for domain in wanted}
    return keys, frozenset(each.encode() for each in config.dkim.unsigned_fields)


def open_sockets(config: schema.Config, given: Mapping[str, socket.socket] | None = None) -> list[socket.socket]:
    """Bind every listener, in their order, but for those whose sockets were *given*, by their names.

    Raises:
        ConfigError: one cannot be bound; none is then.
    """
    given = given or {}
    sockets: list[socket.socket] = []
    try:
        for each in config.listener:
            sockets.append(given.get(each.name) or bind(each.name, each.address, each.port))  # noqa: PERF401 - see below
    except ConfigError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def key_pairs(config: schema.Config) -> tuple[KeyPair, ...]:
    """Read certificates and keys of the listeners, the default first.

    Raises:
        ConfigError: there is none, or one cannot be read.
    """
    tls = config.tls
    if tls.certificate is None:
        raise ConfigError(
            "tls.certificate: is missing; clients log in over TLS only.  Name a certificate and its key, "
            "or make one for tests: gatepost cert dev"
        )
    return read_pair(tls.certificate, tls.key), *(read_pair(each.certificate, each.key) for each in tls.pairs)


def client_trusts(config: schema.Config) -> dict[str, ClientTrust]:
    """Read whose client certificates are taken, by the listeners that ask for them.

    Raises:
        ConfigError: a file cannot be read.
    """
    return {
        each.name: read_trust(each.client_ca, each.client_crl) for each in config.listener if each.client_ca is not None
    }


def context_of(context: ssl.SSLContext, listener: schema.Listener) -> ssl.SSLContext:
    """Return which of the contexts of the listeners is that of *listener*."""
    if not listener.legacy_tls_networks and listener.client_ca is None:
        return context
    assert isinstance(context, ListenerContext)
    if listener.client_ca is not None:
        return context.asking[listener.name]
    assert context.legacy is not None
    return context.legacy


def unheard(config: schema.Config, database: Database, keys: Keys, clock: Clock) -> Unheard | None:
    """Return what knows messages that will come again, if it shall be asked."""
    asked = config.idempotence
    return Unheard(database, keys, clock, asked.window.total_seconds()) if asked.enabled else None


def tls_context(config: schema.Config) -> ssl.SSLContext:
    """Make the TLS context of the listeners.

    Raises:
        ConfigError: there is no certificate, or one cannot be used.
    """
    return server_context(
        key_pairs(config),
        minimum_version=config.tls.minimum_version,
        has_legacy=any(each.legacy_tls_networks for each in config.listener),
        trusts=client_trusts(config),
    )
