"""Notifications, read back by another parser; strangers' texts do no harm in them."""

from __future__ import annotations

from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage, Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.message.convert import to_seven_bit
from gatepost.message.dsn import CONTENT_LIMIT, Action, RecipientReport, Report, compose
from gatepost.message.headers import parse_header
from gatepost.model.address import parse_mailbox

HEADER = (
    b"Received: from authenticated-user by mail.example.org; x\r\n"
    b"Message-ID: <1234@example.org>\r\nFrom: tim@example.org\r\nSubject: Hello\r\n\r\n"
)
NOBODY = RecipientReport(
    parse_mailbox("nobody@example.net"),
    Action.FAILED,
    "5.1.1",
    "550 5.1.1 No such user",
    remote_mta="mx.example.net",
    last_attempt=1767225660,
)
LATE = RecipientReport(
    parse_mailbox("late@example.com"), Action.FAILED, "4.4.7", "451 4.4.1 Connection refused", is_remote=False
)
REPORT = Report("mail.example.org", parse_mailbox("tim@example.org"), 1767225600, 1767225700, "u-1", (NOBODY, LATE))


def read(content: bytes) -> EmailMessage:
    assert content.count(b"\n") == content.count(b"\r") == content.count(b"\r\n")
    assert max(map(len, content.split(b"\r\n"))) <= 998
    assert content.endswith(b"\r\n")
    message = message_from_bytes(content, policy=policy.SMTP)
    assert isinstance(message, EmailMessage)
    assert not any(part.defects for part in message.walk())
    return message


def parts(content: bytes) -> tuple[Message, Message, Message]:
    first, second, third = read(content).get_payload()
    return first, second, third


def groups(content: bytes) -> list[dict[str, str]]:
    """Return the groups of fields of the status part."""
    status = parts(content)[1]
    blocks = content.split(f"Content-Type: {status.get_content_type()}".encode())[1].split(b"\r\n\r\n--=_")[0]
    texts = blocks.split(b"\r\n\r\n")[1:]
    found = []
    for text in texts:
        fields = parse_header(text).fields
        assert len({field.name for field in fields}) == len(fields)
        found.append({field.name.decode(): field.value.decode() for field in fields})
    return found


@pytest.mark.rfc("3464 §2")
def test_a_bounce_is_a_report_that_another_parser_understands() -> None:
    content = compose(REPORT, HEADER)
    message = read(content)
    assert content.isascii()
    assert message["From"] == "Mail Delivery System <MAILER-DAEMON@mail.example.org>"
    assert message["To"].addresses[0].addr_spec == "tim@example.org"
    assert message["Subject"] == "Your message could not be delivered"
    assert message["Date"].datetime.timestamp() == 1767225700
    assert message["Message-ID"] == "<u-1@mail.example.org>"
    assert message["MIME-Version"] == "1.0"
    assert message.get_content_type() == "multipart/report"
    assert message["Content-Type"].params["report-type"] == "delivery-status"
    assert message["Content-Transfer-Encoding"] == "7bit"
    assert [part.get_content_type() for part in parts(content)] == [
        "text/plain",
        "message/delivery-status",
        "text/rfc822-headers",
    ]


@pytest.mark.rfc("3464 §2.1")
def test_the_status_has_a_group_for_the_message_and_one_for_each_recipient() -> None:
    content = compose(REPORT, HEADER)
    status = parts(content)[1]
    assert [list(group.items()) for group in status.get_payload()] == [
        [("Reporting-MTA", "dns; mail.example.org"), ("Arrival-Date", "Thu, 1 Jan 2026 00:00:00 +0000")],
        [
            ("Final-Recipient", "rfc822; nobody@example.net"),
            ("Action", "failed"),
            ("Status", "5.1.1"),
            ("Remote-MTA", "dns; mx.example.net"),
            ("Diagnostic-Code", "smtp; 550 5.1.1 No such user"),
            ("Last-Attempt-Date", "Thu, 1 Jan 2026 00:01:00 +0000"),
        ],
        [
            ("Final-Recipient", "rfc822; late@example.com"),
            ("Action", "failed"),
            ("Status", "4.4.7"),
            ("Diagnostic-Code", "x-gatepost; 451 4.4.1 Connection refused"),
        ],
    ]


