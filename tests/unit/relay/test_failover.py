"""Several hosts of a route: what each delivery asks of each host.  No socket: hosts are stand-ins that note it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from contracts.transport_contract import delivery
from gatepost.model.delivery import Cause, Deferred, Delivered, RemoteReply, Result
from gatepost.relay.failover import Failover
from gatepost.relay.host_rest import HostRest
from gatepost.relay.transport import Delivery

OK = Delivered(RemoteReply.parse(250, "2.0.0 taken"))
AWAY = Deferred(RemoteReply.ours(451, "4.4.1", "away"), cause=Cause.NEXT_HOP, is_unseen=True)


class Host:
    """A host that waits until it may answer."""

    def __init__(self, answer: Result = OK) -> None:
        self.answer = answer
        self.patiences: list[float | None] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.is_closed = False

    async def deliver(self, of: Delivery, patience: float | None = None) -> Sequence[Result]:
        self.patiences.append(patience)
        await self.may_answer.wait()
        return [self.answer] * len(of.recipients)

    async def close(self) -> None:
        self.is_closed = True


def route(*hosts: Host) -> Failover:
    rests = [HostRest(str(number)) for number in range(len(hosts))]
    return Failover("out", hosts, rests, patience=30.0)  # type: ignore[arg-type]


async def test_patience_is_short_while_there_is_another_host_and_the_last_one_has_all_time() -> None:
    first, second, third = Host(AWAY), Host(AWAY), Host()
    assert await route(first, second, third).deliver(delivery()) == [OK]
    assert (first.patiences, second.patiences, third.patiences) == ([30.0], [30.0], [None])


async def test_a_delivery_that_takes_the_hosts_in_another_order_leaves_the_patience_of_others_alone() -> None:
    first, second = Host(), Host(AWAY)
    way = route(first, second)
    first.may_answer.clear()
    early = asyncio.create_task(way.deliver(delivery()))
    await asyncio.sleep(0)
    way.rests[0].until = asyncio.get_running_loop().time() + 60
    late = asyncio.create_task(way.deliver(delivery()))
    while len(first.patiences) < 2:
        await asyncio.sleep(0)
    assert first.patiences == [30.0, None]
    assert second.patiences == [30.0]
    assert "patience" not in vars(first)
    first.may_answer.set()
    assert await asyncio.gather(early, late) == [[OK], [OK]]


async def test_all_hosts_are_closed() -> None:
    hosts = [Host(), Host()]
    await route(*hosts).close()
    assert [each.is_closed for each in hosts] == [True, True]
