"""What stands in parameters in an alphabet of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import Malformed
from gatepost.model.xtext import decode_xtext, encode_xtext, orcpt_in_ascii, original_recipient


@pytest.mark.rfc("3461 §4")
def test_xtext_is_decoded_and_nothing_else() -> None:
    assert decode_xtext("e+3Dmc2@example.com") == "e=mc2@example.com"
    assert decode_xtext("<>") == "<>"
    for bad in ("a+3d", "a+", "a=b", "a b", "ä", "+G0"):
        with pytest.raises(Malformed):
            decode_xtext(bad)


@pytest.mark.rfc("3461 §4.2")
@pytest.mark.parametrize(
    ("orcpt", "shown"),
    [
        ("rfc822;Ann+2BNews@Example.NET", "rfc822; Ann+News@Example.NET"),
        ("rfc822;+22joe+20smith+22@example.net", 'rfc822; "joe smith"@example.net'),
        ("x400;/C=no", "x400; /C=no"),
        ("utf-8;\\x{FC}ser@example.net", "utf-8; üser@example.net"),
        ("UTF-8;us\\x{2B}er@\\x{4F8B}.example", "UTF-8; us+er@例.example"),
        ("utf-8;üser+2Bx@example.net", "utf-8; üser+2Bx@example.net"),
        ("rfc822;\\x{FC}@example.net", "rfc822; \\x{FC}@example.net"),
    ],
)
def test_a_report_names_the_original_recipient_without_any_encoding(orcpt: str, shown: str) -> None:
    assert original_recipient(orcpt) == shown


@pytest.mark.rfc("6533 §3")
def test_an_address_in_utf_8_can_be_written_in_ascii() -> None:
    assert orcpt_in_ascii("utf-8;üser@例.example") == "utf-8;\\x{FC}ser@\\x{4F8B}.example"
    assert orcpt_in_ascii("utf-8;😀@example") == "utf-8;\\x{1F600}@example"
    assert orcpt_in_ascii("rfc822;Ann+2B@example") == "rfc822;Ann+2B@example"


@given(st.text(st.characters(min_codepoint=0xA0, exclude_categories=["Cs"]), min_size=1))
def test_what_is_written_in_ascii_reads_the_same(text: str) -> None:
    written = orcpt_in_ascii(f"utf-8;{text}")
    assert written.isascii()
    assert original_recipient(written) == f"utf-8; {text}"


@pytest.mark.rfc("3461 §4")
def test_what_is_encoded_is_xtext_and_decodes_to_what_it_was() -> None:
    every = "".join(map(chr, range(128)))
    assert decode_xtext(encode_xtext(every)) == every
    assert encode_xtext("e=mc2+ x@example.com") == "e+3Dmc2+2B+20x@example.com"
