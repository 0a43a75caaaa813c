"""The one place where the parts are joined: a worker, from its configuration to its end.

Sockets and TLS contexts are made before (`open_sockets`, `tls_context`), so that a parent process can make them once
for all its workers.  The order of `start` is the way of a message backwards: nothing accepts before all behind it
stands; `stop` goes the other way.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gatepost import __version__
from gatepost.errors import ConfigError
from gatepost.identity.authority import Authority
from gatepost.identity.bearer import Issuer, TokenVerifier
from gatepost.identity.jwks import from_file, from_url
from gatepost.identity.passwords import HashingPool, PasswordMemory, Passwords
from gatepost.identity.stores.sqlite import SqliteStore
from gatepost.identity.verifiers import Argon2
from gatepost.listener.limits import Connections
from gatepost.listener.listener import Listener, bind
from gatepost.listener.tls import server_context
from gatepost.model.clock import Clock
from gatepost.observe.emit import Emitter
from gatepost.observe.events import ServerStarted, ServerStopped
from gatepost.policy.chain import Chain
from gatepost.policy.null_sender import NullSender
from gatepost.policy.policy import Policy
from gatepost.policy.recipient import RecipientLimit
from gatepost.policy.sender import HeaderFrom, OwnSender
from gatepost.policy.size import DeclaredSize
from gatepost.queue.limits import Limits as QueueLimits
from gatepost.queue.retry import Schedule
from gatepost.queue.scheduler import Scheduler
from gatepost.relay.router import Match, Route, Router, parse_domain_pattern
from gatepost.relay.sandbox import Sandbox
from gatepost.relay.smarthost import SmartHost, TlsMode
from gatepost.relay.transport import Transport
from gatepost.sasl.registry import MECHANISMS
from gatepost.session.service import Limits, Service
from gatepost.spool.sqlite import SqliteSpool
from gatepost.state.keys import Keys, load_keys

if TYPE_CHECKING:
    from gatepost.config import schema

__all__ = ["RealClock", "Worker", "open_sockets", "tls_context"]

_log = logging.getLogger("gatepost.app")


class RealClock:
    """The clock of the machine."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(asyncio.sleep)


def open_sockets(config: schema.Config) -> list[socket.socket]:
    """Bind every listener, in their order.

    Raises:
        ConfigError: one cannot be bound; none is then.
    """
    sockets: list[socket.socket] = []
    try:
        for each in config.listener:
            sockets.append(bind(each.name, each.address, each.port))  # noqa: PERF401 - those made so far must be closed
    except ConfigError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def tls_context(config: schema.Config) -> ssl.SSLContext:
    """Make the TLS context of the listeners.

    Raises:
        ConfigError: there is no certificate, or it cannot be used.
    """
    tls = config.tls
    if tls.certificate is None:
        raise ConfigError(
            "tls.certificate: is missing; clients log in over TLS only.  Name a certificate and its key, "
            "or make one for tests: gatepost cert dev"
        )
    return server_context(tls.certificate, tls.key, minimum_version=tls.minimum_version)


