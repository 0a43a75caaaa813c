"""The one place where the parts are joined: a worker, from its configuration through reloads to its end.

Sockets and TLS contexts are made before (`gatepost.parts`), by the parent of all workers.  The order of
`start` is the way of a message backwards: nothing accepts before all behind it stands; `stop` goes the other way.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatepost import parts, route_parts
from gatepost.clock import RealClock
from gatepost.errors import StoreUnavailable
from gatepost.identity.authority import Authority
from gatepost.listener.client_trust import ClientTrust
from gatepost.listener.ending import end_sessions
from gatepost.listener.limits import Connections
from gatepost.listener.listener import Listener
from gatepost.listener.tls import KeyPair, ListenerContext, load_pairs
from gatepost.message.signer import Signer
from gatepost.model.clock import Clock
from gatepost.observe.emit import Emitter
from gatepost.observe.events import ConfigReloaded, WorkerStarted, WorkerStopped
from gatepost.policy.chain import Chain
from gatepost.queue.mail_queue import MailQueue
from gatepost.queue.resumption import try_again
from gatepost.queue.scheduler import Scheduler
from gatepost.queue_parts import open_queues, queue_limits, queue_rules
from gatepost.relay.router import Router
from gatepost.session.conversation import Conversation
from gatepost.session.revocation import end_revoked
from gatepost.session.service import Limits, Service
from gatepost.spool.sqlite import SqliteSpool
from gatepost.state.connections import ConnectionTable
from gatepost.state.keys import Keys, load_keys
from gatepost.state.outgoing import Outgoing
from gatepost.state.paused_routes import read_paused

if TYPE_CHECKING:
    from gatepost.config import schema

__all__ = ["RealClock", "Worker"]

_log = logging.getLogger("gatepost.app")

_RETIREMENT = 30.0  # for deliveries that began on a route that is no more, or changed


class Worker:
    """Everything that takes, keeps and delivers mail, in one event loop.

    Args:
        config: as loaded.
        sockets: bound and listening, one per listener, in the order of the configuration.
        context: TLS of the listeners.
        emit: hears of every fact.
        clock: what time it is.
        number: which worker it is.
        folders: spools: its own first, then those that nobody else takes care of.
        leaves_sockets: whether somebody else goes on accepting where it stops.
        table: connections of all workers; its own only, if there is none.

    Attributes:
        queues: its spools and what drives them; the first takes new mail.
        paused_routes: routes that somebody paused by hand, and since when.
        signer: signs mail with DKIM.
        state: what it shares with the other workers.
        tokens: access tokens of its routes.
        generation: how often the configuration was loaded.
        reload_error: why the last reload came to nothing; empty if it did not.
        waits_for_restart: what of the configuration changed, and takes effect at the next start only.
        on_failure: told the reason when something ends that must not, so that the worker is of no use any more.
    """

    def __init__(
        self,
        config: schema.Config,
        sockets: Sequence[socket.socket],
        context: ssl.SSLContext,
        emit: Emitter,
        clock: Clock | None = None,
        *,
        number: int = 0,
        folders: Sequence[Path] = (),
        leaves_sockets: bool = False,
        table: ConnectionTable | None = None,
    ) -> None:
        self.config = config
        self.clock: Clock = clock or RealClock()
        self.emit = emit
        self.number = number
        self.generation = 1
        self.reload_error = ""
        self.waits_for_restart: list[str] = []
        self.on_failure: Callable[[str], None] | None = None
        self.queues: list[MailQueue] = []
        self.listeners: list[Listener] = []
        self.paused_routes: dict[str, float] = {}
        self._sockets = sockets
        self._context = context
        self._folders = folders or (config.spool_dir / str(number),)
        self._leaves_sockets = leaves_sockets
        self._table = table or ConnectionTable(1)
        self.state = parts.node_state(config, self.clock, emit)
        self.signer = Signer(self.clock)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._retiring: set[asyncio.Task[None]] = set()

    @property
    def spool(self) -> SqliteSpool:
        """Where new mail goes."""
        spool = self.queues[0].spool
        assert isinstance(spool, SqliteSpool)
        return spool

    @property
    def scheduler(self) -> Scheduler:
        """What delivers new mail."""
        return self.queues[0].scheduler

    @property
    def sessions(self) -> set[Conversation]:
        """The open sessions of all listeners."""
        return self.listeners[0].service.sessions

    @property
    def certificate_expires(self) -> float | None:
        """When the certificate in use ends, in seconds since the epoch; None if that is not known."""
        return self._context.expires if isinstance(self._context, ListenerContext) else None

    async def start(self) -> None:
        """Open everything, and accept.

        Raises:
            ConfigError: something cannot be opened as configured.
            SpoolUnavailable: the spool is in use, or cannot be opened.
        """
        config = self.config
        self._keys: Keys = load_keys(config.secret_key_file)
        self.authority: Authority = parts.authority(config, self._keys, self.clock, self.emit)
        await self.authority.refresh()
        self._outgoing = Outgoing(config.state_dir, self.number, self._table.workers, self.clock.monotonic)
        self.signer.adapt(*parts.signing(config))
        self.tokens = parts.token_sources(config, self._keys, self.clock, self.emit, lambda: self.queues)
        self._routes = route_parts.routes(
            config, None, self.emit, self._outgoing, tokens=self.tokens, paces=self.state.paces
        )
        self.router = Router(self._routes.values())
        self.queues = open_queues(config, self._folders, self.router, self.clock, self.emit, self.signer)
        self.pause_routes(read_paused(config.state_dir))
        self.state.open()
        self._make_listeners()
        self._watch(self.authority.watch(self._end_revoked), "stores")
        self._watch(self.state.run(), "state")
        self._watch(self.tokens.run(), "tokens")
        self._retirement = parts.retirement(config, self.queues[0], self.clock, self.emit, self.signer)
        self._watch(self._retirement.run(), "retirement")
        for queue in self.queues:
            self._watch(queue.scheduler.run(), f"queue {queue.number}")
        for listener in self.listeners:
            listener.start()
        self.emit(WorkerStarted(worker=self.number))

    def pause_routes(self, paused: Mapping[str, float]) -> None:
        """Let nothing out on the routes that somebody *paused*, each since then; resume those that are no more."""
        self.paused_routes = dict(paused)
        for queue in self.queues:
            queue.scheduler.gates.pause(paused, self.clock.now())
            queue.scheduler.look_again()

    def _make_listeners(self) -> None:
        config = self.config
        column = self._table.column(self.number % self._table.workers)
        connections = Connections(*parts.connection_limits(config), column=column, monotonic=self.clock.monotonic)
        policies, session_limits = parts.policies(config, self.state.counters), parts.session_limits(config)
        sessions: set[Conversation] = set()
        for each, sock in zip(config.listener, self._sockets, strict=True):
            service = self._service(each, policies, session_limits, sessions)
            implicit = parts.context_of(self._context, each) if each.tls == "implicit" else None
            proxies, clients = parts.networks(each.proxy_networks), parts.networks(each.legacy_tls_networks)
            self.listeners.append(Listener(sock, service, connections, implicit, proxies, clients))

    def _service(
        self, listener: schema.Listener, policies: Chain, limits: Limits, sessions: set[Conversation]
    ) -> Service:
        return Service(
            hostname=self.config.hostname,
            listener=listener.name,
            spool=self.spool,
            authority=self.authority,
            policies=policies,
            emit=self.emit,
            clock=self.clock,
            wake=self.scheduler.wake,
            tls_context=parts.context_of(self._context, listener) if listener.tls == "starttls" else None,
            limits=limits,
            content=parts.content_limits(self.config, listener),
            guesses=self.state.guesses,
            signer=self.signer,
            unheard=parts.unheard(self.config, self.state.database, self._keys, self.clock),
            sessions=sessions,
        )

    async def _end_revoked(self) -> bool:
        # Those who logged in before a reload are judged by the stores of today, too.
        return await end_revoked(self.sessions, self.authority)

    def _watch(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Let *work* run for the whole life of the worker: it must not end unnoticed."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(self._look_at_end)

    def _look_at_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.critical("%s ended", task.get_name(), exc_info=error)
            if self.on_failure is not None:
                self.on_failure(f"{task.get_name()} ended by {type(error).__name__}; the log says where")

    # Reload.

    async def reload(
        self, config: schema.Config, pairs: Sequence[KeyPair], trusts: Mapping[str, ClientTrust] | None = None
    ) -> None:
        """Go on with another configuration; sessions that are open keep what they began with.

        Nothing changes if anything of it cannot be used.

        Args:
            config: with the same listeners and state_dir as before (`gatepost.config.reload.keep_standing`).
            pairs: certificates and keys of the listeners, the default first.
            trusts: whose client certificates are taken, by listener; where not named it stays.

        Raises:
            ConfigError: something cannot be made as configured.
            StoreUnavailable: a store cannot be opened.
        """
        routes = route_parts.routes(
            config, self._routes, self.emit, self._outgoing, tokens=self.tokens, paces=self.state.paces
        )
        signing = parts.signing(config)
        policies, limits = parts.policies(config, self.state.counters), parts.session_limits(config)
        authority = await self._new_authority(config)
        load_pairs(self._context, pairs, minimum_version=config.tls.minimum_version, trusts=trusts)
        # From here on nothing can fail.
        self.signer.adapt(*signing)
        self.state.guesses.adapt(parts.login_limits(config))
        self._retirement.adapt(*parts.ending(config, self.queues[0], self.clock, self.emit, self.signer))
        old_routes, self._routes, self.config = self._routes, routes, config
        self.router = Router(routes.values())
        rules = queue_rules(config)
        for queue in self.queues:
            queue.scheduler.adapt(self.router, rules, queue_limits(config))
        self.spool.adapt(
            reserve_bytes=config.reserve_bytes, inline_bytes=config.spool.inline_bytes, priority=rules.priority
        )
        if authority is not self.authority:
            self._retire(self._close_authority(self.authority))
            self.authority = authority
            self._watch(authority.watch(self._end_revoked), "stores")
        for each, listener in zip(config.listener, self.listeners, strict=True):
            listener.service = self._service(each, policies, limits, listener.service.sessions)
            listener.proxies = parts.networks(each.proxy_networks)
        self.listeners[0].connections.adapt(*parts.connection_limits(config))
        for key in old_routes.keys() - routes.keys():
            self._retire(self._close_later(old_routes[key].transport.close()))
        # What kept a route closed may be just what was changed.
        for name in {routes[key].name for key in routes.keys() - old_routes.keys()}:
            await try_again(self.queues, name, self.clock.now())
        self.generation += 1
        self.reload_error = ""
        self.emit(ConfigReloaded(worker=self.number, generation=self.generation))

    async def _new_authority(self, config: schema.Config) -> Authority:
        """Return who knows about logins under *config*: the same as before, if nothing of it changed."""
        old = self.config
        names = [(each.name, each.mechanisms, each.client_identity) for each in config.listener]
        if (config.auth, config.store, config.oauth, names) == (
            old.auth,
            old.store,
            old.oauth,
            [(each.name, each.mechanisms, each.client_identity) for each in old.listener],
        ):
            return self.authority
        authority = parts.authority(config, self._keys, self.clock, self.emit)
        try:
            await authority.refresh()
            if authority.away:
                raise StoreUnavailable(f"{', '.join(authority.away)}: cannot be used; see the log")
        except BaseException:
            authority.close()
            raise
        return authority

    def _retire(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _close_later(self, closing: Coroutine[Any, Any, None]) -> None:
        try:
            await self.clock.sleep(_RETIREMENT)
        finally:
            await closing

    async def _close_authority(self, authority: Authority) -> None:
        """Close an authority once no session is left that may ask it; who logs in by it until then must count today."""
        judged = {session for session in self.sessions if session.identity is not None}
        try:
            while old := {session for session in self.sessions if session.service.authority is authority}:
                late = {session for session in old - judged if session.identity is not None}
                if await end_revoked(late, self.authority):
                    judged |= late
                judged &= old
                await self.clock.sleep(1.0)
        finally:
            authority.close()

    # The end.

    async def stop(self, grace: float = 20.0, reason: str = "asked to") -> None:
        """Let what is on its way come to its end for *grace* seconds, and close everything.

        New and idle clients hear 421 meanwhile, or wait in the backlog for who accepts next (`leaves_sockets`).
        Whatever is cut off stays in the spool, or its client has no 250 for it.
        """
        if self._leaves_sockets:
            for listener in self.listeners:
                await listener.stop()
        # Both at once: a delivery begun while the last clients are waited for might be cut off after its final dot.
        ending = end_sessions(self.listeners, grace, self.clock, leaves_sockets=self._leaves_sockets)
        await asyncio.gather(ending, *[queue.scheduler.drain(grace) for queue in self.queues])
        for task in (*self._tasks, *self._retiring):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._retiring, return_exceptions=True)
        await self.router.close()
        self._outgoing.close()
        for queue in self.queues:
            await queue.spool.close()
        self.authority.close()
        await self.state.close()
        self.emit(WorkerStopped(worker=self.number, reason=reason))
