"""Bounces: who is told what."""

from __future__ import annotations

import email
import email.policy
from collections.abc import AsyncIterator

import pytest

from gatepost.message.dsn import Action
from gatepost.model.address import parse_mailbox
from gatepost.model.delivery import Failed, RemoteReply
from gatepost.model.envelope import Body, Envelope, MessageId, Recipient
from gatepost.queue.bounce import Bouncer
from gatepost.queue.notices import Notice
from gatepost.spool.spool import Draft, Entry
from memory_spool import MemoryContent
from queue_world import CONTENT, HEADER, NEVER

ANN = Recipient(parse_mailbox("ann@example.net"))


def entry(sender: str | None = "tim@example.org", content: bytes = CONTENT, *, sandbox: bool = False) -> Entry:
    envelope = Envelope(
        None if sender is None else parse_mailbox(sender),
        (ANN,),
        header_bytes=content.find(b"\r\n\r\n") + 4,
        size_bytes=len(content),
        sandbox=sandbox,
        account="tim",
        credential="c1",
    )
    return Entry(MessageId("m1"), envelope, 1_700_000_000.0, 0.0)


def told(result: Failed = NEVER) -> Notice:
    return Notice(0, Action.FAILED, result.reply, result.next_hop, 1_700_000_100.0)


async def draft(of: Entry, content: bytes | None = CONTENT, failed: Failed = NEVER) -> Draft:
    given = None if content is None else MemoryContent(content)
    made = await Bouncer("mail.example.org").draft(of, [told(failed)], given, 1_700_000_100.0)
    assert made is not None
    return made


@pytest.mark.rfc("5321 §4.5.5")
async def test_nobody_is_told_about_a_notification() -> None:
    assert await Bouncer("mail.example.org").draft(entry(None), [told()], MemoryContent(CONTENT), 0.0) is None


@pytest.mark.rfc("5321 §6.1")
async def test_a_bounce_has_the_null_reverse_path_and_goes_to_the_sender() -> None:
    made = await draft(entry())
    envelope = made.envelope
    assert envelope.reverse_path is None
    assert [str(each) for each in envelope.recipients] == ["tim@example.org"]
    assert (envelope.account, envelope.credential) == ("", "")
    assert (envelope.body, envelope.smtputf8, envelope.sandbox) == (Body.SEVEN_BIT, False, False)
    assert envelope.size_bytes == len(made.content)
    assert made.content[: envelope.header_bytes].endswith(b"\r\n\r\n")
    report = email.message_from_bytes(made.content, policy=email.policy.default)
    assert report["To"] == "tim@example.org"
    assert report["Auto-Submitted"] == "auto-replied"
    assert report["In-Reply-To"] == "<m1@example.org>"


async def test_two_bounces_of_a_message_are_not_the_same() -> None:
    bouncer = Bouncer("mail.example.org")
    made = [await bouncer.draft(entry(), [told()], None, 5.0) for _ in range(2)]
    ids = {email.message_from_bytes(each.content)["Message-ID"] for each in made if each}
    assert len(ids) == 2


async def test_a_small_message_comes_back_whole_and_a_large_one_as_its_header() -> None:
    assert b"hello\r\n" in (await draft(entry())).content.split(b"message/rfc822")[1]
    large = HEADER + b"secret " * 20_000
    made = await draft(entry(content=large), large)
    assert b"text/rfc822-headers" in made.content
    assert b"Subject: hello" in made.content
    assert b"secret" not in made.content


async def test_what_was_too_large_does_not_come_back_whole() -> None:
    content = HEADER + b"much " * 1000
    for words in ("552 5.3.4 too big", "552 5.2.3 too big for this mailbox"):
        code, _, text = words.partition(" ")
        made = await draft(entry(content=content), content, Failed(RemoteReply.parse(int(code), text)))
        assert b"text/rfc822-headers" in made.content
        assert b"much" not in made.content


async def test_only_the_beginning_of_a_large_message_is_read() -> None:
    class Long:
        size_bytes = 10_000_000
        inline = None
        read = closed = 0

        async def chunks(self) -> AsyncIterator[bytes]:
            try:
                for piece in (HEADER[:10], HEADER[10:], b"x" * 1000, b"y" * 1000):
                    self.read += 1
                    yield piece
            finally:
                self.closed += 1

    content = Long()
    of = entry(content=HEADER + b"x" * 100_000)
    made = await Bouncer("mail.example.org").draft(of, [told()], content, 0.0)
    assert made is not None
    assert b"Subject: hello" in made.content
    assert (content.read, content.closed) == (2, 1)


async def test_a_message_that_cannot_be_read_is_still_told() -> None:
    made = await draft(entry(), None)
    assert b"Final-Recipient: rfc822; ann@example.net" in made.content
    assert b"Subject: hello" not in made.content


async def test_mail_of_the_sandbox_is_answered_in_the_sandbox() -> None:
    assert (await draft(entry(sandbox=True))).envelope.sandbox


async def test_our_own_words_are_not_put_into_the_mouth_of_a_next_hop() -> None:
    made = await draft(entry(), failed=Failed(RemoteReply.ours(554, "5.6.3", "Cannot be converted")))
    assert b"Status: 5.6.3" in made.content
    assert b"Diagnostic-Code: x-gatepost; 554 5.6.3 Cannot be converted" in made.content
    assert b"Remote-MTA" not in made.content


@pytest.mark.rfc("6531 §3.2")
async def test_a_sender_in_utf8_gets_a_bounce_in_utf8_and_a_domain_alone_needs_none() -> None:
    made = await draft(entry("jörg@example.org"))
    assert made.envelope.smtputf8
    assert made.envelope.body is Body.EIGHT_BIT
    made = await draft(entry("tim@bücher.example"))
    assert not made.envelope.smtputf8
    assert str(made.envelope.recipients[0]) == "tim@xn--bcher-kva.example"


async def test_eight_bit_content_makes_an_eight_bit_bounce() -> None:
    content = HEADER + "grüße\r\n".encode()
    made = await draft(entry(content=content), content)
    assert made.envelope.body is Body.EIGHT_BIT
    assert not made.envelope.smtputf8
