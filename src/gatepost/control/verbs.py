"""What a worker answers on its control socket: one function for each verb, from a request to rows."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gatepost import __version__
from gatepost.control.protocol import IDS_LIMIT
from gatepost.errors import ConfigError, Malformed, SpoolUnavailable, Unavailable
from gatepost.model.envelope import MessageId
from gatepost.observe.events import RouteChanged
from gatepost.parts import signing
from gatepost.queue.control import Change, Outcome, QueueControl
from gatepost.queue.health import Health
from gatepost.queue.redirect import Redirect, redirect_of
from gatepost.queue.resumption import try_again
from gatepost.relay.failover import Failover
from gatepost.relay.provided import Provided
from gatepost.spool.message_id import is_message_id
from gatepost.state.paused_routes import paused_since, read_paused

if TYPE_CHECKING:
    from gatepost.app import Worker

__all__ = ["VERBS", "Context", "route_states"]


@dataclass(frozen=True, slots=True)
class Context:
    """Who is asked.

    Args:
        worker: who answers.
        workers: how many workers there are.
        since: when this one began to listen, in seconds since the epoch.
    """

    worker: Worker
    workers: int
    since: float


Verb = Callable[[Context, Mapping[str, Any]], Awaitable[list[dict[str, Any]]]]

# From the best to the worst that a route can be in.
_STATES: Final = ("open", "waiting", "paused", "paused by hand")


async def _status(context: Context, _request: Mapping[str, Any]) -> list[dict[str, Any]]:
    worker = context.worker
    sessions = worker.sessions
    return [
        {
            "worker": worker.number,
            "workers": context.workers,
            "since": context.since,
            "pid": os.getpid(),
            "parent": os.getppid(),
            "version": __version__,
            "generation": worker.generation,
            "reload_error": worker.reload_error,
            "waits_for_restart": worker.waits_for_restart,
            "is_draining": any(each.service.is_draining for each in worker.listeners),
            "sessions": len(sessions),
            "logged_in": sum(each.identity is not None for each in sessions),
            "in_flight": sum(each.scheduler.in_flight for each in worker.queues),
            "queued": sum(each.spool.count() for each in worker.queues),
            "oldest": _oldest(worker),
            "certificate_expires": worker.certificate_expires,
            "spools": [each.number for each in worker.queues],
            "routes": route_states(worker),
            "tokens": worker.tokens.states(),
        }
    ]


def _oldest(worker: Worker) -> float | None:
    """Return when the message was accepted that has been there longest, in seconds since the epoch."""
    times: list[float] = []
    for queue in worker.queues:
        with contextlib.suppress(SpoolUnavailable):
            times += [each.accepted_at for each in queue.spool.list(limit=1)]
    return min(times, default=None)


def route_states(worker: Worker) -> list[dict[str, Any]]:
    """Return how each route is doing, in their order: the worst that any queue of the worker knows of it."""
    names: dict[str, str] = {each.name: each.transport for each, _ in worker.config.ways}
    for name in worker.paused_routes:
        names.setdefault(name, "")  # taken out of the configuration since
    for queue in worker.queues:
        for name, gate in queue.scheduler.gates.items():
            if name not in names and (gate.running or not gate.health.is_open):
                names[name] = ""  # taken out of the configuration, or mail that no route takes
    now, paces = worker.clock.now(), {each.name: each.pace for each in worker.router.routes}
    rows = []
    for name, transport in names.items():
        pace = paces.get(name)
        gates = [(queue.scheduler.gates[name], queue) for queue in worker.queues if name in queue.scheduler.gates]
        state, until, reason, remedy = "open", None, "", ""
        for health, queue in [(gate.health, queue) for gate, queue in gates]:
            said = _state(health)
            if said in ("waiting", "paused") and health.until <= now and not queue.spool.count():
                continue  # what it waited with is gone, and nothing is left that could try it: the next message will
            if _STATES.index(said) > _STATES.index(state):
                state, reason = said, str(health.last_reply or "")
                remedy = "" if health.last_reply is None else health.last_reply.remedy
                until = None if health.is_paused_by_hand else health.until
        if paused_since(worker.paused_routes, name) is not None:
            state = "paused by hand"  # also where no mail has asked for it yet
        in_flight = sum(gate.running for gate, _ in gates)
        rows.append(
            {
                "route": name,
                "transport": transport,
                "state": state,
                "until": until,
                "reason": reason,
                "remedy": remedy,
                "in_flight": in_flight,
                "hosts": _hosts(worker, name),
                "per_minute": None if pace is None else pace.per_minute(now),
            }
        )
    return rows


def _hosts(worker: Worker, name: str) -> list[dict[str, Any]]:
    """Return how the hosts of a route are, if it has several; *seconds* is for how long one still rests."""
    now = asyncio.get_running_loop().time()
    transports = [each.transport for each in worker.router.routes if each.name == name]
    transports = [each.transport if isinstance(each, Provided) else each for each in transports]
    return [
        {
            "host": rest.host,
            "rests": rest.until > 0,
            "seconds": round(max(0.0, rest.until - now)),
            "reason": str(rest.last_reply or ""),
        }
        for transport in transports
        if isinstance(transport, Failover)
        for rest in transport.rests
    ]


def _state(health: Health) -> str:
    if health.is_paused_by_hand:
        return "paused by hand"
    if health.is_open:
        return "open"
    return "paused" if health.is_paused else "waiting"


async def _health(context: Context, _request: Mapping[str, Any]) -> list[dict[str, Any]]:
    worker = context.worker
    problems = [
        f"listener {each.service.listener}: {trouble}" for each in worker.listeners if (trouble := each.trouble)
    ]
    try:
        worker.spool.begin().abort()
    except SpoolUnavailable as error:
        problems.append(f"spool: takes no new mail: {error}")
    problems += [
        f"spool {each.number}: results of deliveries cannot be written down"
        for each in worker.queues
        if each.scheduler.stuck
    ]
    return [{"worker": worker.number, "workers": context.workers, "problems": problems}]


async def _queue(context: Context, request: Mapping[str, Any]) -> list[dict[str, Any]]:
    worker = context.worker
    ids, silent = request.get("ids"), request.get("silent", False)
    try:
        change = Change(request.get("change"))
    except ValueError:
        raise Malformed("change is hold, release, retry, redirect or drop") from None
    redirect = _redirect(request, worker) if change is Change.REDIRECT else None
    if not isinstance(ids, list) or len(ids) > IDS_LIMIT or not isinstance(silent, bool):
        raise Malformed(f"queue wants up to {IDS_LIMIT} ids, and silent as a flag")
    if not all(isinstance(each, str) and is_message_id(each) for each in ids):
        raise Malformed("an id is sixteen letters and digits")
    controls = [
        QueueControl(
            queue.spool,
            queue.scheduler,
            hostname=worker.config.hostname,
            clock=worker.clock,
            emit=worker.emit,
            signer=worker.signer,
        )
        for queue in worker.queues
    ]

    async def apply(message_id: MessageId) -> Outcome:
        for control in controls:
            outcome = await control.apply(change, message_id, silent=silent, redirect=redirect)
            if outcome is not Outcome.UNKNOWN:
                return outcome
        return Outcome.UNKNOWN

    # All at once, so that they share a commit; and to the end, also when nobody waits for it any more: a message must
    # not be tried while its removal is being written.
    names = [MessageId(each) for each in dict.fromkeys(ids)]
    outcomes = await asyncio.shield(asyncio.gather(*[apply(each) for each in names]))
    return [{"id": each, "outcome": outcome.value} for each, outcome in zip(names, outcomes, strict=True)]


def _redirect(request: Mapping[str, Any], worker: Worker) -> Redirect:
    redirect = redirect_of(request)
    if redirect is None:
        raise Malformed("redirect wants to or route")
    if redirect.route and redirect.route not in {each.name for each in worker.config.route}:
        raise Malformed("no such route")
    return redirect


async def _routes(context: Context, request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Tell how the routes are; before that, read anew which ones are paused by hand, and probe *probe*.

    With *logged_in* somebody has just got tokens for that one.
    """
    worker, probe = context.worker, request.get("probe", "")
    if not isinstance(probe, str):
        raise Malformed("probe is the name of a route")
    if request.get("changed"):
        paused = await asyncio.to_thread(read_paused, worker.config.state_dir)
        before = set(worker.paused_routes)
        worker.pause_routes(paused)
        if worker.number == 0:
            for name in sorted(before ^ set(paused)):
                worker.emit(RouteChanged(name, "paused" if name in paused else "resumed"))
    for name in {name for queue in worker.queues for name in queue.scheduler.gates}:
        if probe in (name, name.partition(":")[0]):
            await try_again(worker.queues, name, worker.clock.now())
    if request.get("logged_in") and worker.number == 0:
        worker.emit(RouteChanged(probe, "logged in"))
    return route_states(worker)


async def _expect_reload(context: Context, _request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Forget why the last reload came to nothing, so that the next one can be told from it."""
    context.worker.reload_error = ""
    return [{"generation": context.worker.generation, "parent": os.getppid()}]


async def _signing_keys(context: Context, _request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Read the DKIM keys anew, and tell whose mail is signed."""
    worker = context.worker
    try:
        keys, left_out = await asyncio.to_thread(signing, worker.config)
    except ConfigError as error:
        raise Unavailable(f"the DKIM keys cannot be used, and those before go on: {error}") from None
    worker.signer.adapt(keys, left_out)
    return [{"domain": each} for each in keys]


VERBS: Final[Mapping[str, Verb]] = {
    "status": _status,
    "health": _health,
    "queue": _queue,
    "routes": _routes,
    "expect-reload": _expect_reload,
    "signing-keys": _signing_keys,
}
"""By name.  `tail` is not among them: it has no end."""
