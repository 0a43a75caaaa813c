"""Addresses of From and Sender.  Invariant: mailboxes, or `Malformed`, never anything else."""

from __future__ import annotations

import time
from email import message_from_bytes, policy
from email.headerregistry import AddressHeader

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import Malformed
from gatepost.message.headers import Field, parse_header
from gatepost.message.originator import LENGTH_LIMIT, MAILBOX_LIMIT, parse_originator
from gatepost.model.address import Mailbox, parse_mailbox


def field(value: bytes | str) -> Field:
    raw = value if isinstance(value, bytes) else value.encode()
    return parse_header(b"From: " + raw + b"\r\n").fields[0]


def addresses(value: bytes | str) -> list[str]:
    return [str(each) for each in parse_originator(field(value))]


TIM = ["tim@example.org"]

GOOD = [
    ("tim@example.org", TIM),
    ("<tim@example.org>", TIM),
    ("  < tim@example.org >  ", TIM),
    ("Tim Tester <tim@example.org>", TIM),
    ("Tim<tim@example.org>", TIM),
    ("Tim O. Tester <tim@example.org>", TIM),
    ("T.O.Tester <tim@example.org>", TIM),
    ("Tim.Tester.<tim@example.org>", TIM),
    ("Tim's Café <tim@example.org>", TIM),
    ("例子 <tim@example.org>", TIM),
    ('"Tester, Tim" <tim@example.org>', TIM),
    ('"Tim \\"the\\" Tester \\\\" <tim@example.org>', TIM),
    ('"ceo@bank.example" <tim@example.org>', TIM),
    ('"<ceo@bank.example>" <tim@example.org>', TIM),
    ('"" <tim@example.org>', TIM),
    ("=?utf-8?q?Tim=20Tester?= <tim@example.org>", TIM),
    ("=?utf-8?b?VGlt?= =?utf-8?b?VGlt?= <tim@example.org>", TIM),
    ("tim@example.org (Tim Tester)", TIM),
    ("tim@example.org (Tim <ceo@bank.example>)", TIM),
    ("(Tim) tim@example.org", TIM),
    ("(a,b) tim@example.org", TIM),
    ("Tim (a,b) <tim@example.org> (c:d)", TIM),
    ("Tim\r\n Tester\r\n\t<tim@example.org>", TIM),
    ('"Tim\r\n Tester" <tim@example.org>', TIM),
    ("Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", ["pete@silly.test"]),
    ("tim @ example.org", TIM),
    ('"tim"@example.org', TIM),
    ('"tim tester"@example.org', ['"tim tester"@example.org']),
    ('Tim <"tim@home"@example.org>', ['"tim@home"@example.org']),
    ("tim@[192.0.2.1]", ["tim@[192.0.2.1]"]),
    ("Tim <tim@[IPv6:2001:db8::1]>", ["tim@[IPv6:2001:db8::1]"]),
    ("用户@例子.测试", ["用户@例子.测试"]),
    ("tim@localhost", ["tim@localhost"]),
    ("a@x, b@y", ["a@x", "b@y"]),
    ('A <a@x>,b@y (B),\r\n "C, C" <c@z>', ["a@x", "b@y", "c@z"]),
    ("Friends: a@x, B <b@y>;", ["a@x", "b@y"]),
    ("Friends: a@x;, b@y", ["a@x", "b@y"]),
    (
        "A Group(Some people)\r\n :Chris Jones <c@public.example>, joe@example.org;",
        ["c@public.example", "joe@example.org"],
    ),
    ("undisclosed recipients: ;", []),
    ("(Empty list)(start)Hidden recipients  :(nobody(that I know))  ;", []),
    ('"Tim: Tester": tim@example.org;', TIM),
]


@pytest.mark.rfc("5322 §3.4")
@pytest.mark.parametrize(("value", "expected"), GOOD)
def test_addresses_of_the_grammar_are_found(value: str, expected: list[str]) -> None:
    assert addresses(value) == expected


