"""HMAC-MD5 from its inner states."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.sasl import hmac_md5


@pytest.mark.rfc("2104 §2")
def test_the_examples_of_rfc_2202_come_out_as_printed(vectors):
    assert len(vectors["hmac_md5"]) == 5
    for vector in vectors["hmac_md5"]:
        states = hmac_md5.states(bytes.fromhex(vector["key"]))
        assert hmac_md5.finish(states, bytes.fromhex(vector["data"])).hex() == vector["digest"]


@pytest.mark.rfc("1321 §3.4")
@given(st.binary(max_size=200), st.binary(max_size=300))
def test_it_is_what_hmac_of_the_standard_library_says(key, message):
    assert hmac_md5.finish(hmac_md5.states(key), message) == hmac.digest(key, message, "md5")


@pytest.mark.rfc("1321 §3.1")
@pytest.mark.parametrize("length", [0, 54, 55, 56, 57, 63, 64, 65, 119, 120, 128])
def test_padding_is_right_where_blocks_end(length):
    message = b"m" * length
    assert hmac_md5.finish(hmac_md5.states(b"key"), message) == hmac.digest(b"key", message, "md5")


@pytest.mark.rfc("2104 §2")
@pytest.mark.parametrize("length", [63, 64, 65])
def test_a_key_longer_than_a_block_is_hashed_first(length):
    assert hmac_md5.finish(hmac_md5.states(b"k" * length), b"m") == hmac.digest(b"k" * length, b"m", "md5")


def test_the_states_are_32_octets_and_anything_else_is_refused():
    states = hmac_md5.states(b"key")
    assert len(states) == hmac_md5.STATES_BYTES == 32
    for wrong in (b"", states[:31], states + b"\0"):
        with pytest.raises(ValueError, match="32 octets"):
            hmac_md5.finish(wrong, b"message")
