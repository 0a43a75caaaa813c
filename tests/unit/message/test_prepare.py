"""Examine and mend.  Invariant: a header section that is whole, or `Malformed`, never anything else."""

from __future__ import annotations

from email import message_from_bytes, policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import Malformed
from gatepost.message.date import is_date
from gatepost.message.headers import parse_header
from gatepost.message.prepare import RECEIVED_LIMIT, Examined, Prepared, examine, prepare
from gatepost.message.trace import Stamp, received
from gatepost.model.address import parse_mailbox

STAMP = Stamp("mail.example.org", "0abcdef123456", 1767225600.5, "ESMTPSA", "20260101.u-1")
NOW = b"Date: Thu, 1 Jan 2026 00:00:00 +0000\r\n"
TIM = parse_mailbox("tim@example.org")

FROM = b"From: Tim <tim@example.org>\r\n"
DATE = b"Date: Fri, 21 Nov 1997 09:55:06 -0600\r\n"
ID = b"Message-ID: <1234@local.machine.example>\r\n"
WHOLE = FROM + b"to : x@y\r\nX-Odd:  =?x?= \xc3\xa9 \r\n\tfolded\r\n" + DATE + b"Subject:\r\n" + ID


def mended(section: bytes) -> bytes:
    """Return what goes out below our Received."""
    prefix = prepare(examine(section), STAMP).prefix
    assert prefix.startswith(received(STAMP))
    return prefix.removeprefix(received(STAMP))


def test_a_whole_header_goes_out_byte_for_byte_below_our_received() -> None:
    assert mended(WHOLE + b"\r\n") == WHOLE + b"\r\n"


@pytest.mark.parametrize("section", [WHOLE + b"\r\n", WHOLE, WHOLE[:-2]], ids=["whole", "no empty line", "no end"])
def test_the_section_ends_with_one_empty_line(section: bytes) -> None:
    assert mended(section) == WHOLE + b"\r\n"


def outcome(section: bytes) -> Examined | Malformed:
    try:
        return examine(section)
    except Malformed as refused:
        return refused


def test_what_was_found_is_told() -> None:
    examined = examine(
        b"Received: a\r\nReceived : b\r\nSender: <tom@x>\r\nFrom: Tim <tim@example.org>, tom@x\r\n"
        + DATE
        + ID
        + b"\r\n"
    )
    assert examined.from_addresses == (TIM, parse_mailbox("tom@x"))
    assert examined.sender == parse_mailbox("tom@x")
    assert examined.message_id == "<1234@local.machine.example>"
    assert examined.has_date
    assert not examined.has_utf8
    assert examined.received_count == 2
    assert examined.header.count(b"from") == 1


def test_what_was_not_found_is_told() -> None:
    examined = examine(FROM)
    assert (examined.sender, examined.message_id, examined.has_date) == (None, None, False)
    assert examined.received_count == 0


@pytest.mark.rfc("6532 §3")
@pytest.mark.parametrize(
    "line", [b"Subject: caf\xc3\xa9\r\n", b"Subject: caf\xe9\r\n", b"From: Caf\xc3\xa9 <tim@x>\r\n"]
)
def test_octets_beyond_ascii_are_told_and_stay(line: bytes) -> None:
    section = (b"" if line.startswith(b"From") else FROM) + line + DATE + ID
    assert examine(section).has_utf8
    assert mended(section) == section + b"\r\n"


REFUSED = [
    ("no From", b"To: tim@example.org\r\n", "No From field"),
    ("empty section", b"\r\n", "No From field"),
    ("nothing", b"", "No From field"),
    ("two From", FROM + FROM, "More than one From field"),
    ("two From, one hidden", FROM + b"Subject: x\r\nfrom\t: ceo@bank.example\r\n", "More than one From field"),
    ("two Date", FROM + DATE + DATE, "More than one Date field"),
    ("two Message-ID", FROM + ID + b"message-id : <a@b>\r\n", "More than one Message-ID field"),
    ("two Sender", FROM + b"Sender: a@x\r\nSender: b@x\r\n", "More than one Sender field"),
    ("empty From", b"From:\r\n", "Syntax error in the From field"),
    ("From without address", b"From: Tim\r\n", "Syntax error in the From field"),
    ("empty group", b"From: Nobody:;\r\n", "No address in the From field"),
    ("several From, no Sender", b"From: a@x, b@y\r\n", "Several addresses in From need a Sender field"),
    ("group of several, no Sender", b"From: We: a@x, b@y;\r\n", "Several addresses in From need a Sender field"),
    ("empty Sender", FROM + b"Sender:\r\n", "Syntax error in the Sender field"),
    ("two addresses in Sender", FROM + b"Sender: a@x, b@y\r\n", "The Sender field must hold one address"),
    ("empty group in Sender", FROM + b"Sender: Nobody:;\r\n", "The Sender field must hold one address"),
    ("no field", FROM + b"This is no field\r\n", "A line of the header is not a header field"),
]