# Python 3.11 falls over a name that ends with a dot.
@pytest.mark.parametrize(("value", "expected"), [each for each in GOOD if each[0].isascii() and ".<" not in each[0]])
def test_another_parser_finds_the_same_addresses(value: str, expected: list[str]) -> None:
    message = message_from_bytes(b"From: " + value.encode() + b"\r\n\r\n", policy=policy.SMTP)
    header = message["From"]
    assert isinstance(header, AddressHeader)
    assert [each.addr_spec.replace("[ipv6", "[IPv6") for each in header.addresses] == expected


BAD = [
    "",
    " ",
    "tim",
    "Tim Tester",
    "@",
    "<>",
    "Tim <>",
    "tim@",
    "@example.org",
    "a@x <b@y>",
    "a@x b@y",
    "Tim a@x <b@y>",
    "<a@x> <b@y>",
    "<a@x><b@y>",
    "<a@x> b@y",
    "Tim <a@x> Tester",
    "<a@x",
    "a@x>",
    "<<a@x>>",
    "<a@x <b@y>>",
    "Tim <Tim <a@x>>",
    "a@x, ",
    ", a@x",
    "a@x,, b@y",
    "a@x; b@y",
    "a@b@c",
    "<@a:b@x>",
    "<@a,@b:c@x>",
    "tim.@x",
    ".tim@x",
    "a..b@x",
    "tim . tester@x",
    "tim@a . b",
    "tim@a.(c) b",
    "tim@x.",
    "tim(<ceo@bank.example>)@example.org",
    "<tim(ceo@bank.example)@example.org>",
    "tim@(a, b)example.org",
    "tim@example.org (open",
    "tim@example.org (open\\)",
    "tim@example.org )",
    '"Tim <tim@x>',
    'Tim" <tim@x>',
    '"Tim\\" <tim@x>',
    '"a" "b"@x',
    '"a"b@x',
    'a"b"@x',
    "Tim \\< <tim@x>",
    "Tim [x] <tim@x>",
    "Tim, Tester <tim@x>",
    "Tim: Tester <tim@x>",
    "tim@[192.0.2.1",
    "tim@[x[y]]",
    "tim@ex_ample.org",
    "tim@-x",
    "tim@[192.0.2.999]",
    '"tim\ttester"@example.org',
    "group: a@x",
    "group: a@x; b@y",
    "group: inner: a@x;;",
    ": a@x;",
    "group: a@x,;",
    "group;",
    "a@x: b@y;",
    "=?utf-8?q?tim?=@example.org",
    "<=?utf-8?q?ceo=40bank.example=3e?=@example.org>",
    '"=?utf-8?q?tim?="@example.org',
    "Tim\x01 <tim@x>",
    "Tim\x7f <tim@x>",
    '"Tim\x0b" <tim@x>',
    "tim@x (\x08)",
    "Tim\u0085 <tim@x>",
    "Tim\u2028 <tim@x>",
    "tim@\u0378.example",
    "a" * 65 + "@x",
    "tim@" + "a" * 64 + ".example",
]


@pytest.mark.parametrize("value", BAD)
def test_what_can_be_read_in_two_ways_or_none_is_refused(value: str) -> None:
    with pytest.raises(Malformed) as refused:
        parse_originator(field(value))
    assert (refused.value.code, refused.value.enhanced) == (554, "5.6.0")
    assert "From" in refused.value.text
    assert refused.value.text.isascii()


@pytest.mark.rfc("6854 §2.1")
def test_a_group_may_stand_in_from_and_be_empty() -> None:
    assert parse_originator(field("Nobody:;")) == ()
    assert parse_originator(field("Tim: tim@example.org;")) == (parse_mailbox("tim@example.org"),)


@pytest.mark.rfc("2047 §5")
def test_an_encoded_word_is_a_name_and_never_an_address() -> None:
    assert addresses("=?utf-8?q?ceo=40bank.example?= <tim@example.org>") == TIM
    with pytest.raises(Malformed):
        addresses("=?utf-8?q?ceo=40bank.example=2c?=@example.org")


