"""Base64 of exchange lines."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import Malformed
from gatepost.sasl.wire import decode_base64, encode_base64


@pytest.mark.rfc("4648 §4")
def test_the_examples_of_rfc_4648_hold_in_both_directions(vectors):
    assert vectors["base64"]
    for data, line in vectors["base64"].items():
        assert encode_base64(data.encode()) == line.encode()
        assert decode_base64(line.encode()) == data.encode()


@pytest.mark.rfc("4648 §3")
@pytest.mark.parametrize(
    "line",
    [
        b"Zg", b"Zg=", b"Zg===", b"Zg====", b"=", b"==", b"====", b"Z", b"Zg==Zg==", b"Zm9=v", b"Zm9v=", b"Zm9v====",
        b"Zm 9v", b" Zm9v", b"Zm9v ", b"Zm9v\r", b"Zm9v\n", b"Zm\n9v", b"Zm9-", b"Zm9_", b"*", b"Zm9v\0", b"\xc3\xa4==",
        b"dXNlcm5hbWUAVXNlcm5hbWU=c2VjcmV0", b"vHRjyADROPsdSDIROu=",
    ],
)  # fmt: skip
def test_what_is_not_quite_base64_is_refused(line):
    with pytest.raises(Malformed) as error:
        decode_base64(line)
    assert (error.value.code, error.value.enhanced) == (501, "5.5.2")


@pytest.mark.rfc("4648 §3")
@pytest.mark.parametrize("line", [b"Zh==", b"Zm9=", b"//=="])
def test_bits_under_the_padding_must_be_zero_so_that_one_value_has_one_text(line):
    base64.b64decode(line, validate=True)  # others take it
    with pytest.raises(Malformed):
        decode_base64(line)


@given(st.binary())
def test_decode_undoes_encode(data):
    assert decode_base64(encode_base64(data)) == data


@given(st.one_of(st.binary(), st.text("Zm9v=+/A \n").map(str.encode)))
def test_any_line_is_a_value_that_encodes_to_it_or_malformed(line):
    try:
        data = decode_base64(line)
    except Malformed:
        return
    assert encode_base64(data) == line
