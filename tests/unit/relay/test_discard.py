"""The discard transport says for each recipient that it threw the mail away, and reads nothing of it."""

from __future__ import annotations

from contracts.transport_contract import Pieces, delivery
from gatepost.model.delivery import Delivered, Discarded
from gatepost.relay.discard import Discard


async def test_each_recipient_is_told_that_nobody_got_it() -> None:
    content = Pieces()
    results = await Discard("nowhere").deliver(delivery("a@x.net", "b@x.net", content=content))
    assert [type(each) for each in results] == [Discarded] * 2
    assert all(isinstance(each, Delivered) for each in results)
    assert [(each.reply.code, each.reply.is_remote, each.next_hop) for each in results] == [(250, False, "nowhere")] * 2
    assert "discarded" in results[0].reply.text
    assert content.reads == 0


async def test_it_can_be_closed_twice() -> None:
    transport = Discard("nowhere")
    await transport.close()
    await transport.close()
    assert transport.name == "nowhere"