@pytest.mark.rfc("6409 §6.4")
@pytest.mark.parametrize(("section", "text"), [each[1:] for each in REFUSED], ids=[each[0] for each in REFUSED])
def test_a_header_that_cannot_be_sent_is_refused_in_plain_words(section: bytes, text: str) -> None:
    with pytest.raises(Malformed) as refused:
        examine(section)
    assert (refused.value.code, refused.value.enhanced, refused.value.text) == (554, "5.6.0", text)


@pytest.mark.rfc("5322 §3.6.2")
def test_several_from_addresses_are_fine_with_a_sender() -> None:
    assert examine(b"From: a@x, b@y\r\nSender: a@x\r\n").sender == parse_mailbox("a@x")


@pytest.mark.rfc("5321 §6.3")
def test_a_loop_is_refused_at_the_hundredth_received_field() -> None:
    hop = b"Received: from a by b; x\r\n"
    assert examine(hop * (RECEIVED_LIMIT - 1) + FROM).received_count == 99
    with pytest.raises(Malformed) as refused:
        examine(hop * RECEIVED_LIMIT + FROM)
    assert (refused.value.code, refused.value.enhanced) == (554, "5.4.6")
    assert refused.value.text == "Too many Received fields, is this a loop?"


# -- Date


@pytest.mark.rfc("6409 §8.2")
def test_a_missing_date_is_added() -> None:
    assert mended(FROM + ID) == FROM + ID + NOW + b"\r\n"


@pytest.mark.rfc("6409 §8.2")
@pytest.mark.parametrize(
    "value", [b"", b" yesterday", b" Fri, 31 Feb 2025 00:00:00 +0000", b" 2026-01-01", b" caf\xe9"]
)
def test_a_date_that_is_none_is_replaced(value: bytes) -> None:
    assert mended(FROM + b"DATE :" + value + b"\r\n" + ID) == FROM + ID + NOW + b"\r\n"


@pytest.mark.rfc("5322 §4.3")
@pytest.mark.parametrize("value", [b"21 Nov 97 09:55:06 EST", b"Fri, 21 Nov 1997\r\n 09:55 GMT (odd\r\n one)"])
def test_an_old_date_stays(value: bytes) -> None:
    section = FROM + b"Date: " + value + b"\r\n" + ID
    assert mended(section) == section + b"\r\n"


# -- Message-ID


@pytest.mark.rfc("6409 §8.3")
def test_a_missing_message_id_is_added_with_the_domain_of_from() -> None:
    prepared = prepare(examine(FROM + DATE), STAMP)
    assert prepared.message_id == "<20260101.u-1@example.org>"
    assert prepared.prefix.endswith(DATE + b"Message-ID: <20260101.u-1@example.org>\r\n\r\n")


@pytest.mark.parametrize(
    ("address", "domain"),
    [
        ("tim@Example.ORG", "example.org"),
        ("tim@bücher.example", "xn--bcher-kva.example"),
        ("tim@localhost", "mail.example.org"),
        ("tim@[192.0.2.1]", "mail.example.org"),
        ("tim@[IPv6:::1]", "mail.example.org"),
    ],
)
def test_the_domain_of_our_message_id_is_one_that_exists(address: str, domain: str) -> None:
    prepared = prepare(examine(f"From: {address}\r\n".encode() + DATE), STAMP)
    assert prepared.message_id == f"<20260101.u-1@{domain}>"


@pytest.mark.rfc("6409 §8.3")
@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" ",
        b" 1234",
        b" 1234@x",
        b" <1234>",
        b" <>",
        b" <@>",
        b" <a@>",
        b" <@x>",
        b" <a@b@c>",
        b" <a b@x>",
        b" <a@x y>",
        b" <a@x",
        b" a@x>",
        b" <<a@x>>",
        b" <a@x> <b@x>",
        b" <a@x>, <b@x>",
        b" <a@x> b",
        b" (open <a@x>",
        b" <a(x>",
        b" <a\x01@x>",
        b" <a\x7f@x>",
        b" <a\xe9@x>",
        b' <"a@x>',
        b" <" + b"a" * 1000 + b"@x>",
    ],
)
def test_a_message_id_that_is_none_is_replaced(value: bytes) -> None:
    section = FROM + b"Message-Id:" + value + b"\r\n" + DATE
    assert mended(section) == FROM + DATE + b"Message-ID: <20260101.u-1@example.org>\r\n\r\n"


