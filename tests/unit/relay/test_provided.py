"""What is known of a provider, around another transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from gatepost.model.address import parse_mailbox
from gatepost.model.delivery import Cause, Deferred, Delivered, Failed, RemoteReply, Result
from gatepost.model.envelope import Envelope, MessageId, Recipient
from gatepost.relay.conversion import Prefixed, Signed, convert
from gatepost.relay.known_replies import KnownReplies
from gatepost.relay.provided import Provided
from gatepost.relay.transport import Content, Delivery

STREAM = ("X-PM-Message-Stream", "outbound")
HEADER = b"Subject: hello\r\nMessage-ID: <m@example.org>\r\n\r\n"
OK = Delivered(RemoteReply.parse(250, "2.0.0 taken"))


class Lying:
    """Content of a spool; big ones come in pieces."""

    def __init__(self, octets: bytes, piece: int = 0) -> None:
        self.size_bytes = len(octets)
        self.inline = None if piece else octets
        self._octets, self._piece = octets, piece or len(octets)
        self.open = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        self.open += 1
        try:
            for start in range(0, len(self._octets), self._piece):
                yield self._octets[start : start + self._piece]
        finally:
            self.open -= 1


class Inner:
    """A transport that gives what it is told, and keeps what it got."""

    name = "inner"

    def __init__(self, *results: Result) -> None:
        self.results = results or (OK,)
        self.got: list[bytes] = []
        self.is_closed = False

    async def deliver(self, delivery: Delivery) -> Sequence[Result]:
        content = delivery.content
        octets = b"".join([chunk async for chunk in content.chunks()])
        assert len(octets) == content.size_bytes
        assert content.inline in (None, octets)
        self.got.append(octets)
        return self.results

    async def close(self) -> None:
        self.is_closed = True


def send(transport: Provided, content: Content, header_bytes: int = len(HEADER), number: int = 1) -> Sequence[Result]:
    recipients = tuple(Recipient(parse_mailbox(f"a{each}@example.net")) for each in range(number))
    envelope = Envelope(
        reverse_path=None, recipients=recipients, header_bytes=header_bytes, size_bytes=content.size_bytes
    )
    return asyncio.run(transport.deliver(Delivery(MessageId("m"), envelope, recipients, content)))


def test_a_message_gets_the_field_on_top() -> None:
    for piece in (0, 1, 7, 1000):
        inner = Inner()
        content = Lying(HEADER + b"X-PM-Message-Stream: not a header\r\n", piece)
        assert send(Provided(inner, KnownReplies(), field=STREAM), content) == (OK,)
        assert inner.got == [b"X-PM-Message-Stream: outbound\r\n" + HEADER + b"X-PM-Message-Stream: not a header\r\n"]
        assert content.open == 0


def test_a_message_that_has_the_field_keeps_its_own() -> None:
    for header in (b"X-PM-Message-Stream: mine\r\n" + HEADER, b"A: b\r\nx-pm-message-STREAM: mine\r\n\r\n"):
        for piece in (0, 5):
            inner = Inner()
            send(Provided(inner, KnownReplies(), field=STREAM), Lying(header + b"body\r\n", piece), len(header))
            assert inner.got == [header + b"body\r\n"]


def test_what_is_too_long_is_not_even_tried() -> None:
    inner = Inner()
    results = send(Provided(inner, KnownReplies(), message_bytes=99), Lying(bytes(100)), 0, number=2)
    assert [type(each) for each in results] == [Failed, Failed]
    assert str(results[0].reply) == "552 5.3.4 Messages this way may have 99 octets at most"
    assert not inner.got
    assert send(Provided(inner, KnownReplies(), message_bytes=100), Lying(bytes(100)), 0) == (OK,)


def test_each_recipients_reply_is_judged() -> None:
    throttled = Deferred(RemoteReply.parse(450, "4.7.1 too many messages"), "mx")
    unknown = Failed(RemoteReply.parse(550, "5.1.1 no such user"), "mx")
    results = send(Provided(Inner(OK, throttled, unknown), KnownReplies()), Lying(HEADER), number=3)
    assert results[0] is OK
    assert isinstance(results[1], Deferred)
    assert results[1].cause is Cause.PACE
    assert results[2] is unknown


def test_it_has_the_name_of_the_transport_and_closes_it() -> None:
    inner = Inner()
    transport = Provided(inner, KnownReplies())
    asyncio.run(transport.close())
    assert transport.name == "inner"
    assert inner.is_closed


def test_what_is_converted_is_signed_anew_below_the_field() -> None:
    class Resigned(Signed):
        def in_seven_bit(self, whole: bytes) -> bytes:
            assert whole == HEADER + b"body\r\n"
            return b"DKIM-Signature: new\r\n" + whole

    content = Prefixed(Resigned(Lying(HEADER + b"body\r\n"), 0, None), b"X: y\r\n")
    converted = asyncio.run(convert(content))
    assert converted.inline == b"X: y\r\nDKIM-Signature: new\r\n" + HEADER + b"body\r\n"
    plain = asyncio.run(convert(Prefixed(Lying(HEADER + b"body\r\n"), b"X: y\r\n")))
    assert plain.inline is not None
    assert plain.inline.startswith(b"X: y\r\nSubject: hello\r\n")
