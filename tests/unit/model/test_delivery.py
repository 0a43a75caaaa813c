"""What a next hop said, as a value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.model.delivery import Cause, Deferred, Delivered, Failed, RemoteReply


@pytest.mark.rfc("3463 §2")
@pytest.mark.parametrize(
    ("code", "text", "enhanced"),
    [
        (250, "2.0.0 queued", "2.0.0"),
        (250, "2.1.5", "2.1.5"),
        (550, "5.1.1 no such user", "5.1.1"),
        (550, "5.123.456 odd", "5.123.456"),
        (550, "no such user", "5.0.0"),
        (451, "4.7.1 greylisted", "4.7.1"),
        (451, "later", "4.0.0"),
        (550, "", "5.0.0"),
        (550, "4.7.1 they disagree", "5.0.0"),
        (550, "5.1 short", "5.0.0"),
        (550, "5.1.1000 long", "5.0.0"),
        (550, "5.1.1x", "5.0.0"),
        (550, "5.\u0661.1 digits of another script", "5.0.0"),
        (550, "see 5.1.1", "5.0.0"),
    ],
)
def test_the_enhanced_code_is_theirs_if_it_fits_and_derived_if_not(code: int, text: str, enhanced: str) -> None:
    assert RemoteReply.parse(code, text) == RemoteReply(code, text, enhanced)


@given(st.integers(200, 599), st.text() | st.from_regex(r"\d\.\d\.\d .*"))
def test_the_class_of_the_enhanced_code_is_that_of_the_basic_code(code: int, text: str) -> None:
    enhanced = RemoteReply.parse(code, text).enhanced
    assert enhanced.isascii()
    assert enhanced[0] == str(code)[0]


def test_a_reply_prints_as_it_was_said() -> None:
    assert str(RemoteReply.parse(550, "5.1.1 no such user")) == "550 5.1.1 no such user"
    assert str(RemoteReply.parse(550, "no such user")) == "550 no such user"


def test_a_reply_of_ours_shows_its_enhanced_code() -> None:
    reply = RemoteReply.ours(451, "4.4.1", "connection refused")
    assert not reply.is_remote
    assert str(reply) == "451 4.4.1 connection refused"


def test_a_deferral_is_the_trouble_of_the_message_unless_told() -> None:
    reply = RemoteReply.ours(451, "4.4.1", "connection refused")
    assert Deferred(reply).cause is Cause.MESSAGE
    assert Delivered(reply).next_hop == Failed(reply).next_hop == ""
