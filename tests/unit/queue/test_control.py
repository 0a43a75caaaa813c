"""Looking at the queue."""

from __future__ import annotations

from gatepost.model.envelope import MessageId
from gatepost.model.identity import parse_sender_pattern
from gatepost.queue.control import Selection, find
from queue_world import NEVER, OK, World


async def test_everything_is_found_in_the_order_of_acceptance_page_by_page() -> None:
    world = World()
    names = [world.put() for _ in range(1200)]
    assert [entry.id for entry in find(world.spool)] == names


async def test_an_empty_queue_has_nothing() -> None:
    assert list(find(World().spool)) == []


def found(world: World, selection: Selection) -> list[MessageId]:
    return [entry.id for entry in find(world.spool, selection)]


async def test_messages_are_selected_by_sender_domain_and_account() -> None:
    world = World()
    one = world.put("a@example.net", sender="tim@example.org")
    two = world.put("b@bücher.example", sender="ann@example.com")
    null = world.put("c@example.net", sender=None)
    assert found(world, Selection()) == [one, two, null]
    assert found(world, Selection(sender=parse_sender_pattern("*@example.org"))) == [one]
    assert found(world, Selection(is_null_sender=True)) == [null]
    assert found(world, Selection(domain="xn--bcher-kva.example")) == [two]
    assert found(world, Selection(domain="example.net", account="tim")) == [one, null]
    assert found(world, Selection(account="ann")) == []
    assert found(world, Selection(domain="example.net", is_null_sender=True)) == [null]


async def test_a_domain_counts_only_while_somebody_there_waits() -> None:
    world = World()
    await world.start()
    world.hop.answer = NEVER
    world.route("other.example").answer = OK
    slow = world.route("slow.example")
    slow.seconds = 1000
    name = await world.accept("a@other.example", "b@slow.example", sender=None)
    assert found(world, Selection(domain="slow.example")) == [name]
    assert found(world, Selection(domain="other.example")) == []
    await world.stop()
