from __future__ import annotations

import asyncio

from gatepost.model.envelope import MessageId
from gatepost.spool.turns import Turns

NAME, OTHER = MessageId("0" * 16), MessageId("1" * 16)


async def test_nobody_waits_for_a_message_that_nobody_changes() -> None:
    turns = Turns()
    turns.take(OTHER)
    turns.give([NAME])
    await turns.wait(NAME)


async def test_one_at_a_time_also_when_one_goes_away() -> None:
    turns = Turns()
    order = []

    async def change(number: int) -> None:
        await turns.wait(NAME)
        turns.take(NAME)
        order.append(number)
        await asyncio.sleep(0)
        order.append(number)
        turns.give([NAME, OTHER])

    tasks = [asyncio.ensure_future(change(number)) for number in range(4)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [0, 0, 2, 2, 3, 3]
    await turns.wait(NAME)
