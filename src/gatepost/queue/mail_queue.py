"""A spool and what drives its deliveries: what a worker has one of, and more when it adopts those of others."""

from __future__ import annotations

from dataclasses import dataclass

from gatepost.queue.scheduler import Scheduler
from gatepost.spool.spool import Spool

__all__ = ["MailQueue"]


@dataclass(frozen=True, slots=True)
class MailQueue:
    """One spool, and the scheduler that delivers from it.

    Args:
        number: of the spool, as its folder is named.
        spool: where messages lie.
        scheduler: what delivers them.
    """

    number: int
    spool: Spool
    scheduler: Scheduler