def test_people_are_told_first_in_plain_words() -> None:
    words = parts(compose(REPORT, HEADER))[0].get_payload(decode=True)
    assert words == (
        b"This is the mail server mail.example.org, about your message of Thu, 1\r\nJan 2026 00:00:00 +0000.\r\n\r\n"
        b"Your message could not be delivered to these recipients, and will not be\r\ntried again:\r\n\r\n"
        b"<nobody@example.net>\r\n    mx.example.net said: 550 5.1.1 No such user\r\n"
        b"    Look whether the address is written correctly, and send your message\r\n    again.\r\n\r\n"
        b"<late@example.com>\r\n    451 4.4.1 Connection refused\r\n"
        b"    Send it again later, or reach them in another way.\r\n\r\n"
        b"The details for mail programs and postmasters, and what you sent, are attached.\r\n"
    )


def test_a_recipient_without_a_diagnostic_is_named_alone() -> None:
    each = replace(NOBODY, action=Action.DELAYED, diagnostic="")
    content = compose(replace(REPORT, recipients=(each,)), HEADER)
    assert b"\r\n\r\n<nobody@example.net>\r\n\r\nThe details" in content
    assert "diagnostic-code" not in groups(content)[1]


@pytest.mark.rfc("3834 §5")
def test_no_program_shall_answer_it() -> None:
    assert read(compose(REPORT, HEADER))["Auto-Submitted"] == "auto-replied"


@pytest.mark.rfc("3834 §3.1.6")
def test_it_refers_to_the_message_it_is_about() -> None:
    message = read(compose(REPORT, HEADER))
    assert message["In-Reply-To"] == message["References"] == "<1234@example.org>"


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\r\n",
        b"Subject: x\r\n\r\n",
        b"Message-ID: x\r\n",
        b"Message-ID: <a>\r\n b: c\r\n",
        b"X-Message-ID: <a@b>\r\n",
    ],
)
def test_it_refers_to_nothing_where_there_is_nothing(header: bytes) -> None:
    message = read(compose(REPORT, header))
    assert "In-Reply-To" not in message
    assert "References" not in message


# -- other actions


@pytest.mark.rfc("3464 §2.3.3")
@pytest.mark.parametrize(
    ("action", "subject", "status"),
    [
        (Action.FAILED, "Your message could not be delivered", "5.0.0"),
        (Action.DELAYED, "Your message is delayed", "4.0.0"),
        (Action.DELIVERED, "Your message was delivered", "2.0.0"),
        (Action.RELAYED, "Your message was passed on", "2.0.0"),
        (Action.EXPANDED, "Your message was delivered to a list", "2.0.0"),
    ],
)
@pytest.mark.parametrize("given_status", ["", "5", "5.1.1\r\nX: y", "3.0.0", "5.\u0661.1"])
def test_each_action_has_its_words_and_a_status_that_fits(
    action: Action, subject: str, status: str, given_status: str
) -> None:
    each = RecipientReport(NOBODY.final_recipient, action, given_status)
    content = compose(replace(REPORT, recipients=(each,)), HEADER)
    assert read(content)["Subject"] == subject
    assert groups(content)[1] == {
        "final-recipient": "rfc822; nobody@example.net",
        "action": action.value,
        "status": status,
    }


def test_the_worst_action_gives_the_subject_and_each_has_its_own_words() -> None:
    good = RecipientReport(parse_mailbox("good@example.net"), Action.DELIVERED, "2.0.0")
    content = compose(replace(REPORT, recipients=(good, NOBODY)), HEADER)
    assert read(content)["Subject"] == "Your message could not be delivered"
    words = parts(content)[0].get_payload(decode=True)
    assert isinstance(words, bytes)
    assert words.index(b"could not be delivered") < words.index(b"<nobody@") < words.index(b"was delivered")
    assert words.index(b"was delivered") < words.index(b"<good@")


