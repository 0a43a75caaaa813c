"""The GS2 header."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import Malformed
from gatepost.sasl.gs2 import Gs2Header, parse_gs2_header, parse_saslname, print_saslname


@pytest.mark.rfc("5802 §7")
@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("n,,", Gs2Header("n,,", "n")),
        ("y,,", Gs2Header("y,,", "y")),
        ("p=tls-exporter,,", Gs2Header("p=tls-exporter,,", "p", "tls-exporter")),
        ("n,a=tim,", Gs2Header("n,a=tim,", "n", "", "tim")),
        ("y,a=a=2Cb=3Dc,", Gs2Header("y,a=a=2Cb=3Dc,", "y", "", "a,b=c")),
        ("p=tls-unique,a=ünal,", Gs2Header("p=tls-unique,a=ünal,", "p", "tls-unique", "ünal")),
    ],
)
def test_a_header_is_read_and_the_rest_is_left(text, header):
    assert parse_gs2_header(text + "n=user,r=x") == (header, "n=user,r=x")
    assert parse_gs2_header(text) == (header, "")


@pytest.mark.rfc("5802 §7")
@pytest.mark.parametrize(
    "text",
    [
        "", "n", "n,", ",,", "N,,", "x,,", "F,n,,", "n,tim,", "n,a=,", "n,A=tim,", "p,,", "p=,,", "p=a b,,", "p=ä,,",
        "n=user,r=nonce", "n,a=ti=m,", "n,a=tim=2c,", "n,a=tim=", " n,,", "\nn,,",
    ],
)  # fmt: skip
def test_anything_else_is_malformed(text):
    with pytest.raises(Malformed):
        parse_gs2_header(text)


@pytest.mark.rfc("5802 §5.1")
@pytest.mark.parametrize("text", ["=", "a=b", "=2c", "=3d", "=2", "=2D", "=="])
def test_an_equals_sign_that_is_no_escape_is_malformed(text):
    with pytest.raises(Malformed):
        parse_saslname(text)


@given(st.text())
def test_parse_undoes_print(name):
    printed = print_saslname(name)
    assert "," not in printed
    assert parse_saslname(printed) == name