@pytest.mark.rfc("5322 §3.6.4")
@pytest.mark.parametrize(
    ("value", "message_id"),
    [
        (b"<1234@x>", "<1234@x>"),
        (b"\r\n <1234@x>", "<1234@x>"),
        (b"<1234@x> (added by a gateway)", "<1234@x>"),
        (b"(first) <1234@x>", "<1234@x>"),
        (b"<!&!AAAA==@example.com>", "<!&!AAAA==@example.com>"),
        (b'<"quoted left"@x>', '<"quoted left"@x>'),
        (b"<a@[192.0.2.1]>", "<a@[192.0.2.1]>"),
        (b"<2026-01-01T00:00:00@x>", "<2026-01-01T00:00:00@x>"),
        (b"<caf\xc3\xa9@x>", "<café@x>"),
    ],
)
def test_a_message_id_stays_as_it_was_sent(value: bytes, message_id: str) -> None:
    section = FROM + b"Message-ID: " + value + b"\r\n" + DATE
    assert mended(section) == section + b"\r\n"
    assert prepare(examine(section), STAMP).message_id == message_id


# -- what nobody else may see


@pytest.mark.rfc("5322 §3.6.3")
@pytest.mark.parametrize(
    "hidden",
    [
        b"Bcc: secret@x\r\n",
        b"BCC : secret@x,\r\n\tsecret@y\r\n \r\n secret@z\r\n",
        b"bcc:\r\n",
        b"Bcc: secret@x\r\nbCC: secret@y\r\n",
        b"Resent-Bcc: secret@x\r\n",
        b"Return-Path: <secret@x>\r\n",
        b"Bcc: secret\xe9@x\r\n",
    ],
)
@pytest.mark.parametrize("place", ["first", "last"])
def test_bcc_and_return_path_are_removed_wherever_they_stand(hidden: bytes, place: str) -> None:
    section = hidden + WHOLE if place == "first" else WHOLE + hidden
    assert mended(section) == WHOLE + b"\r\n"


@pytest.mark.parametrize("line", [b"X-Bcc: x\r\n", b"Bcc-To: x\r\n", b"Subject: a\r\n Bcc: x\r\n"])
def test_what_only_looks_like_bcc_stays(line: bytes) -> None:
    assert mended(WHOLE.replace(b"Subject:\r\n", line)) == WHOLE.replace(b"Subject:\r\n", line) + b"\r\n"


# -- all together


def test_all_is_mended_at_once() -> None:
    section = b"Bcc: a@x\r\nDate: x\r\n" + FROM + b"Message-ID: x\r\nSubject: y\r\n"
    assert mended(section) == FROM + b"Subject: y\r\n" + NOW + b"Message-ID: <20260101.u-1@example.org>\r\n\r\n"


LINES = [
    FROM, DATE, ID, b"Bcc: a@x\r\n", b" folded\r\n", b"Sender: a@x\r\n", b"Date: x\r\n", b"Message-ID: x\r\n",
    b"Subject: caf\xe9\r\n", b"\r\n", b"x", b"From : b@y\r\n", b"Received: x\r\n", b"Return-Path: <>\r\n",
]  # fmt: skip


@given(st.lists(st.sampled_from(LINES)).map(b"".join) | st.binary())
def test_any_octets_are_mended_or_malformed(section: bytes) -> None:
    examined = outcome(section)
    if isinstance(examined, Malformed):
        assert examined.code == 554
        assert examined.text
        return
    prepared = prepare(examined, STAMP)
    assert isinstance(prepared, Prepared)
    header = parse_header(prepared.prefix)
    assert bytes(header) == prepared.prefix
    for name in (b"from", b"date", b"message-id"):
        assert header.count(name) == 1
    assert is_date(header.find(b"date")[0].value.decode())
    assert prepared.message_id.encode() in header.find(b"message-id")[0].value
    assert not any(header.count(name) for name in (b"bcc", b"resent-bcc", b"return-path"))
    assert header.count(b"received") == examined.received_count + 1
    assert header.fields[0].name == b"received"
    # Mending what is mended changes nothing.
    assert mended(prepared.prefix) == prepared.prefix


def test_another_parser_reads_what_we_wrote() -> None:
    message = message_from_bytes(prepare(examine(FROM), STAMP).prefix, policy=policy.SMTP)
    assert list(message.keys()) == ["Received", "From", "Date", "Message-ID"]
    assert not message.defects
    assert message["Date"].datetime.timestamp() == 1767225600
