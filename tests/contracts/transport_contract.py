"""What every transport must do, as one test class; with it the deliveries and contents that its tests send."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gatepost.model.address import Mailbox, parse_mailbox
from gatepost.model.delivery import Delivered
from gatepost.model.envelope import Body, Envelope, MessageId, Recipient
from gatepost.relay.transport import Content, Delivery, Transport

__all__ = ["CONTENT", "Pieces", "TransportContract", "Whole", "delivery"]

CONTENT = b"From: tim@example.org\r\nSubject: dots\r\n\r\n.\r\n..\r\n.one\r\nlast line\r\n"


class Whole:
    """Content that lies in memory."""

    def __init__(self, content: bytes = CONTENT) -> None:
        self.size_bytes = len(content)
        self.inline: bytes | None = content

    async def chunks(self) -> AsyncIterator[bytes]:
        assert self.inline is not None
        yield self.inline


class Pieces:
    """Content that must be read in pieces, like that of a file."""

    def __init__(self, *pieces: bytes, size_bytes: int | None = None) -> None:
        self.pieces = pieces or (CONTENT[:41], CONTENT[41:43], CONTENT[43:])
        self.size_bytes = sum(map(len, self.pieces)) if size_bytes is None else size_bytes
        self.inline: bytes | None = None
        self.reads = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            self.reads += 1
            yield piece


def delivery(
    *recipients: str,
    sender: str = "tim@example.org",
    content: Content | None = None,
    body: Body = Body.SEVEN_BIT,
    smtputf8: bool = False,
    message_id: str = "01GATEPOST",
) -> Delivery:
    """Make a delivery to *recipients*, or to one."""
    to = tuple(Recipient(parse_mailbox(each)) for each in recipients or ("ann@example.net",))
    content = content or Whole()
    reverse_path: Mailbox | None = parse_mailbox(sender) if sender else None
    envelope = Envelope(reverse_path, to, body, smtputf8, account="tim", credential="c1", size_bytes=content.size_bytes)
    return Delivery(MessageId(message_id), envelope, to, content)


class TransportContract:
    """Subclass it, with a fixture `transport` whose next hop takes everything and a `received` that reads it back."""

    @pytest.fixture
    async def transport(self) -> AsyncIterator[Transport]:
        raise NotImplementedError

    async def received(self) -> list[tuple[str, list[str], bytes]]:
        """Return what arrived: reverse-path, recipients, content."""
        raise NotImplementedError

    async def test_it_has_a_name(self, transport: Transport) -> None:
        assert transport.name

    async def test_one_result_for_each_recipient(self, transport: Transport) -> None:
        results = await transport.deliver(delivery("a@example.net", "b@example.net", "c@example.net"))
        assert [type(result) for result in results] == [Delivered] * 3

    async def test_only_the_recipients_of_the_delivery_get_it(self, transport: Transport) -> None:
        whole = delivery("a@example.net", "b@example.net")
        part = Delivery(whole.message_id, whole.envelope, whole.recipients[1:], whole.content)
        assert len(await transport.deliver(part)) == 1
        assert await self.received() == [("tim@example.org", ["b@example.net"], CONTENT)]

    @pytest.mark.parametrize("content", [Whole(), Pieces()], ids=["in memory", "in pieces"])
    async def test_every_octet_arrives(self, transport: Transport, content: Content) -> None:
        await transport.deliver(delivery(content=content))
        assert await self.received() == [("tim@example.org", ["ann@example.net"], CONTENT)]

    async def test_a_null_reverse_path_stays_one(self, transport: Transport) -> None:
        await transport.deliver(delivery(sender=""))
        assert await self.received() == [("", ["ann@example.net"], CONTENT)]

    async def test_messages_follow_one_another(self, transport: Transport) -> None:
        for number in range(3):
            content = Whole(b"Subject: %d\r\n\r\n" % number)
            (result,) = await transport.deliver(delivery(content=content, message_id=f"m{number}"))
            assert isinstance(result, Delivered)
        assert [each[2] for each in await self.received()] == [b"Subject: %d\r\n\r\n" % number for number in range(3)]

    async def test_the_result_says_what_took_it(self, transport: Transport) -> None:
        (result,) = await transport.deliver(delivery())
        assert isinstance(result, Delivered)
        assert result.next_hop
        assert result.reply.code == 250
        assert result.reply.enhanced == "2.0.0"

    async def test_it_can_be_closed_twice(self, transport: Transport) -> None:
        await transport.deliver(delivery())
        await transport.close()
        await transport.close()
