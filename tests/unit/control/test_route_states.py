"""What is told of routes: waiting and paused while mail waits for them, and no longer."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from gatepost.control.verbs import route_states
from gatepost.model.delivery import Cause, Deferred, RemoteReply
from gatepost.model.envelope import MessageId
from gatepost.queue.health import Health
from gatepost.relay.failover import Failover
from gatepost.relay.host_rest import HostRest
from gatepost.relay.known_replies import KnownReplies
from gatepost.relay.provided import Provided

REFUSED = {
    "waiting": Deferred(RemoteReply.ours(451, "4.4.1", "Connection refused"), "mx", Cause.NEXT_HOP),
    "paused": Deferred(RemoteReply(535, "5.7.8", "no"), "mx", Cause.ROUTE),
}


class World:
    """A worker of one route and one spool, at a time of its own."""

    def __init__(self) -> None:
        self.time, self.messages, self.health = 1000.0, 1, Health("out", lambda _event: None)
        gate = SimpleNamespace(health=self.health, running=0)
        queue = SimpleNamespace(
            scheduler=SimpleNamespace(gates={"out": gate}), spool=SimpleNamespace(count=lambda: self.messages)
        )
        self.worker: Any = SimpleNamespace(
            config=SimpleNamespace(ways=[(SimpleNamespace(name="out", transport="smarthost"), ())]),
            paused_routes={},
            queues=[queue],
            clock=SimpleNamespace(now=lambda: self.time),
            router=SimpleNamespace(routes=[]),
        )

    async def row(self) -> dict[str, Any]:
        (row,) = route_states(self.worker)
        return row

    def fail(self, state: str) -> None:
        for number in range(2):
            self.health.begin()
            self.health.learn(MessageId(f"{number:016}"), [REFUSED[state]], self.time, self.time)
            self.time += 0.1


@pytest.mark.parametrize("state", ["waiting", "paused"])
async def test_a_closed_route_is_told_with_its_reason_as_long_as_mail_waits(state: str) -> None:
    world = World()
    assert (await world.row())["state"] == "open"
    world.fail(state)
    row = await world.row()
    assert (row["state"], row["reason"]) == (state, str(REFUSED[state].reply))
    world.time = world.health.until + 3600.0
    assert (await world.row())["state"] == state


@pytest.mark.parametrize("state", ["waiting", "paused"])
async def test_it_is_open_once_its_time_is_over_and_nothing_is_left_that_could_try_it(state: str) -> None:
    world = World()
    world.fail(state)
    world.messages = 0
    assert (await world.row())["state"] == state, "its time is not over"
    world.time = world.health.until
    row = await world.row()
    assert (row["state"], row["until"], row["reason"]) == ("open", None, "")


async def test_a_route_paused_by_hand_stays_so() -> None:
    world = World()
    world.health.pause(world.time)
    world.messages, world.time = 0, world.time + 1e6
    assert (await world.row())["state"] == "paused by hand"


@pytest.mark.parametrize("has_preset", [False, True])
async def test_hosts_that_rest_are_told_with_and_without_a_preset(has_preset: bool) -> None:
    rests = [HostRest("a:25"), HostRest("b:25")]
    rests[0].fail(REFUSED["waiting"].reply, 0.0, asyncio.get_running_loop().time())
    hosts: list[Any] = [SimpleNamespace(), SimpleNamespace()]
    transport: Any = Failover("out", hosts, rests)
    if has_preset:
        transport = Provided(transport, KnownReplies())
    world = World()
    world.worker.router.routes = [SimpleNamespace(name="out", transport=transport, pace=None)]
    assert (await world.row())["hosts"] == [
        {"host": "a:25", "rests": True, "seconds": 5, "reason": "451 4.4.1 Connection refused"},
        {"host": "b:25", "rests": False, "seconds": 0, "reason": ""},
    ]