@pytest.mark.rfc("3464 §2.3.8")
@pytest.mark.parametrize("action", Action)
def test_only_a_delay_says_how_long_we_go_on(action: Action) -> None:
    each = replace(NOBODY, action=action, will_retry_until=1767312000)
    expected = "Fri, 2 Jan 2026 00:00:00 +0000" if action is Action.DELAYED else None
    assert groups(compose(replace(REPORT, recipients=(each,)), HEADER))[1].get("will-retry-until") == expected


@pytest.mark.rfc("3464 §2.3.4")
@pytest.mark.parametrize(
    ("action", "given_status", "status"),
    [
        (Action.FAILED, "4.4.7", "4.4.7"),
        (Action.FAILED, "2.0.0", "5.0.0"),
        (Action.DELAYED, "5.7.8", "4.7.8"),
        (Action.RELAYED, "2.6.0", "2.6.0"),
        (Action.DELIVERED, "4.1.5", "2.1.5"),
    ],
)
def test_the_class_of_the_status_fits_the_action(action: Action, given_status: str, status: str) -> None:
    each = replace(NOBODY, action=action, status=given_status)
    assert groups(compose(replace(REPORT, recipients=(each,)), HEADER))[1]["status"] == status


def test_whoever_waits_hears_how_long_it_is_tried() -> None:
    each = replace(NOBODY, action=Action.DELAYED, will_retry_until=1767312000)
    content = compose(replace(REPORT, recipients=(each,)), HEADER)
    words = parts(content)[0].get_payload(decode=True)
    assert isinstance(words, bytes)
    assert b"tried again until Fri, 2 Jan 2026 00:00:00 +0000," in words.replace(b"\r\n", b" ")
    assert b"Look whether" not in words, "there is nothing to do yet"


@pytest.mark.rfc("3461 §6.3")
def test_what_the_sender_gave_comes_back_to_the_last_space() -> None:
    given = "x  " * 33 + "y"
    report = replace(REPORT, envelope_id=given, recipients=(replace(NOBODY, original_recipient=f"x400; {given}"),))
    content = compose(report, HEADER)
    assert f"\r\nOriginal-Envelope-Id: {given}\r\n".encode() in content
    assert f"\r\nOriginal-Recipient: x400; {given}\r\n".encode() in content


@pytest.mark.rfc("3464 §2.2.1")
def test_what_the_sender_asked_to_be_told_by_comes_back() -> None:
    each = replace(NOBODY, original_recipient="rfc822;old@example.net")
    content = compose(replace(REPORT, envelope_id="QQ314159", recipients=(each,)), HEADER)
    about_message, about_recipient = groups(content)
    assert about_message["original-envelope-id"] == "QQ314159"
    assert about_recipient["original-recipient"] == "rfc822;old@example.net"


# -- beyond ASCII


@pytest.mark.rfc("6533 §3")
@pytest.mark.parametrize(
    "each",
    [
        replace(NOBODY, final_recipient=parse_mailbox("用户@例子.测试")),
        replace(NOBODY, original_recipient="utf-8;用户@例子.测试"),
    ],
    ids=["final", "original"],
)
def test_addresses_in_utf_8_take_the_global_form(each: RecipientReport) -> None:
    content = compose(replace(REPORT, recipients=(each,)), HEADER)
    message = read(content)
    assert message["Content-Transfer-Encoding"] == "8bit"
    assert parts(content)[0].get_content_charset() == "utf-8"
    assert parts(content)[1].get_content_type() == "message/global-delivery-status"
    fields = groups(content)[1]
    if each.original_recipient:
        assert fields["original-recipient"] == "utf-8;用户@例子.测试"
        assert fields["final-recipient"] == "rfc822; nobody@example.net"
    else:
        assert fields["final-recipient"] == "utf-8; 用户@例子.测试"
    converted = to_seven_bit(content)
    assert converted.isascii()


@pytest.mark.parametrize(
    ("address", "shown"),
    [("tim@bücher.example", b"To: <tim@xn--bcher-kva.example>\r\n"), ("tîm@x", "To: <tîm@x>\r\n".encode())],
)
def test_the_sender_is_written_in_ascii_where_it_can_be(address: str, shown: bytes) -> None:
    assert shown in compose(replace(REPORT, reverse_path=parse_mailbox(address)), HEADER)


