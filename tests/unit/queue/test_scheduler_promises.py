"""Whatever next hops answer and whenever we die: a recipient ends delivered, or failed and told, or is still pending.

Invariant: no recipient is lost, none is delivered again after its delivery was written down, and exactly one bounce
names each failed recipient of a sender that is not null.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatepost.errors import SpoolUnavailable
from gatepost.model.delivery import Result
from gatepost.observe.events import BounceDropped, RecipientDeferred, RecipientDelivered, RecipientFailed
from gatepost.queue.bounce import Bouncer
from gatepost.queue.limits import Limits
from gatepost.relay.transport import Delivery
from queue_world import DOWN, LATER, NEVER, OK, REFUSED, World

ANSWERS = st.sampled_from([OK, LATER, NEVER, DOWN, REFUSED, None])
STEPS = st.sampled_from(["wait", "long wait", "restart", "spool away", "spool back"])
MESSAGES = st.lists(
    st.tuples(
        st.booleans(), st.lists(st.sampled_from(["a.example", "b.example", "c.example"]), min_size=1, max_size=4)
    ),
    min_size=1,
    max_size=6,
)


async def play(
    messages: list[tuple[bool, list[str]]], answers: list[Result | None], steps: list[str], seconds: float
) -> None:
    world = World()
    script = iter(answers)

    def answer(delivery: Delivery) -> Sequence[Result]:
        results = []
        for _ in delivery.recipients:
            result = next(script, OK)
            if result is None:
                raise ArithmeticError("a bug of ours")
            results.append(result)
        return results

    for domain in ("a.example", "b.example"):
        world.route(domain, answer).seconds = seconds
    world.hop.answer = answer
    await world.start()
    expected: set[str] = set()
    bounced: set[str] = set()
    for number, (is_null, domains) in enumerate(messages):
        recipients = [f"r{number}-{index}@{domain}" for index, domain in enumerate(domains)]
        expected.update(recipients)
        if not is_null:
            bounced.update(recipients)
        await world.accept(*recipients, sender=None if is_null else f"s{number}@sender.example")
    for step in steps:
        if step == "restart":
            await world.restart()
        elif step == "spool away":
            world.spool.trouble = SpoolUnavailable("full")
        elif step == "spool back":
            world.spool.trouble = None
        await world.clock.go_on(100_000 if step == "long wait" else 30)

    delivered = Counter(event.recipient for event in world.told(RecipientDelivered) if event.recipient in expected)
    failed = Counter(event.recipient for event in world.told(RecipientFailed) if event.recipient in expected)
    pending = Counter(
        str(each.recipient)
        for entry in world.spool.list(limit=1000)
        for each in entry.progress
        if each.status.value == "pending" and str(each.recipient) in expected
    )
    if world.spool.trouble is None:
        assert delivered + failed + pending == Counter(expected)
    told = Counter(
        match.decode()
        for _, content in world.bounces()
        for match in re.findall(rb"Final-Recipient: rfc822; (\S+)", content)
    )
    assert told == Counter({each: 1 for each in failed if each in bounced})
    if set(failed) - bounced:
        assert world.told(BounceDropped)

    # And in the end everything goes.
    world.spool.trouble = None
    await world.clock.go_on(8 * 86_400)
    assert world.spool.count() == 0
    await world.stop()


@given(MESSAGES, st.lists(ANSWERS, max_size=40), st.lists(STEPS, max_size=8), st.sampled_from([0, 45]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_recipient_ends_delivered_or_failed_and_told_or_pending(
    messages: list[tuple[bool, list[str]]], answers: list[Result | None], steps: list[str], seconds: float
) -> None:
    asyncio.run(play(messages, answers, steps, seconds))


async def test_an_attempt_that_does_not_end_is_given_up_and_made_again() -> None:
    world = World(limits=Limits(seconds=0.02))
    never: asyncio.Future[list[Result]] = asyncio.get_running_loop().create_future()
    world.hop.answer = lambda _: never
    await world.start()
    name = await world.accept()
    async with asyncio.timeout(60):
        while not world.told(RecipientDeferred):
            await asyncio.sleep(0.01)
    (told,) = world.told(RecipientDeferred)
    assert (told.message, told.reply) == (name, "451 4.4.2 The attempt took too long and was given up")
    assert never.cancelled()
    assert world.hop.at_once == 0
    entry = world.spool.entry(name)
    assert entry is not None
    assert entry.progress[0].attempts == 1, "it may have arrived: it counts"
    world.hop.answer = OK
    await world.clock.go_on(400)
    assert world.spool.count() == 0
    await world.stop()


async def test_a_transport_that_raises_a_timeout_of_its_own_is_our_bug() -> None:
    world = World()

    def raises(_: Delivery) -> list[Result]:
        raise TimeoutError

    world.hop.answer = raises
    await world.start()
    await world.accept()
    (told,) = world.told(RecipientDeferred)
    assert "Internal error" in told.reply
    await world.stop()


async def test_a_notice_of_delay_that_cannot_be_written_is_not_tried_each_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried = 0

    async def fails(*_: object, **__: object) -> None:
        nonlocal tried
        tried += 1
        raise ValueError("a bug")

    monkeypatch.setattr(Bouncer, "draft", fails)
    world = World()
    world.hop.answer = DOWN
    await world.start()
    await world.accept()
    world.scheduler.gates["main"].health.pause(world.clock.now())
    await world.clock.go_on(24 * 3600)
    assert tried == 1
    assert [told.reason for told in world.told(BounceDropped)] == ["ValueError('a bug')"]
    await world.stop()


async def test_a_bounce_that_cannot_be_written_without_the_content_sends_nothing_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fails(*arguments: object, **_: object) -> None:
        raise SpoolUnavailable("gone") if arguments[3] is not None else ValueError("a bug")

    monkeypatch.setattr(Bouncer, "draft", fails)
    world = World()
    world.hop.answer = lambda delivery: [OK, NEVER]
    await world.start()
    await world.accept("a@example.net", "b@example.net")
    await world.clock.go_on(24 * 3600)
    assert world.hop.recipients == ["a@example.net", "b@example.net"]
    assert [told.reason for told in world.told(BounceDropped)] == ["ValueError('a bug')"]
    assert world.spool.count() == 0
    await world.stop()
