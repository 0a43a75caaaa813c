"""The values of header fields by which routes choose."""

from __future__ import annotations

from gatepost.message.asked_fields import VALUE_LIMIT, VALUES_LIMIT, asked_fields

HEADER = (
    b"Received: by here\r\nX-Stream:  bulk,\r\n\tfolded \r\nx-stream: second\r\n"
    b"Subject: =?utf-8?q?caf=C3=A9?=\r\nX-Utf: caf\xc3\xa9\r\nX-Raw: caf\xe9\r\nX-Empty:\r\n\r\n"
)


def test_values_come_unfolded_and_in_their_order() -> None:
    assert dict(asked_fields(HEADER, {"x-stream"})) == {"x-stream": ("bulk,\tfolded", "second")}


def test_what_is_asked_and_not_there_has_no_values() -> None:
    assert dict(asked_fields(HEADER, {"x-none", "x-empty"})) == {"x-none": (), "x-empty": ("",)}


def test_octets_beyond_ascii_are_text_and_encoded_words_stay_as_they_are() -> None:
    found = dict(asked_fields(HEADER, {"subject", "x-utf", "x-raw"}))
    assert found == {"subject": ("=?utf-8?q?caf=C3=A9?=",), "x-utf": ("café",), "x-raw": ("caf\ufffd",)}


def test_values_are_bounded_in_number_and_length() -> None:
    [(_, values)] = asked_fields(b"X: " + b"a" * 5000 + b"\r\n" + b"X: b\r\n" * 100, {"x"})
    assert len(values) == VALUES_LIMIT
    assert values[0] == "a" * VALUE_LIMIT


def test_what_is_no_header_has_no_fields() -> None:
    assert asked_fields(b"no field\r\n\r\n", {"x"}) == (("x", ()),)
    assert asked_fields(b"", {"x"}) == (("x", ()),)