@pytest.mark.rfc("6533 §4")
def test_a_header_in_utf_8_takes_a_global_type() -> None:
    header = HEADER.replace(b"Hello", "Café".encode())
    headers_only, whole = compose(REPORT, header), compose(REPORT, header, header + b"body\r\n")
    assert parts(headers_only)[2].get_content_type() == "message/global-headers"
    assert parts(whole)[2].get_content_type() == "message/global"
    for content in (headers_only, whole):
        assert "Subject: Café\r\n".encode() in content
        assert parts(content)[2]["Content-Transfer-Encoding"] == "8bit"
        assert parts(content)[1].get_content_type() == "message/delivery-status"


def test_a_header_that_is_neither_ascii_nor_utf_8_is_blotted_out_and_the_body_kept_back() -> None:
    header = HEADER.replace(b"Hello", b"Caf\xe9")
    content = compose(REPORT, header, header + b"body\r\n")
    assert content.isascii()
    assert b"Subject: Caf?\r\n" in content
    assert b"body\r\n" not in content


# -- what comes back


@pytest.mark.rfc("6522 §3")
def test_only_the_header_is_returned_unless_the_content_is_given() -> None:
    third = parts(compose(REPORT, HEADER))[2]
    assert third.get_content_type() == "text/rfc822-headers"
    assert third.get_payload(decode=True) == HEADER[:-2]


def test_a_short_message_is_returned_whole() -> None:
    third = parts(compose(REPORT, HEADER, HEADER + b"body\r\n"))[2]
    assert third.get_content_type() == "message/rfc822"
    (original,) = third.get_payload()
    assert original["Subject"] == "Hello"
    assert original.get_content() == "body\r\n"


def test_an_8bit_message_is_returned_as_8bit() -> None:
    content = compose(REPORT, HEADER, HEADER + "Café\r\n".encode())
    assert read(content)["Content-Transfer-Encoding"] == "8bit"
    assert parts(content)[2]["Content-Transfer-Encoding"] == "8bit"
    assert to_seven_bit(content).isascii()


@pytest.mark.parametrize(
    "body",
    [b"x" * 76 + b"\r\n", b"x" * 999 + b"\r\n", b"NUL \0\r\n"],
    ids=["long message", "long line", "NUL"],
)
def test_of_a_message_that_is_too_long_or_cannot_be_sent_only_the_header_is_returned(body: bytes) -> None:
    count = CONTENT_LIMIT // len(body) + 1 if len(body) == 78 else 1
    content = compose(REPORT, HEADER, HEADER + body * count)
    assert parts(content)[2].get_content_type() == "text/rfc822-headers"
    assert body not in content


@pytest.mark.rfc("6152 §3")
@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Type: multipart/signed; boundary=b\r\n",
        b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n",
        b"Content-Type: multipart/mixed\r\n",
    ],
)
def test_a_report_can_always_be_made_7_bit(fields: bytes) -> None:
    header = fields + HEADER
    content = compose(REPORT, header, header + "--b\r\n\r\ngrüße\r\n--b--\r\n".encode())
    converted = to_seven_bit(content)
    assert converted.isascii()
    assert parts(converted)[2].get_content_type() == "text/rfc822-headers"
    assert b"Subject: Hello" in converted


