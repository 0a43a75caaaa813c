"""The Received field: its grammar, and what it does not tell."""

from __future__ import annotations

import re
from dataclasses import replace
from email import message_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.message.trace import Stamp, protocol_word, received
from gatepost.model.address import parse_mailbox

STAMP = Stamp("mail.example.org", "0abcdef123456", 1767225600.5, "ESMTPSA", "u1", "TLSv1.3 TLS_AES_256_GCM_SHA384")
TIM = parse_mailbox("tim@example.org")

DOMAIN = r"[A-Za-z0-9]+(?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9]+(?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
# RFC 5321 §4.4, Time-stamp-line, with comments where CFWS is.
GRAMMAR = re.compile(
    rf"Received: from {DOMAIN} by {DOMAIN} with [A-Z0-9]+ id [A-Za-z0-9]+( \([^()\\]+\))?( for <[^<>\s]+>)?;"
    r" [A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d \+0000\r\n"
)


def unfolded(stamp: Stamp) -> str:
    return received(stamp).decode().replace("\r\n\t", " ")


@pytest.mark.rfc("5321 §4.4")
@pytest.mark.parametrize(
    "stamp",
    [
        STAMP,
        replace(STAMP, tls=""),
        replace(STAMP, recipient=TIM),
        replace(STAMP, tls="", recipient=TIM),
        replace(STAMP, hostname="h"),
        replace(STAMP, hostname=f"{'a' * 63}.{'b' * 63}.example.org", recipient=TIM),
    ],
)
def test_it_follows_the_grammar(stamp: Stamp) -> None:
    assert GRAMMAR.fullmatch(unfolded(stamp))
    message = message_from_bytes(received(stamp) + b"\r\n")
    assert len(message.items()) == 1
    assert not message.defects


def test_it_says_who_took_the_message_when_and_how() -> None:
    assert unfolded(replace(STAMP, recipient=TIM)) == (
        "Received: from authenticated-user by mail.example.org with ESMTPSA id 0abcdef123456"
        " (TLSv1.3 TLS_AES_256_GCM_SHA384) for <tim@example.org>; Thu, 1 Jan 2026 00:00:00 +0000\r\n"
    )


def test_recipients_are_not_named_when_there_are_several() -> None:
    assert b"for" not in received(STAMP)


@pytest.mark.rfc("5322 §2.1.1")
@given(st.text("abc.", min_size=1, max_size=60), st.integers(0, 60))
def test_lines_have_at_most_78_columns_where_they_can_be_folded(hostname: str, width: int) -> None:
    stamp = replace(STAMP, hostname=hostname, recipient=parse_mailbox(f"{'a' * max(width, 1)}@x"))
    lines = received(stamp).split(b"\r\n")
    assert lines.pop() == b""
    assert all(len(line) <= 78 for line in lines)
    assert all(line.startswith(b"\t") for line in lines[1:])


def test_what_cannot_be_folded_stands_alone() -> None:
    lines = received(replace(STAMP, hostname="a" * 100)).split(b"\r\n")
    assert lines[1] == b"\tby " + b"a" * 100


@pytest.mark.rfc("6531 §3.7.3")
@pytest.mark.parametrize(
    ("recipient", "shown"),
    [("tim@bücher.example", "tim@xn--bcher-kva.example"), ("tîm@bücher.example", "tîm@bücher.example")],
)
def test_a_recipient_is_ascii_where_it_can_be(recipient: str, shown: str) -> None:
    assert f"for <{shown}>;" in unfolded(replace(STAMP, recipient=parse_mailbox(recipient)))


@pytest.mark.rfc("3848 §1")
@pytest.mark.parametrize(
    ("tls", "authenticated", "smtputf8", "word"),
    [
        (False, False, False, "ESMTP"),
        (True, False, False, "ESMTPS"),
        (False, True, False, "ESMTPA"),
        (True, True, False, "ESMTPSA"),
        (False, False, True, "UTF8SMTP"),
        (True, False, True, "UTF8SMTPS"),
        (False, True, True, "UTF8SMTPA"),
        (True, True, True, "UTF8SMTPSA"),
    ],
)
def test_the_protocol_has_a_word(tls: bool, authenticated: bool, smtputf8: bool, word: str) -> None:
    assert protocol_word(tls=tls, authenticated=authenticated, smtputf8=smtputf8) == word
