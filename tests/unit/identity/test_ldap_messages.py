"""Messages of LDAP: as the standard writes them, and read without surprise."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.identity.ldap.ber import element
from gatepost.identity.ldap.messages import (
    START_TLS,
    UNBIND,
    bind_request,
    is_password_spent,
    message,
    parse_entry,
    parse_message,
    parse_result,
    search_request,
)


@pytest.mark.rfc("4511 §4.2")
def test_a_bind_is_written_as_openldap_writes_it() -> None:
    written = message(1, bind_request(b"cn=x", b"secret"))
    assert written.hex() == "3016020101601102010304" + "04636e3d78" + "8006736563726574"


@pytest.mark.rfc("4511 §4.5.1")
def test_a_search_asks_for_two_entries_and_follows_no_alias() -> None:
    written = search_request("o=x", "one", element(0x87, b"uid"), ["mail"], size_limit=2, seconds=3)
    assert written.hex() == (
        "6321"
        + "04036f3d78"
        + "0a0101"
        + "0a0100"
        + "020102"
        + "020103"
        + "010100"
        + "8703756964"
        + "30060404"
        + "6d61696c"
    )


def test_goodbye_and_starttls() -> None:
    assert message(5, UNBIND).hex() == "30050201054200"
    assert START_TLS.hex() == "77188016" + b"1.3.6.1.4.1.1466.20037".hex()


def test_what_the_directory_says_is_made_fit_for_the_log() -> None:
    text = b"no\r\nway\0\xff" + b"x" * 1000
    result = parse_result(element(0x0A, b"\x31") + element(0x04) + element(0x04, text))
    assert result.code == 49
    assert result.text.isprintable()
    assert result.text.startswith("no  way")
    assert len(result.text) <= 200


@pytest.mark.rfc("4511 §4.1.4")
def test_names_of_attributes_have_no_case_and_no_options() -> None:
    def attribute(name: bytes, *values: bytes) -> bytes:
        return element(0x30, element(0x04, name), element(0x31, *[element(0x04, each) for each in values]))

    entry = parse_entry(
        element(0x04, b"uid=tim") + element(0x30, attribute(b"Mail", b"a", b"b"), attribute(b"mail;lang-de", b"c"))
    )
    assert entry == (b"uid=tim", {"mail": [b"a", b"b", b"c"]})


@given(st.binary(max_size=80))
def test_no_octets_raise_anything_else(octets: bytes) -> None:
    for read in (parse_message, parse_result, parse_entry, is_password_spent):
        with contextlib.suppress(ValueError):
            read(octets)
        for tag in (0x30, 0x0A, 0x04):
            with contextlib.suppress(ValueError):
                read(element(tag, octets))
