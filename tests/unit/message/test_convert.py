"""8-bit made 7-bit.  Invariant: ASCII that means the same, or `Malformed`, never anything else."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import Malformed
from gatepost.message.convert import DEPTH_LIMIT, PART_LIMIT, to_seven_bit

CAFE = "Caf\u00e9 au lait\r\n".encode()
LATIN = CAFE.decode().encode("latin-1")
TOP = b"From: tim@example.org\r\nMIME-Version: 1.0\r\n"


def text(body: bytes = CAFE, *, top: bytes = TOP, kind: bytes = b"text/plain; charset=utf-8") -> bytes:
    return top + b"Content-Type: " + kind + b"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + body


def multipart(
    *parts: bytes, kind: bytes = b"mixed", top: bytes = TOP, before: bytes = b"", after: bytes = b"\r\n"
) -> bytes:
    lines = b"".join([b"--=_b\r\n" + part + b"\r\n" for part in parts])
    start = top + b"Content-Type: multipart/" + kind + b'; boundary="=_b"\r\n\r\n'
    return start + before + lines + b"--=_b--" + after


def read(content: bytes) -> EmailMessage:
    message = message_from_bytes(content, policy=policy.SMTP)
    assert isinstance(message, EmailMessage)
    return message


def leaves(content: bytes) -> list[tuple[str, bytes]]:
    """Return the type and the decoded octets of each leaf, as another parser sees them."""
    message = message_from_bytes(content, policy=policy.SMTP)
    return [
        (part.get_content_type(), part.get_payload(decode=True))  # type: ignore[misc]
        for part in message.walk()
        if not part.is_multipart()
    ]


def test_content_that_is_7bit_stays_the_same_object() -> None:
    content = text(b"7-bit\r\n")
    assert to_seven_bit(content) is content


@pytest.mark.rfc("6152 §3")
def test_text_becomes_quoted_printable() -> None:
    assert to_seven_bit(text()) == (
        TOP + b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        b"Caf=C3=A9 au lait\r\n"
    )


def test_text_without_an_encoding_gets_one_at_the_end_of_its_header() -> None:
    converted = to_seven_bit(TOP + b"Content-Type: text/plain; charset=latin-1\r\n\r\n" + LATIN)
    assert converted == (
        TOP + b"Content-Type: text/plain; charset=latin-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        b"Caf=E9 au lait\r\n"
    )


def test_what_is_no_text_becomes_base64() -> None:
    converted = to_seven_bit(text(bytes(range(256)) * 4 + b"\r\n", kind=b"application/octet-stream"))
    assert converted.isascii()
    assert b"Content-Transfer-Encoding: base64\r\n" in converted
    assert leaves(converted) == [("application/octet-stream", bytes(range(256)) * 4 + b"\r\n")]
    assert converted.endswith(b"\r\n")
    assert converted.count(b"\n") == converted.count(b"\r\n")


@pytest.mark.rfc("2045 §6.7")
@pytest.mark.parametrize("body", [b"caf\xc3\xa9\rbare", b"caf\xc3\xa9\nbare", b"\n\r caf\xc3\xa9"])
def test_text_with_bare_ends_of_line_becomes_base64_and_keeps_them(body: bytes) -> None:
    converted = to_seven_bit(text(body))
    assert b"base64" in converted
    assert leaves(converted) == [("text/plain", body)]


@pytest.mark.parametrize(
    "body", [b"\xc3\xa9", b"\xc3\xa9" * 200, b"\xc3\xa9 \t", b"a \r\n\xc3\xa9=\t\r\n.\r\n", b"\xc3\xa9\r\n\r\n"]
)
def test_each_end_of_a_text_is_kept(body: bytes) -> None:
    converted = to_seven_bit(text(body))
    assert leaves(converted) == [("text/plain", body)]
    assert max(map(len, converted.split(b"\r\n"))) <= 78
    assert converted.count(b"\n") == converted.count(b"\r\n")


@given(st.text("é=. \t\r\nab-", max_size=300) | st.text())
def test_any_text_is_kept(value: str) -> None:
    body = value.replace("\r", "").replace("\n", "\r\n").encode() + CAFE
    converted = to_seven_bit(text(body))
    assert converted.isascii()
    assert leaves(converted) == [("text/plain", body)]


@pytest.mark.rfc("2045 §4")
def test_mime_version_is_added_where_it_is_missing() -> None:
    converted = to_seven_bit(text(top=b"From: tim@example.org\r\n"))
    assert converted.count(b"MIME-Version: 1.0\r\n") == 1
    assert read(converted).get_content() == CAFE.decode()


@pytest.mark.rfc("1428 §3")
@pytest.mark.parametrize(("body", "charset"), [(CAFE, "utf-8"), (LATIN, "unknown-8bit")])
@pytest.mark.parametrize("top", [TOP, b"From: tim@example.org\r\n"], ids=["MIME", "no MIME"])
def test_text_that_does_not_say_what_it_is_is_labelled(top: bytes, body: bytes, charset: str) -> None:
    message = read(to_seven_bit(top + b"\r\n" + body))
    assert message.get_content_type() == "text/plain"
    assert message.get_content_charset() == charset
    assert message["MIME-Version"] == "1.0"
    assert message.get_payload(decode=True) == body


def test_text_with_a_type_but_no_charset_keeps_it() -> None:
    assert b"Content-Type: text/html\r\n" in to_seven_bit(text(kind=b"text/html"))


# -- multipart


@pytest.mark.rfc("2046 §5.1.1")
def test_only_8bit_parts_are_changed() -> None:
    plain = b"Content-Type: text/plain\r\nContent-Transfer-Encoding: 8bit\r\n\r\n7-bit = as it is  "
    coded = b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n"
    eight = b"Content-Type: text/plain; charset=utf-8\r\n\r\n"
    content = multipart(plain, eight + CAFE, coded, before=b"preamble\r\n", after=b"\r\nepilogue\r\n")
    assert to_seven_bit(content) == multipart(
        plain,
        eight[:-2] + b"Content-Transfer-Encoding: quoted-printable\r\n\r\nCaf=C3=A9 au lait\r\n",
        coded,
        before=b"preamble\r\n",
        after=b"\r\nepilogue\r\n",
    )


def test_the_label_of_a_multipart_that_was_8bit_is_7bit() -> None:
    content = multipart(b"\r\n" + CAFE, top=TOP + b"Content-Transfer-Encoding: 8BIT (say we)\r\n")
    converted = to_seven_bit(content)
    assert read(converted)["Content-Transfer-Encoding"] == "7bit"


def test_a_part_without_a_header_is_text() -> None:
    converted = to_seven_bit(multipart(b"\r\n" + CAFE))
    assert (
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nCaf="
        in converted
    )
    assert converted.count(b"MIME-Version") == 1


def test_a_base64_part_ends_where_it_ended() -> None:
    part = b"Content-Type: application/x\r\n\r\n"
    assert leaves(to_seven_bit(multipart(part + b"\xff", part + b"\xff\r\n"))) == [
        ("application/x", b"\xff"),
        ("application/x", b"\xff\r\n"),
    ]


def test_multiparts_nest() -> None:
    inner = b'Content-Type: multipart/alternative; boundary="=_b2"\r\n\r\n--=_b2\r\n\r\n' + CAFE + b"--=_b2--\r\n"
    converted = to_seven_bit(multipart(inner, b"\r\n" + CAFE))
    assert leaves(converted) == [("text/plain", CAFE[:-2]), ("text/plain", CAFE)]


@pytest.mark.parametrize(
    "boundary",
    [
        b"boundary==_b",
        b'BOUNDARY = "=_b"',
        b'charset=x; boundary="=_b"',
        b'name="; boundary=no"; boundary="=_b"',
        b'boundary="=\\_\\b"',
        b"\r\n boundary==_b (comment)",
        b'boundary="=_b"; boundary="second"',
    ],
)
def test_a_boundary_is_found_however_it_is_written(boundary: bytes) -> None:
    content = multipart(b"\r\n" + CAFE).replace(b'boundary="=_b"', boundary)
    assert b"Caf=C3=A9" in to_seven_bit(content)


@pytest.mark.rfc("2046 §5.1.1")
def test_delimiters_are_whole_lines_with_white_space_at_most() -> None:
    body = b"\r\ntext --=_b\r\n--=_bc\r\n --=_b\r\n" + CAFE
    content = multipart(body, b"\r\n" + CAFE).replace(b"\r\n--=_b\r\n\r\nCaf", b"\r\n--=_b \t\r\n\r\nCaf")
    assert [octets for _, octets in leaves(to_seven_bit(content))] == [body[2:], CAFE]


def test_a_multipart_may_lack_its_end() -> None:
    content = multipart(b"\r\n" + CAFE).replace(b"\r\n--=_b--\r\n", b"")
    assert to_seven_bit(content).endswith(b"Caf=C3=A9 au lait\r\n")


def test_adjacent_delimiters_are_an_empty_part() -> None:
    converted = to_seven_bit(
        TOP + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n--b\r\n\r\n" + CAFE + b"--b--"
    )
    assert converted.endswith(
        b"--b\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\nCaf=C3=A9 au lait\r\n--b--"
    )


def test_what_stands_before_and_after_the_parts_is_blotted_out() -> None:
    converted = to_seven_bit(multipart(b"\r\nx", before=CAFE, after=b"\r\n" + CAFE + b"--=_b\r\n" + CAFE))
    assert converted == multipart(
        b"\r\nx", before=b"Caf?? au lait\r\n", after=b"\r\nCaf?? au lait\r\n--=_b\r\nCaf?? au lait\r\n"
    )


@pytest.mark.parametrize("boundary", [b"a=C3=A9", b"z"])
def test_encoding_never_makes_a_delimiter(boundary: bytes) -> None:
    """A soft line break, or an octet that is written out, could."""
    top = TOP + b'Content-Type: multipart/mixed; boundary="' + boundary + b'"\r\n\r\n'
    bodies = [b"--a\xc3\xa9\r\nx", *[b"\xc3\xa9" + b"x" * width + b"--z\r\nx" for width in range(60, 80)]]
    for body in bodies:
        content = top + b"--" + boundary + b"\r\n\r\n" + body + b"\r\n--" + boundary + b"--\r\n"
        assert [octets for _, octets in leaves(to_seven_bit(content))] == [body]


# -- message


@pytest.mark.rfc("2046 §5.2.1")
def test_a_message_in_a_message_is_converted_itself() -> None:
    inner = (
        b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + b"Subject: inner\r\n\r\n" + CAFE
    )
    converted = to_seven_bit(multipart(inner))
    assert converted.isascii()
    message = read(converted)
    (part,) = message.iter_parts()
    assert part["Content-Transfer-Encoding"] == "7bit"
    forwarded = part.get_content()
    assert forwarded["Subject"] == "inner"
    assert forwarded["MIME-Version"] == "1.0"
    assert forwarded.get_content() == CAFE.decode()


@pytest.mark.rfc("2046 §5.1.2")
def test_parts_of_a_digest_are_messages() -> None:
    converted = to_seven_bit(multipart(b"\r\nSubject: inner\r\n\r\n" + CAFE, kind=b"digest"))
    (part,) = read(converted).iter_parts()
    assert part.get_content_type() == "message/rfc822"
    assert leaves(converted) == [("text/plain", CAFE)]


@pytest.mark.rfc("6533 §6")
@pytest.mark.parametrize("kind", [b"global", b"global-headers", b"global-delivery-status"])
def test_the_global_types_of_message_are_encoded(kind: bytes) -> None:
    converted = to_seven_bit(text(b"Subject: caf\xc3\xa9\r\n", kind=b"message/" + kind))
    assert b"Content-Transfer-Encoding: quoted-printable\r\n\r\nSubject: caf=C3=A9\r\n" in converted


# -- what cannot be converted

CANNOT = [
    ("8-bit header", b"Subject: caf\xc3\xa9\r\n\r\nx\r\n"),
    ("8-bit header only", b"Subject: caf\xc3\xa9\r\n"),
    ("8-bit header of a part", multipart(b"Content-Description: caf\xc3\xa9\r\n\r\nx")),
    ("8-bit part that is no header", multipart(b"caf\xc3\xa9")),
    ("8-bit header of a message", multipart(b"Content-Type: message/rfc822\r\n\r\nSubject: \xc3\xa9\r\n\r\nx")),
    ("header that is none", b"From: a@x\r\nnothing\r\n\r\n" + CAFE),
    ("signed", multipart(b"\r\n" + CAFE, b"\r\nsignature", kind=b"Signed")),
    ("encrypted", multipart(b"\r\n" + CAFE, kind=b"encrypted")),
    ("signed within", multipart(b"Content-Type: multipart/signed; boundary=x\r\n\r\n--x\r\n\r\n" + CAFE + b"--x--")),
    ("no boundary", text(kind=b"multipart/mixed")),
    ("empty boundary", text(kind=b'multipart/mixed; boundary=""')),
    ("boundary of another kind", text(kind=b"multipart/mixed; boundary*0=a; boundary*1=b")),
    ("boundary within a name", text(kind=b'multipart/mixed; name="; boundary=x"')),
    ("no parts", text(kind=b"multipart/mixed; boundary=x")),
    ("bad type", text(kind=b"text")),
    ("no type", text(kind=b"")),
    ("open comment in the type", text(kind=b"text/plain (x")),
    ("two types", text(top=TOP + b"content-type: text/html\r\n")),
    ("two encodings", text(top=TOP + b"Content-Transfer-Encoding: 8bit\r\n")),
    ("base64", text().replace(b"8bit", b"base64")),
    ("quoted-printable", text().replace(b"8bit", b"Quoted-Printable")),
    ("encoding of their own", text().replace(b"8bit", b"x-uuencode")),
    ("encoding with a parameter", text().replace(b"8bit", b"8bit; x=y")),
    ("delivery status", text(kind=b"message/delivery-status")),
    ("fragment", text(kind=b"message/partial; id=x; number=1")),
]


@pytest.mark.rfc("6152 §3")
@pytest.mark.parametrize("content", [each[1] for each in CANNOT], ids=[each[0] for each in CANNOT])
def test_what_cannot_be_converted_is_refused(content: bytes) -> None:
    with pytest.raises(Malformed) as refused:
        to_seven_bit(content)
    assert (refused.value.code, refused.value.enhanced) == (554, "5.6.3")
    assert refused.value.text.isascii()


@pytest.mark.parametrize("kind", [b"signed", b"encrypted"])
def test_what_is_signed_and_7bit_stays_as_it_is_beside_what_is_not(kind: bytes) -> None:
    signed = b"Content-Type: multipart/" + kind + b"; boundary=x\r\n\r\n--x\r\n\r\n7-bit\r\n--x--"
    assert signed in to_seven_bit(multipart(signed, b"\r\n" + CAFE))


def nested(depth: int) -> bytes:
    return b"Content-Type: message/rfc822\r\n\r\n" * depth + b"\r\n" + CAFE


def test_messages_nest_only_so_deeply() -> None:
    assert to_seven_bit(nested(DEPTH_LIMIT)).isascii()
    with pytest.raises(Malformed, match="too deeply"):
        to_seven_bit(nested(DEPTH_LIMIT + 1))


def test_there_are_only_so_many_parts_however_they_are_nested() -> None:
    assert to_seven_bit(multipart(*[b"\r\nx"] * (PART_LIMIT - 1), b"\r\n" + CAFE)).isascii()
    inner = (
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + b"--x\r\n\r\n\r\n" * (PART_LIMIT // 2) + CAFE + b"--x--"
    )
    with pytest.raises(Malformed, match="too many parts"):
        to_seven_bit(multipart(inner, inner))


PIECES = [
    b"Content-Type: ", b"text/plain", b"multipart/mixed; boundary=b", b"message/rfc822", b"\r\n", b"\r\n\r\n",
    b"--b\r\n", b"--b--\r\n", b"caf\xc3\xa9", b"\xff", b"Content-Transfer-Encoding: ", b"8bit", b"base64",
    b"=", b"\r", b"\n", b"\0",
]  # fmt: skip


def outcome(content: bytes) -> bytes | Malformed:
    try:
        return to_seven_bit(content)
    except Malformed as refused:
        return refused


@given(st.lists(st.sampled_from(PIECES)).map(b"".join) | st.binary())
def test_any_octets_become_ascii_or_malformed(content: bytes) -> None:
    converted = outcome(content)
    if isinstance(converted, Malformed):
        assert (converted.code, converted.enhanced) == (554, "5.6.3")
    else:
        assert converted.isascii()
        assert to_seven_bit(converted) is converted
