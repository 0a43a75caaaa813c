"""Addresses as they stand in MAIL and RCPT.  Invariant: a mailbox, or `Malformed`, never anything else."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import Malformed
from gatepost.model.address import (
    Mailbox,
    ascii_domain,
    is_qualified,
    parse_domain,
    parse_forward_path,
    parse_mailbox,
    parse_reverse_path,
)

LABEL_63 = "a" * 63
DOMAIN_255 = ".".join([LABEL_63, LABEL_63, LABEL_63, LABEL_63])

GOOD = {
    "tim@example.org": ("tim", "example.org"),
    "TIM@Example.ORG": ("TIM", "Example.ORG"),
    "tim.o.tester@example.org": ("tim.o.tester", "example.org"),
    "!#$%&'*+-/=?^_`{|}~@example.org": ("!#$%&'*+-/=?^_`{|}~", "example.org"),
    "tim+news@a-b.example": ("tim+news", "a-b.example"),
    "tim@localhost": ("tim", "localhost"),
    "1@2.3": ("1", "2.3"),
    '"tim"@example.org': ("tim", "example.org"),
    '""@example.org': ("", "example.org"),
    '"tim tester"@example.org': ("tim tester", "example.org"),
    '"tim@home"@example.org': ("tim@home", "example.org"),
    r'"a\"b\\c"@example.org': (r"a\"b\\c".replace(r"\"", '"').replace(r"\\", "\\"), "example.org"),
    r'"\t\i\m"@example.org': ("tim", "example.org"),
    '".."@example.org': ("..", "example.org"),
    "tim@[192.0.2.1]": ("tim", "[192.0.2.1]"),
    "tim@[IPv6:2001:db8::1]": ("tim", "[IPv6:2001:db8::1]"),
    "tim@[ipv6:::1]": ("tim", "[ipv6:::1]"),
    "用户@例子.测试": ("用户", "例子.测试"),
    "tim@bücher.example": ("tim", "bücher.example"),
    "tim@xn--bcher-kva.example": ("tim", "xn--bcher-kva.example"),
    '"用 户"@example.org': ("用 户", "example.org"),
    "a" * 64 + "@example.org": ("a" * 64, "example.org"),
    f"tim@{LABEL_63}.example": ("tim", f"{LABEL_63}.example"),
}

BAD = [
    "",
    "tim",
    "@",
    "tim@",
    "@example.org",
    "tim@@example.org",
    "tim@a@b",
    ".tim@example.org",
    "tim.@example.org",
    "tim..tester@example.org",
    "tim tester@example.org",
    " tim@example.org",
    "tim@example.org ",
    "tim@ example.org",
    "<tim@example.org>",
    "tim(comment)@example.org",
    "tim,tom@example.org",
    "tim@example.org\r\n",
    "tim@example.org\n",
    "ti\0m@example.org",
    "ti\x7fm@example.org",
    "ti\x85m@example.org",
    "ti\u2028m@example.org",
    "ti\udc80m@example.org",
    "tim@ex\udc80mple.org",
    '"tim@example.org',
    'tim"@example.org',
    'a"b"@example.org',
    '"a"b@example.org',
    '"a"."b"@example.org',
    '"a\tb"@example.org',
    '"a\0b"@example.org',
    '"a\r\nb"@example.org',
    '"a\\\r"@example.org',
    '"a\x85b"@example.org',
    '"a"b"@example.org',
    '"a\\"@example.org',
    "tim@.example.org",
    "tim@example.org.",
    "tim@example..org",
    "tim@-example.org",
    "tim@example-.org",
    "tim@ex_ample.org",
    "tim@[192.0.2.1",
    "tim@192.0.2.1]",
    "tim@[192.0.2.256]",
    "tim@[192.0.2]",
    "tim@[]",
    "tim@[example.org]",
    "tim@[2001:db8::1]",
    "tim@[IPv6:192.0.2.1]",
    "tim@[IPv6:fe80::1%eth0]",
    "tim@[IPv6:]",
    "tim@[x:y]",
    "tim@[192.0.2.1]x",
    "a" * 65 + "@example.org",
    "é" * 33 + "@example.org",
    f"tim@{'a' * 64}.example",
    f"tim@{DOMAIN_255}",
    f"{'a' * 64}@{LABEL_63}.{LABEL_63}.{LABEL_63}.xy",
    "tim@example.org。",
    "tim@☃☃☃\u200d.example",
    "tim@\u0378.example",
    "tim@xn--bücher.example",
    "tim@" + "ü" * 63 + ".example",
]


@pytest.mark.rfc("5321 §4.1.2")
@pytest.mark.parametrize("text", GOOD)
def test_an_address_of_the_grammar_is_parsed(text: str) -> None:
    mailbox = parse_mailbox(text)
    assert (mailbox.local, mailbox.domain) == GOOD[text]


@pytest.mark.rfc("5321 §4.1.2")
@pytest.mark.parametrize("text", BAD)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        parse_mailbox(text)


@pytest.mark.rfc("5321 §4.5.3.1")
def test_lengths_are_counted_in_octets() -> None:
    assert parse_mailbox("é" * 32 + "@example.org").local == "é" * 32
    longest = f"{'a' * 64}@{LABEL_63}.{LABEL_63}.{LABEL_63[:61]}"
    assert len(longest) == 254
    assert str(parse_mailbox(longest)) == longest
    with pytest.raises(Malformed):
        parse_mailbox(longest + "a")


@pytest.mark.rfc("5321 §4.5.3.1.2")
def test_a_domain_has_at_most_255_octets() -> None:
    assert parse_domain(DOMAIN_255) == DOMAIN_255
    with pytest.raises(Malformed):
        parse_domain(f"a.{DOMAIN_255}")


@pytest.mark.rfc("5321 §4.1.3")
@pytest.mark.parametrize("text", ["[192.0.2.1]", "[IPv6:::ffff:192.0.2.1]"])
def test_a_literal_is_a_domain(text: str) -> None:
    assert parse_domain(text) == text


@pytest.mark.parametrize("text", ["[", "[]", "[192.0.2.1", "[192.0.2.1)", "[IPv6:::1", "", ".", "a b", "a.\udc80"])
def test_what_is_no_domain_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        parse_domain(text)


# -- printing and parsing are a pair

LOCAL = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_categories=("Cc", "Cs", "Zl", "Zp")))
DOMAINS = st.sampled_from(["example.org", "localhost", "[192.0.2.1]", "[IPv6:::1]", "bücher.example", "例子.测试"])


@given(LOCAL.filter(lambda text: len(text.encode()) <= 64), DOMAINS)
def test_what_is_printed_parses_to_the_same_mailbox(local: str, domain: str) -> None:
    mailbox = Mailbox(local, domain)
    assert parse_mailbox(str(mailbox)) == mailbox


@given(st.text() | st.text('ab."\\@[]<>:, é\udc80\r\n') | st.from_regex(r".*@[a-zü.。-]*", fullmatch=True))
def test_any_text_is_a_mailbox_or_malformed(text: str) -> None:
    for parse in (parse_mailbox, parse_reverse_path, lambda it: parse_forward_path(it, "mx.example"), parse_domain):
        with contextlib.suppress(Malformed):
            parse(text)
    with contextlib.suppress(Malformed):
        mailbox = parse_mailbox(text)
        assert parse_mailbox(str(mailbox)) == mailbox
        assert "\n" not in str(mailbox)


@pytest.mark.parametrize("text", ["tim@example.org", '"tim tester"@example.org', '"a\\"b\\\\"@x', '"."@x', "é@x"])
def test_a_local_part_is_quoted_only_where_it_must_be(text: str) -> None:
    assert str(parse_mailbox(text)) == text


def test_needless_quotes_are_dropped() -> None:
    assert str(parse_mailbox('"tim"@example.org')) == "tim@example.org"


# -- what is the same address


@pytest.mark.rfc("5891 §4")
def test_u_label_and_a_label_are_the_same_domain() -> None:
    one, other = parse_mailbox("tim@BÜCHER.example"), parse_mailbox("tim@xn--bcher-kva.EXAMPLE")
    assert one == other
    assert hash(one) == hash(other)
    assert one.ascii_domain == "xn--bcher-kva.example"


@pytest.mark.rfc("5321 §2.4")
def test_the_case_of_a_local_part_matters_and_that_of_a_domain_does_not() -> None:
    assert parse_mailbox("tim@EXAMPLE.org") == parse_mailbox("tim@example.ORG")
    assert parse_mailbox("tim@example.org") != parse_mailbox("Tim@example.org")
    assert parse_mailbox("tim@example.org") != parse_mailbox("tim@example.net")


def test_a_mailbox_is_no_text() -> None:
    assert parse_mailbox("tim@example.org") != "tim@example.org"


def test_a_domain_that_idna_forbids_is_malformed() -> None:
    with pytest.raises(Malformed, match="IDNA"):
        ascii_domain("☃☃☃\u200d.example")


@pytest.mark.rfc("6531 §3.2")
@pytest.mark.parametrize(
    ("text", "is_ascii", "shown"),
    [
        ("tim@example.org", True, "tim@example.org"),
        ("tim@[IPv6:::1]", True, "tim@[IPv6:::1]"),
        ("tim@bücher.example", False, "tim@xn--bcher-kva.example"),
        ("tîm@bücher.example", False, "tîm@bücher.example"),
        ("tîm@example.org", False, "tîm@example.org"),
    ],
)
def test_a_mailbox_knows_whether_it_is_ascii_and_can_be_made_so(text: str, is_ascii: bool, shown: str) -> None:
    mailbox = parse_mailbox(text)
    assert mailbox.is_ascii is is_ascii
    assert str(mailbox.in_ascii()) == shown
    assert mailbox.in_ascii() == mailbox


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tim+news@x", "tim@x"),
        ("tim+a+b@x", "tim@x"),
        ("tim@x", "tim@x"),
        ("+news@x", "+news@x"),
        ("tim-a@x", "tim-a@x"),
    ],
)
def test_a_detail_is_taken_off(text: str, expected: str) -> None:
    assert str(parse_mailbox(text).without_detail("+")) == expected


@pytest.mark.rfc("6409 §4.2")
@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("example.org", True),
        ("1.example", True),
        ("[192.0.2.1]", True),
        ("[IPv6:::1]", True),
        ("localhost", False),
        ("例子", False),
        ("192.0.2.1", False),
        ("example.1", False),
    ],
)
def test_a_qualified_domain_has_a_dot_and_a_name_at_its_end_or_is_a_literal(domain: str, expected: bool) -> None:
    assert is_qualified(domain) is expected


# -- paths


@pytest.mark.rfc("5321 §4.5.5")
def test_an_empty_reverse_path_is_the_null_path() -> None:
    assert parse_reverse_path("") is None
    assert parse_reverse_path("tim@example.org") == parse_mailbox("tim@example.org")


@pytest.mark.rfc("5321 §4.1.2")
@pytest.mark.parametrize("route", ["@a:", "@a.example,@b.example:", "@a,@b,@c:"])
def test_a_source_route_is_accepted_and_ignored(route: str) -> None:
    assert parse_reverse_path(f"{route}tim@example.org") == parse_mailbox("tim@example.org")
    assert parse_forward_path(f"{route}tim@example.org", "mx.example") == parse_mailbox("tim@example.org")


@pytest.mark.parametrize("path", ["@a", "@a:", "@:tim@x", "@a,:tim@x", "@a,b:tim@x", "@a :tim@x", "@[192.0.2.1]:tim@x"])
def test_a_bad_source_route_is_refused(path: str) -> None:
    with pytest.raises(Malformed):
        parse_reverse_path(path)


@pytest.mark.rfc("5321 §4.1.1.3")
@pytest.mark.parametrize("name", ["postmaster", "Postmaster", "POSTMASTER"])
def test_a_bare_postmaster_is_ours(name: str) -> None:
    assert parse_forward_path(name, "mx.example") == Mailbox(name, "mx.example")


@pytest.mark.parametrize("path", ["", "tim", "postmaster ", "hostmaster"])
def test_nobody_else_is_a_recipient_without_a_domain(path: str) -> None:
    with pytest.raises(Malformed):
        parse_forward_path(path, "mx.example")


def test_a_bare_postmaster_is_no_sender() -> None:
    with pytest.raises(Malformed):
        parse_reverse_path("postmaster")