class Worker:
    """Everything that takes, keeps and delivers mail, in one event loop.

    Args:
        config: as loaded.
        sockets: bound and listening, one per listener, in the order of the configuration.
        context: TLS of the listeners.
        emit: hears of every fact.
        clock: what time it is.
    """

    def __init__(
        self,
        config: schema.Config,
        sockets: Sequence[socket.socket],
        context: ssl.SSLContext,
        emit: Emitter,
        clock: Clock | None = None,
    ) -> None:
        self.config = config
        self.clock: Clock = clock or RealClock()
        self.emit = emit
        self._sockets = sockets
        self._context = context
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open everything, and accept.

        Raises:
            ConfigError: something cannot be opened as configured.
            SpoolUnavailable: the spool is in use, or cannot be opened.
        """
        config = self.config
        keys = load_keys(config.secret_key_file)
        self.authority = self._open_authority(keys)
        await self.authority.refresh()
        self.spool = SqliteSpool(
            config.spool_dir / "0",
            clock=self.clock,
            reserve_bytes=config.reserve_bytes,
            inline_bytes=config.spool.inline_bytes,
            emit=self.emit,
        )
        self.router = Router([_route(each, config.hostname) for each in config.route])
        self.scheduler = Scheduler(
            self.spool,
            self.router,
            hostname=config.hostname,
            clock=self.clock,
            emit=self.emit,
            schedule=Schedule(tuple(config.queue.retry), config.queue.give_up_after),
            limits=QueueLimits(attempts=config.queue.attempts_at_once, per_route=config.queue.attempts_per_route),
        )
        self.listeners = self._make_listeners()
        self._tasks = [
            asyncio.create_task(self.scheduler.run(), name="queue"),
            asyncio.create_task(self.authority.watch(), name="stores"),
        ]
        for task in self._tasks:
            task.add_done_callback(_tell_of_end)
        for listener in self.listeners:
            listener.start()
        named = tuple(
            f"{each.name} {each.address}:{listener.port}"
            for each, listener in zip(config.listener, self.listeners, strict=True)
        )
        self.emit(ServerStarted(version=__version__, listeners=named))

    async def stop(self, grace: float = 20.0, reason: str = "asked to") -> None:
        """Accept no more, let what is on its way come to its end for *grace* seconds, and close everything.

        Idle clients hear 421; whatever is cut off stays in the spool, or its client has no 250 for it.
        """
        for listener in self.listeners:
            await listener.stop()
        # Both at once: a delivery begun while the last clients are waited for might be cut off after its final dot.
        await asyncio.gather(self._end_sessions(grace), self.scheduler.drain(grace))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.router.close()
        await self.spool.close()
        self.authority.close()
        self.emit(ServerStopped(reason=reason))

    async def _end_sessions(self, grace: float) -> None:
        deadline = self.clock.monotonic() + grace
        for listener in self.listeners:
            listener.service.is_draining = True
            await listener.end_handshakes()
        sessions = self.listeners[0].service.sessions
        for session in list(sessions):
            session.dismiss()
        while sessions and self.clock.monotonic() < deadline:
            await asyncio.sleep(0.02)
            for session in list(sessions):
                session.dismiss()
        for session in list(sessions):
            session.abort()

    def _open_authority(self, keys: Keys) -> Authority:
        config = self.config
        auth = config.auth
        tokens = _token_verifier(config, self.clock)
        names = {each.name: each.mechanisms or auth.mechanisms for each in config.listener}
        return Authority(
            [SqliteStore(each.path) for each in config.store],
            Passwords(
                HashingPool(queue_limit=auth.hashing_queue),
                PasswordMemory(keys, self.clock, auth.cache_time.total_seconds(), auth.cache_entries),
            ),
            keys,
            self.clock,
            {listener: [MECHANISMS[each] for each in each_names] for listener, each_names in names.items()},
            iterations=auth.scram_iterations,
            argon2=Argon2(memory_bytes=auth.argon2.memory_bytes, passes=auth.argon2.passes, lanes=auth.argon2.lanes),
            tokens=tokens,
        )

    def _make_listeners(self) -> list[Listener]:
        config = self.config
        limits = config.limits
        policies = Chain(_policies(config))
        connections = Connections(limits.connections, limits.connections_per_address)
        session_limits = Limits(
            message_bytes=limits.message_bytes,
            header_bytes=limits.header_bytes,
            auth_failures=config.auth.max_failures,
            failure_delay=config.auth.failure_delay.total_seconds(),
            login_patience=limits.login_timeout.total_seconds(),
            idle_patience=limits.idle_timeout.total_seconds(),
            data_patience=limits.data_timeout.total_seconds(),
            handshake_patience=limits.handshake_timeout.total_seconds(),
        )
        listeners: list[Listener] = []
        for each, sock in zip(config.listener, self._sockets, strict=True):
            service = Service(
                hostname=config.hostname,
                listener=each.name,
                spool=self.spool,
                authority=self.authority,
                policies=policies,
                emit=self.emit,
                clock=self.clock,
                wake=self.scheduler.wake,
                tls_context=self._context if each.tls == "starttls" else None,
                limits=session_limits,
            )
            if listeners:
                service.sessions = listeners[0].service.sessions
            listeners.append(Listener(sock, service, connections, self._context if each.tls == "implicit" else None))
        return listeners


def _policies(config: schema.Config) -> list[Policy]:
    policy = config.policy
    separator = policy.detail_separator or None
    return [
        OwnSender(detail_separator=separator),
        NullSender(allow=policy.null_sender == "allow"),
        DeclaredSize(config.limits.message_bytes),
        RecipientLimit(config.limits.recipients),
        HeaderFrom(detail_separator=separator),
    ]


def _token_verifier(config: schema.Config, clock: Clock) -> TokenVerifier | None:
    issuers = []
    for each in config.oauth.issuers:
        if each.jwks_file is not None:
            keys = from_file(each.jwks_file, clock)
        elif each.jwks_url is not None:
            keys = from_url(each.jwks_url, clock)
        else:
            raise ConfigError(f"oauth.issuers: {each.issuer} has no keys; give jwks_file or jwks_url")
        issuers.append(Issuer(each.issuer, each.audience, keys, each.identity_claim, each.scope))
    return TokenVerifier(issuers, clock) if issuers else None


def _route(route: schema.Route, hostname: str) -> Route:
    match = Match(
        tuple(map(parse_domain_pattern, route.match.recipient_domains)),
        tuple(map(parse_domain_pattern, route.match.sender_domains)),
        frozenset(route.match.accounts),
    )
    return Route(route.name, _transport(route, hostname), match)


def _transport(route: schema.Route, hostname: str) -> Transport:
    if route.transport == "sandbox":
        return Sandbox(route.name, route.path, keep=route.keep)
    try:
        return SmartHost(
            route.name,
            route.host,
            route.port,
            hostname=hostname,
            tls=TlsMode(route.tls),
            verify=route.verify,
            ca_file=route.ca_file,
            login=route.login,
            password=route.password_secret,
            token=route.token_secret,
            connections=route.connections,
            idle_seconds=route.idle.total_seconds(),
        )
    except OSError as error:
        raise ConfigError(f"route {route.name}: ca_file cannot be used: {error}; give certificates as PEM") from None


def _tell_of_end(task: asyncio.Task[None]) -> None:
    """A task that serves the whole life of the server must not end unnoticed."""
    if not task.cancelled() and task.exception() is not None:
        _log.critical("%s ended", task.get_name(), exc_info=task.exception())