@pytest.mark.rfc("6532 §3.1")
@pytest.mark.parametrize("value", [b"Caf\xe9 <tim@example.org>", b"caf\xe9@example.org", b"\xed\xa0\x80 <tim@x>"])
def test_octets_that_are_not_utf_8_are_refused(value: bytes) -> None:
    with pytest.raises(Malformed, match="not UTF-8"):
        parse_originator(field(value))


@pytest.mark.parametrize("value", [b"Tim\0 <tim@x>", b"Tim\r <tim@x>", b"Tim\n <tim@x>"])
def test_nul_and_bare_ends_of_line_are_refused_even_if_the_scanner_let_them_pass(value: bytes) -> None:
    with pytest.raises(Malformed):
        parse_originator(Field(b"from", b"From: " + value + b"\r\n"))


def test_there_are_only_so_many_addresses() -> None:
    assert len(parse_originator(field(",".join(["a@x"] * MAILBOX_LIMIT)))) == MAILBOX_LIMIT
    with pytest.raises(Malformed, match="too many"):
        parse_originator(field(",".join(["a@x"] * (MAILBOX_LIMIT + 1))))


def test_a_field_is_only_so_long() -> None:
    with pytest.raises(Malformed, match="too long"):
        parse_originator(field("a" * LENGTH_LIMIT + " <tim@x>"))


def test_the_field_is_named_in_the_refusal() -> None:
    with pytest.raises(Malformed) as refused:
        parse_originator(parse_header(b"SENDER: nobody\r\n").fields[0])
    assert refused.value.text == "Syntax error in the Sender field"


def outcome(value: str) -> tuple[Mailbox, ...] | Malformed:
    try:
        return parse_originator(Field(b"from", b"From:" + value.encode(errors="replace") + b"\r\n"))
    except Malformed as refused:
        return refused


PIECES = [
    "tim",
    "@",
    "x.org",
    "<",
    ">",
    ",",
    ";",
    ":",
    "(",
    ")",
    '"',
    "\\",
    ".",
    " ",
    "\t",
    "[",
    "]",
    "é",
    "=?",
    "\x01",
]


@given(st.lists(st.sampled_from(PIECES)).map("".join) | st.text())
def test_any_text_is_addresses_or_malformed(value: str) -> None:
    mailboxes = outcome(value)
    if isinstance(mailboxes, Malformed):
        assert mailboxes.code == 554
        return
    assert all(isinstance(each, Mailbox) and parse_mailbox(str(each)) == each for each in mailboxes)
    # Nothing is found that is not there, once for each "@" outside of quotes and comments.
    assert len(mailboxes) <= value.count("@")


LOCALS = st.from_regex(r"[a-z0-9!#$%&'*+/=?^_`{|}~.\- \"\\é]{1,20}", fullmatch=True)
NAMES = st.text(st.characters(min_codepoint=32, max_codepoint=0x24FF, exclude_categories=("Cc", "Cs", "Zl", "Zp")))


@given(LOCALS.filter(lambda text: "=?" not in text), NAMES)
def test_a_mailbox_with_any_quoted_name_is_found(local: str, name: str) -> None:
    mailbox = Mailbox(local, "example.org")
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    assert parse_originator(field(f'"{quoted}" <{mailbox}>')) == (mailbox,)


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "a ",
        "a.",
        "(",
        "()",
        "(a,b)",
        "(\\",
        '"',
        '""',
        '"\\',
        "a@x,",
        "a@x",
        "<",
        "a<a@x>,",
        "g:a@x,",
        "g:;,",
        "[",
        "é",
    ],
)
def test_hostile_fields_cost_no_more_than_their_length(piece: str) -> None:
    value = piece * ((LENGTH_LIMIT - 20) // len(piece.encode()))
    start = time.process_time()
    for end in ("", "a@x", ";", ">"):
        try:
            parse_originator(field(value + end))
        except Malformed:
            continue
    assert time.process_time() - start < 2
