"""Routes that ask for header fields: the queue reads them from the spool when it looks for the way of a message."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gatepost.model.envelope import Envelope, Recipient
from gatepost.observe.events import SpoolTroubled
from gatepost.queue.limits import Limits
from gatepost.queue.retry import Schedule
from queue_world import CONTENT, DOWN, OK, ByDomain, Hop, Way, World

MINUTE, HOUR = 60.0, 3600.0
BULK = b"X-Stream: bulk\r\n" + CONTENT


class ByStream(ByDomain):
    """Routes by the value of X-Stream."""

    def route_for(self, envelope: Envelope, recipient: Recipient) -> Way | None:
        [values] = [values for name, values in envelope.fields if name == "x-stream"]
        return self.ways[values[0] if values else "*"]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.start()
    yield world
    await world.stop()


def by_stream(world: World) -> Hop:
    """Route by X-Stream from now on; return where bulk goes."""
    hop = Hop(world.clock, "bulk")
    ways = {"*": Way("main", world.hop), "bulk": Way("bulk", hop)}
    world.routes = ByStream(ways, frozenset({"x-stream"}))
    world.scheduler.adapt(world.routes, Schedule(), Limits())
    return hop


async def test_a_message_goes_by_its_header(world: World) -> None:
    bulk = by_stream(world)
    await world.accept("a@example.net", content=BULK)
    await world.accept("b@example.net")
    assert bulk.recipients == ["a@example.net"]
    assert world.hop.recipients == ["b@example.net"]


async def test_mail_accepted_before_a_reload_goes_by_what_the_new_routes_ask(world: World) -> None:
    world.hop.answer = DOWN
    await world.accept("a@example.net", content=BULK)
    await world.accept("b@example.net", content=CONTENT)
    world.hop.answer = OK
    bulk = by_stream(world)
    await world.clock.go_on(HOUR)
    assert bulk.recipients == ["a@example.net"]
    assert world.hop.recipients[:2] == ["a@example.net", "b@example.net"]
    assert world.hop.recipients[2:] == ["b@example.net"]
    assert world.spool.count() == 0


async def test_mail_goes_to_the_end_by_the_header_that_it_has_while_its_way_is_tried(world: World) -> None:
    bulk = by_stream(world)
    bulk.answer = DOWN
    await world.accept("a@example.net", content=BULK)
    bulk.answer = OK
    await world.clock.go_on(HOUR)
    assert bulk.recipients == ["a@example.net"] * 2
    assert world.hop.recipients == []
    assert world.spool.count() == 0


async def test_a_restart_forgets_no_header(world: World) -> None:
    bulk = by_stream(world)
    bulk.answer = DOWN
    await world.accept("a@example.net", content=BULK)
    bulk.answer = OK
    await world.restart()
    await world.clock.go_on(HOUR)
    assert bulk.recipients == ["a@example.net"] * 2
    assert world.hop.recipients == []


async def test_a_header_that_cannot_be_read_keeps_the_message_and_holds_up_no_other(world: World) -> None:
    bulk = by_stream(world)
    name = world.put("a@example.net", content=BULK)
    world.spool.contentless.add(name)
    world.scheduler.wake(name)
    await world.accept("b@example.net")
    assert world.hop.recipients == ["b@example.net"]
    assert len(world.told(SpoolTroubled)) >= 1
    world.spool.contentless.clear()
    await world.clock.go_on(HOUR + MINUTE)
    assert bulk.recipients == ["a@example.net"]
    assert world.spool.count() == 0
