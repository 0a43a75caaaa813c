"""What a route takes: each key of its match by itself, and all of them together."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import Malformed
from gatepost.model.address import parse_mailbox
from gatepost.model.envelope import Envelope, Recipient
from gatepost.relay.match import HeaderPattern, Match, TextPattern, parse_domain_pattern, sender_key

ANN = Recipient(parse_mailbox("ann@example.net"))
MAIL = Envelope(
    parse_mailbox("Tim@Example.org"),
    (ANN,),
    account="tim",
    credential="c1",
    label="printer",
    size_bytes=1000,
    fields=(("x-stream", ("Bulk-7", "second")), ("x-none", ())),
)


def header(name: str, *values: str) -> HeaderPattern:
    return HeaderPattern(name, tuple(map(TextPattern, values)))


@pytest.mark.parametrize(
    ("key", "match"),
    [
        ("accounts", Match(accounts=frozenset({"tim", "tom"}))),
        ("credentials", Match(credentials=frozenset({"c1"}))),
        ("credentials", Match(credentials=frozenset({"printer"}))),
        ("senders", Match(senders=frozenset({"tim@example.org"}))),
        (
            "senders",
            Match(senders=frozenset({"tim@example.org"}), sender_domains=(parse_domain_pattern("no.example"),)),
        ),
        ("senders", Match(senders=frozenset({"no@no.example"}), sender_domains=(parse_domain_pattern("example.org"),))),
        ("recipient_domains", Match(recipient_domains=(parse_domain_pattern("example.net"),))),
        ("size_over", Match(size_over=999)),
        ("size_up_to", Match(size_up_to=1000)),
        ("headers", Match(headers=(header("x-stream", "bulk-*"),))),
        ("headers", Match(headers=(header("x-stream", "no", "SECOND"), header("x-stream", "*7")))),
        ("logins", Match(login_domains=(parse_domain_pattern("example.org"),))),
    ],
)
def test_each_key_takes_what_it_names_and_nothing_else(key: str, match: Match) -> None:
    other = Envelope(
        parse_mailbox("else@example.com"),
        (ANN,),
        account="TIM",
        credential="c2",
        label="Printer",
        size_bytes=1001 if key == "size_up_to" else 999,
        fields=(("x-stream", ("bul-7",)), ("x-none", ())),
    )
    recipient = Recipient(parse_mailbox("ann@sub.example.net"))
    assert match.matches(MAIL, ANN)
    assert match.mismatch(MAIL, ANN) == ""
    assert not match.matches(other, recipient)
    assert match.mismatch(other, recipient) in (key, "sender_domains")


def test_a_field_that_is_not_there_has_no_value_at_all() -> None:
    assert not Match(headers=(header("x-none", "*"),)).matches(MAIL, ANN)
    assert not Match(headers=(header("x-unread", "*"),)).matches(MAIL, ANN)


def test_the_null_sender_is_taken_by_its_name_alone() -> None:
    null = replace(MAIL, reverse_path=None)
    assert Match(senders=frozenset({"<>"})).matches(null, ANN)
    assert not Match(senders=frozenset({"<>"})).matches(MAIL, ANN)
    assert not Match(senders=frozenset({"tim@example.org"})).matches(null, ANN)
    assert not Match(login_domains=(parse_domain_pattern("*"),)).matches(null, ANN)


def test_mail_of_our_own_is_of_no_account_and_no_credential() -> None:
    ours = Envelope(None, (ANN,))
    assert not Match(accounts=frozenset({"tim"})).matches(ours, ANN)
    assert not Match(credentials=frozenset({"c1"})).matches(ours, ANN)
    assert Match().matches(ours, ANN)


@pytest.mark.parametrize(
    ("text", "key"),
    [("Tim@Example.ORG", "tim@example.org"), ("tim@bücher.example", "tim@xn--bcher-kva.example"), ("<>", "<>")],
)
def test_senders_are_compared_in_one_form(text: str, key: str) -> None:
    assert sender_key(text) == key


@pytest.mark.parametrize("text", ["", "tim", "@example.org", "<tim@example.org>", "tim@"])
def test_what_is_no_sender_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        sender_key(text)


@given(st.text("ab*", max_size=8), st.text("abA*\n", max_size=12))
def test_a_text_pattern_is_a_regular_expression_with_stars(pattern: str, value: str) -> None:
    as_regex = ".*".join(map(re.escape, pattern.split("*")))
    expected = re.fullmatch(as_regex, value, re.DOTALL | re.IGNORECASE) is not None
    assert TextPattern(pattern).matches(value) is expected


def test_a_text_pattern_takes_no_longer_for_a_hostile_value() -> None:
    pattern = TextPattern("*a" * 20 + "b")
    began = time.process_time()
    assert not pattern.matches("a" * 998)
    assert time.process_time() - began < 1
