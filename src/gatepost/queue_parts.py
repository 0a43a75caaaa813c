"""The queues that the configuration asks for, made: spools with their schedulers, rules for some mail, limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.errors import SpoolUnavailable
from gatepost.message.signer import Signer
from gatepost.model.clock import Clock
from gatepost.model.priority import Priority
from gatepost.observe.events import Event, SpoolTroubled
from gatepost.queue.grouping import Routes
from gatepost.queue.limits import Limits
from gatepost.queue.mail_queue import MailQueue
from gatepost.queue.retry import Schedule
from gatepost.queue.rules import Patience, Rule, Rules
from gatepost.queue.scheduler import Scheduler
from gatepost.spool.sqlite import SqliteSpool

if TYPE_CHECKING:
    from gatepost.config import schema

__all__ = ["open_queues", "queue_limits", "queue_rules"]


def open_queues(
    config: schema.Config,
    folders: Sequence[Path],
    routes: Routes,
    clock: Clock,
    emit: Callable[[Event], None],
    signer: Signer | None = None,
) -> list[MailQueue]:
    """Open the spools in *folders*: the first is where new mail goes, the others somebody left over.

    Raises:
        SpoolUnavailable: the first is in use, or cannot be opened.
    """
    queues: list[MailQueue] = []
    rules = queue_rules(config)
    for folder in folders:
        try:
            spool = SqliteSpool(
                folder,
                clock=clock,
                reserve_bytes=config.reserve_bytes,
                inline_bytes=config.spool.inline_bytes,
                priority=rules.priority,
                emit=emit,
            )
        except SpoolUnavailable as error:
            if not queues:
                raise
            # Somebody else's, left over: new mail must not wait for it.
            emit(SpoolTroubled(str(error)))
            continue
        scheduler = Scheduler(
            spool,
            routes,
            hostname=config.hostname,
            clock=clock,
            emit=emit,
            schedule=rules,
            limits=queue_limits(config),
            signer=signer,
        )
        queues.append(MailQueue(int(folder.name) if folder.name.isdigit() else 0, spool, scheduler))
    return queues


def queue_rules(config: schema.Config) -> Rules:
    """Return which mail goes first, when deliveries are tried again, and when they are given up."""
    return Rules(
        Schedule(config.queue.retry, config.queue.give_up_after, config.queue.delay_notice or None),
        [
            Rule(
                frozenset(each.accounts),
                frozenset(each.credentials),
                Priority[each.priority.upper()],
                Patience(each.retry, each.give_up_after),
            )
            for each in config.queue.rule
        ],
        {each.name: Patience(each.retry, each.give_up_after) for each, _ in config.ways},
    )


def queue_limits(config: schema.Config) -> Limits:
    """Return how many deliveries run at once."""
    return Limits(
        attempts=config.queue.attempts_at_once,
        per_route=config.queue.attempts_per_route,
        seconds=config.queue.attempt_timeout.total_seconds(),
    )
