"""Several hosts for one route: the first that works takes the mail, the next one at once what it never saw.

Only what a host has seen nothing of goes to another: it could not be reached, did not greet us, gave no TLS or login,
or went away before the content.  What it said of the message or a recipient holds; after the final dot without a reply
the message waits, for it may have arrived.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from gatepost.errors import SpoolUnavailable
from gatepost.model.delivery import Cause, Deferred, Result
from gatepost.observe.events import Event, HostRested, HostRestored
from gatepost.relay.host_rest import HostRest
from gatepost.relay.smarthost import SmartHost
from gatepost.relay.transport import Delivery

__all__ = ["PATIENCE_SECONDS", "Failover"]

PATIENCE_SECONDS = 30.0
"""How long a host may take until it is ready for mail, while there is another one."""


class Failover:
    """One route's hosts, in their order.

    Args:
        name: name of the route.
        hosts: the ways to them.
        rests: what is known about each, perhaps shared with other logins of the route.
        emit: hears of hosts that fail and work again.
        patience: how long one may take until it is ready for mail, while there is another one.
    """

    def __init__(
        self,
        name: str,
        hosts: Sequence[SmartHost],
        rests: Sequence[HostRest],
        emit: Callable[[Event], None] | None = None,
        *,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self.name = name
        self.rests = tuple(rests)
        self._hosts = tuple(zip(hosts, rests, strict=True))
        self._emit = emit
        self._patience = patience

    async def deliver(self, delivery: Delivery) -> Sequence[Result]:
        """Try the hosts in turn; return one result per recipient, in their order.

        Raises:
            SpoolUnavailable: the content cannot be read; no host got it.
        """
        results: list[Result | None] = [None] * len(delivery.recipients)
        left = list(range(len(results)))
        order = self._order()
        for number, (host, rest) in enumerate(order):
            patience = self._patience if number < len(order) - 1 else None
            recipients = tuple([delivery.recipients[index] for index in left])
            try:
                answer = await self._try(host, rest, replace(delivery, recipients=recipients), patience)
            except SpoolUnavailable:
                if len(left) == len(results):
                    raise
                break  # some have an answer of a host before; it holds for the others, too
            for index, result in zip(left, answer, strict=True):
                results[index] = _graver(results[index], result)
            left = [index for index, result in zip(left, answer, strict=True) if _is_unseen(result)]
            if not left:
                break
        return [result for result in results if result is not None]

    async def close(self) -> None:
        """Let go of kept connections."""
        await asyncio.gather(*[host.close() for host, _ in self._hosts])

    def _order(self) -> list[tuple[SmartHost, HostRest]]:
        """Return those that work in their order, then those that rest, the soonest first."""
        now = asyncio.get_running_loop().time()
        ready = [each for each in self._hosts if each[1].is_ready(now)]
        resting = [each for each in self._hosts if each not in ready]
        return ready + sorted(resting, key=lambda each: each[1].until)

    async def _try(
        self, host: SmartHost, rest: HostRest, delivery: Delivery, patience: float | None
    ) -> Sequence[Result]:
        loop = asyncio.get_running_loop()
        began = loop.time()
        rest.begin()
        try:
            answer = await host.deliver(delivery, patience)
        finally:
            rest.end(began)
        trouble = next((each for each in answer if _is_trouble(each)), None)
        if trouble is None:
            if rest.work(began) and self._emit is not None:
                self._emit(HostRestored(self.name, rest.host))
        elif rest.fail(trouble.reply, began, loop.time()) and self._emit is not None:
            self._emit(HostRested(self.name, rest.host, str(trouble.reply), rest.until - loop.time()))
        return answer


def _is_unseen(result: Result) -> bool:
    return isinstance(result, Deferred) and result.is_unseen


def _is_trouble(result: Result) -> bool:
    """Tell whether *result* speaks against the host, not the message."""
    return isinstance(result, Deferred) and result.cause is not Cause.MESSAGE


def _graver(before: Result | None, result: Result) -> Result:
    """Return what holds for a recipient for whom another host gave *before*: no login or certificate outlives that."""
    if isinstance(before, Deferred) and before.cause is Cause.ROUTE and _is_unseen(result):
        return before
    return result