def test_the_longest_message_that_is_returned_whole() -> None:
    content = HEADER + b"x\r\n" * ((CONTENT_LIMIT - len(HEADER)) // 3)
    content += b"\r\n" * ((CONTENT_LIMIT - len(content)) // 2)
    assert len(content) in (CONTENT_LIMIT, CONTENT_LIMIT - 1)
    assert parts(compose(REPORT, HEADER, content))[2].get_content_type() == "message/rfc822"


@pytest.mark.parametrize("letter", ["x", "é", "€", "😀"])
def test_long_lines_of_a_header_are_folded(letter: str) -> None:
    content = compose(REPORT, HEADER[:-2] + b"X-Long: " + (letter * 5000).encode() + b"\r\nX-Last: y\r\n\r\n")
    read(content)
    assert content.decode().count(letter) >= 5000
    assert b"X-Last: y\r\n" in content


def test_a_huge_header_is_cut_after_a_line() -> None:
    content = compose(REPORT, HEADER[:-2] + b"X-Many: abc\r\n" * 10_000 + b"\r\n")
    assert len(content) < 40_000
    assert b"X-Many: abc\r\n\r\n--=_u-1--\r\n" in content
    assert b"Subject: Hello\r\n" in content


def test_a_header_of_one_huge_line_is_left_out() -> None:
    assert b"xxxx" not in compose(REPORT, b"X: " + b"x" * 100_000 + b"\r\n\r\n")


def test_the_boundary_stands_nowhere_else() -> None:
    content = compose(REPORT, HEADER, HEADER + b"--=_u-1\r\n--=_u-1_--\r\n")
    assert read(content)["Content-Type"].params["boundary"] == "=_u-1__"
    assert len(parts(content)) == 3


# -- strangers' texts


@pytest.mark.parametrize(
    "said",
    [
        "550 no\r\nBcc: victim@example.net\r\n\r\nbody",
        "550 no\nAction: delivered",
        "550 no\rAction: delivered",
        "550 \0\x1b[2J\x7f\x85",
        "550 né \u2028 😀 \udc80",
        "550 " + "word " * 10_000,
        "550 " + "x" * 10_000,
        "550 --=_u-1--",
        "550 " + "\t" * 200 + "x",
    ],
)
@pytest.mark.parametrize("place", ["diagnostic", "remote_mta", "original_recipient", "envelope_id"])
def test_a_hostile_text_stays_in_its_field(said: str, place: str) -> None:
    report = replace(REPORT, recipients=(replace(NOBODY, **{place: said}) if place != "envelope_id" else NOBODY,))  # type: ignore[arg-type]
    if place == "envelope_id":
        report = replace(report, envelope_id=said)
    content = compose(report, HEADER)
    if place != "original_recipient":
        assert content.isascii()
    read(content)
    assert len(content) < 10_000
    about_message, about_recipient = groups(content)
    assert set(about_message) <= {"original-envelope-id", "reporting-mta", "arrival-date"}
    assert about_recipient["action"] == "failed"
    assert about_recipient["status"] == "5.1.1"


def test_a_diagnostic_is_folded_between_its_words_and_cut() -> None:
    said = "550 " + " ".join(f"word{number}" for number in range(1000))
    content = compose(replace(REPORT, recipients=(replace(NOBODY, diagnostic=said),)), HEADER)
    code = groups(content)[1]["diagnostic-code"]
    assert code.startswith("smtp; 550 word0 word1 word2 ")
    assert code.endswith("[...]")
    assert len(code) < 1000


TEXTS = st.text() | st.text("\r\n\t :;<>=-_u1é\0\udc80")


@given(TEXTS, TEXTS, TEXTS, TEXTS, TEXTS, st.binary() | st.just(HEADER), st.none() | st.binary())
def test_any_texts_make_a_report(
    said: str, host: str, original: str, envelope_id: str, status: str, header: bytes, content: bytes | None
) -> None:
    each = replace(NOBODY, diagnostic=said, remote_mta=host, original_recipient=original, status=status)
    composed = compose(replace(REPORT, recipients=(each, LATE), envelope_id=envelope_id), header, content)
    message = message_from_bytes(composed, policy=policy.SMTP)
    assert message.get_content_type() == "multipart/report"
    assert len(message.get_payload()) == 3
    assert message["To"] == "tim@example.org"
    assert [group["action"] for group in groups_of(composed)[1:]] == ["failed", "failed"]


def groups_of(composed: bytes) -> list[dict[str, str]]:
    """Return the groups of fields, whatever the other parts hold."""
    block = composed.split(b"delivery-status\r\n", 1)[1].split(b"\r\n\r\n--=_u-1", 1)[0]
    return [
        {field.name.decode(): field.value.decode() for field in parse_header(text).fields}
        for text in block.split(b"\r\n\r\n")[1:]
    ]
