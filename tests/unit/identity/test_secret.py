"""Generated secrets and their check digit; chosen ones and what is too weak."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.identity.secret import generate, is_mistyped, weakness
from gatepost.model.identity import Secret
from gatepost.sasl.prepare import prepare_password

_ALPHABET = string.ascii_lowercase + "234567"


def test_a_secret_has_prefix_body_and_check_digit() -> None:
    for short, length in ((False, 3 + 32 + 1), (True, 3 + 26 + 1)):
        text = generate(short=short).reveal().decode()
        assert text.startswith("gp_")
        assert len(text) == length
        assert set(text[3:]) <= set(_ALPHABET)
        assert prepare_password(text) == text.encode()
        assert not is_mistyped(Secret(text.encode()))


def test_no_two_are_the_same() -> None:
    assert len({generate().reveal() for _ in range(500)}) == 500


@given(st.booleans(), st.integers(0, 31), st.sampled_from(_ALPHABET))
def test_every_single_wrong_character_is_found(short: bool, place: int, other: str) -> None:
    text = generate(short=short).reveal().decode()
    place = 3 + place % (len(text) - 3)
    wrong = text[:place] + other + text[place + 1 :]
    assert is_mistyped(Secret(wrong.encode())) == (wrong != text)


def test_other_passwords_are_never_called_mistyped() -> None:
    for other in (b"", b"gp_", b"hunter2", b"gp_" + b"a" * 31, b"gp_" + b"A" * 33, b"xgp_" + b"a" * 33, b"\xff" * 36):
        assert not is_mistyped(Secret(other))


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        ("short", "shorter"),
        ("elevenchars", "shorter"),
        ("aaaaaaaaaaaaaaaaaaaa", "distinct"),
        ("abcdeabcdeabcde", "distinct"),
        ("my-TIM.Miller-2026", "login"),
        ("correct horse battery", ""),
        ("kfjwpqmzhtbv", ""),
        ("abcdefghijkl", "guessed first"),
        ("password1234", "guessed first"),
        ("P@ssw0rd12345", "guessed first"),
        ("Sommer2024!!", "guessed first"),
        ("qwertzuiop12", "guessed first"),
        ("letmeinletmein1", "guessed first"),
    ],
)
def test_weak_secrets_are_named(secret: str, why: str) -> None:
    found = weakness(secret, "tim.miller@example.org")
    assert (why in found) if why else found == ""


def test_a_login_of_two_letters_may_occur_in_a_secret() -> None:
    assert weakness("a good long thing", "go") == ""
    assert weakness("a good long thing", "good@example.org") == "it holds the login"
