"""SASLprep, names and passwords."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import Malformed
from gatepost.sasl.prepare import (
    NAME_LIMIT,
    PASSWORD_LIMIT,
    decode_name,
    decode_text,
    password_forms,
    prepare_name,
    prepare_password,
    prepare_stated_name,
    saslprep,
)


@pytest.mark.rfc("4013 §3")
@pytest.mark.parametrize(
    ("given_text", "prepared"),
    [("I\u00adX", "IX"), ("user", "user"), ("USER", "USER"), ("\u00aa", "a"), ("\u2168", "IX")],
)
def test_the_examples_of_rfc_4013_come_out_as_printed(given_text, prepared):
    assert saslprep(given_text) == prepared


@pytest.mark.rfc("4013 §3")
@pytest.mark.parametrize("text", ["\u0007", "\u06271"])
def test_the_bad_examples_of_rfc_4013_are_refused(text):
    with pytest.raises(Malformed):
        saslprep(text)


@pytest.mark.rfc("4013 §2.1")
@pytest.mark.parametrize(
    ("text", "prepared"),
    [("a\u00a0b", "a b"), ("a\u3000b", "a b"), ("a\u200bb", "a b"), ("a\u200db", "ab"), ("a\ufeffb", "ab")],
)
def test_spaces_become_a_space_and_the_invisible_goes(text, prepared):
    assert saslprep(text) == prepared


@pytest.mark.rfc("4013 §2.3")
@pytest.mark.parametrize(
    "character",
    [
        "\0", "\t", "\r", "\n", "\x7f", "\x80", "\x9f", "\u06dd", "\ue000", "\U000f0000", "\ufdd0", "\uffff", "\ud800",
        "\ufff9", "\ufffc", "\u2ff0", "\u202e", "\U000e0001", "\U000e0041",
    ],
)  # fmt: skip
@pytest.mark.parametrize("around", ["{}", "a{}b", "ä{}ü"])
def test_prohibited_characters_are_refused_wherever_they_stand(character, around):
    for prepare in (saslprep, prepare_name, prepare_password):
        with pytest.raises(Malformed):
            prepare(around.format(character))


@pytest.mark.rfc("3454 §6")
@pytest.mark.parametrize("text", ["\u0627a\u0628", "1\u0627", "\u06271", "\u05d0b"])
def test_mixed_directions_are_refused(text):
    with pytest.raises(Malformed):
        saslprep(text)


@pytest.mark.rfc("3454 §6")
@pytest.mark.parametrize("text", ["\u0627", "\u0627\u0628", "\u06271\u0628", "\u05d0 \u05d1"])
def test_text_from_right_to_left_passes(text):
    assert saslprep(text) == text


def test_what_unicode_3_2_did_not_know_passes_unchanged():
    assert saslprep("\U0001f40c") == "\U0001f40c"


@pytest.mark.rfc("8265 §3.3")
@pytest.mark.parametrize(
    ("raw", "prepared"),
    [
        ("tim", "tim"),
        ("Tim@Example.ORG", "tim@example.org"),
        ("ÜNAL@Bücher.Example", "ünal@bücher.example"),
        ("u\u0308nal", "ünal"),
        ("\uff34\uff29\uff2d", "tim"),
        ("name with space", "name with space"),
        ("\u0130", "i\u0307"),
        ("\u1e9e", "ß"),
        ("x" * NAME_LIMIT, "x" * NAME_LIMIT),
    ],
)
def test_names_are_normalized_and_lower_cased_as_a_whole(raw, prepared):
    assert prepare_name(raw) == prepared


@pytest.mark.parametrize("raw", ["Tim@Example.ORG", "\u00dcnal", "name with space", "\u4f8b\u5b50"])
def test_a_name_that_others_state_may_differ_in_case_only(raw):
    assert prepare_stated_name(raw) == prepare_name(raw)


@pytest.mark.parametrize(
    "raw", ["\uff34im", "t\u00adim", "\u212aim", "u\u0308nal", "tim\u00a0", "t\u2060im", "\ufb01m", "", "a\0b"]
)
def test_a_name_that_others_state_and_only_looks_like_another_is_none(raw):
    with pytest.raises(Malformed):
        prepare_stated_name(raw)


@pytest.mark.parametrize(
    "raw", ["", "\u00ad", "x" * (NAME_LIMIT + 1), "\u00ad" * (NAME_LIMIT + 1), "\ufdfa" * 15, "a\0b"]
)
def test_names_that_are_empty_or_too_long_are_refused(raw):
    with pytest.raises(Malformed) as error:
        prepare_name(raw)
    assert error.value.enhanced == "5.5.2"


def test_a_name_of_the_longest_characters_has_room():
    assert prepare_name("\U00010400" * NAME_LIMIT).encode() == "\U00010428".encode() * NAME_LIMIT


@pytest.mark.parametrize(
    ("raw", "prepared"),
    [
        ("Secret 1", b"Secret 1"),
        (" padded ", b" padded "),
        ("pa\u00adss", b"pass"),
        ("\u2168", b"IX"),
        ("ä" * PASSWORD_LIMIT, "ä".encode() * PASSWORD_LIMIT),
    ],
)
def test_passwords_keep_their_case_and_spaces(raw, prepared):
    assert prepare_password(raw) == prepared


@pytest.mark.parametrize("raw", ["", "\u00ad", "x" * (PASSWORD_LIMIT + 1), "\ufdfa" * 15, "a\0b", "a\tb", "\ud800"])
def test_passwords_that_are_empty_too_long_or_hold_what_is_prohibited_are_refused(raw):
    with pytest.raises(Malformed):
        prepare_password(raw)


@pytest.mark.parametrize(
    ("raw", "forms"),
    [
        (b"secret", (b"secret",)),
        ("pa\u00adss".encode(), (b"pass", "pa\u00adss".encode())),
        (b"tab\there", (b"tab\there",)),
        (b"\xff", (b"\xff",)),
        (b"", (b"",)),
    ],
)
def test_a_password_is_tried_prepared_and_then_as_it_came(raw, forms):
    assert password_forms(raw) == forms


def test_a_name_on_the_wire_is_decoded_and_prepared():
    assert decode_name("Ünal".encode()) == "ünal"


@pytest.mark.parametrize("octets", [b"\xff", b"\xc3", b"\xc0\x80", b"\xed\xa0\x80"])
def test_what_is_no_utf_8_is_refused(octets):
    with pytest.raises(Malformed):
        decode_name(octets)
    with pytest.raises(Malformed) as error:
        decode_text(octets, "password")
    assert error.value.reason == "password is not UTF-8"
    assert error.value.__cause__ is None  # the octets, which may be a secret, stay out of tracebacks
    assert error.value.__suppress_context__


@given(st.text())
def test_any_name_is_prepared_for_good_or_refused(raw):
    try:
        prepared = prepare_name(raw)
    except Malformed:
        return
    assert prepare_name(prepared) == prepared
    assert 0 < len(prepared) <= NAME_LIMIT
    assert "\0" not in prepared


@given(st.text())
def test_any_password_is_prepared_for_good_or_refused(raw):
    try:
        prepared = prepare_password(raw)
    except Malformed:
        return
    assert prepare_password(prepared.decode()) == prepared
    assert password_forms(prepared) == (prepared,)
