"""What a next hop offers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.relay.capabilities import Capabilities


def test_each_extension_is_found() -> None:
    lines = (
        "hop.example",
        "PIPELINING",
        "SIZE 1000",
        "8BITMIME",
        "SMTPUTF8",
        "STARTTLS",
        "AUTH PLAIN LOGIN",
        "DSN",
        "HELP",
    )
    assert Capabilities.parse(lines) == Capabilities(True, True, 1000, True, True, True, ("PLAIN", "LOGIN"), True)


@pytest.mark.rfc("5321 §4.1.1.1")
def test_keywords_are_known_in_any_case() -> None:
    assert Capabilities.parse(("hop", "Pipelining", "starttls", "auth plain")) == Capabilities(
        pipelining=True, starttls=True, mechanisms=("PLAIN",)
    )


def test_nothing_is_offered_by_a_greeting_alone() -> None:
    assert Capabilities.parse(("PIPELINING STARTTLS",)) == Capabilities()
    assert Capabilities.parse(("",)) == Capabilities()


@pytest.mark.rfc("1870 §3")
@pytest.mark.parametrize(
    ("line", "limit"),
    [
        ("SIZE", None),
        ("SIZE 0", None),
        ("SIZE 512", 512),
        ("SIZE many", None),
        ("SIZE -5", None),
        ("SIZE " + "9" * 21, None),
    ],
)
def test_size_may_have_no_limit(line: str, limit: int | None) -> None:
    capabilities = Capabilities.parse(("hop", line))
    assert capabilities.size
    assert capabilities.size_limit == limit


@pytest.mark.rfc("6531 §3.1")
def test_smtputf8_without_8bitmime_is_not_offered() -> None:
    assert not Capabilities.parse(("hop", "SMTPUTF8")).smtputf8
    assert Capabilities.parse(("hop", "SMTPUTF8", "8BITMIME")).smtputf8


def test_the_old_way_to_offer_auth_is_understood_and_nothing_is_counted_twice() -> None:
    lines = ("hop", "AUTH LOGIN PLAIN", "AUTH=LOGIN PLAIN CRAM-MD5")
    assert Capabilities.parse(lines).mechanisms == ("LOGIN", "PLAIN", "CRAM-MD5")


@given(st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40), min_size=1))
def test_any_lines_can_be_read(lines: list[str]) -> None:
    Capabilities.parse(tuple(lines))


@pytest.mark.rfc("9422 §3")
@pytest.mark.parametrize(
    ("line", "limits"),
    [
        ("LIMITS RCPTMAX=20 MAILMAX=5 RCPTDOMAINMAX=1", (20, 5, 1)),
        ("limits rcptmax=999999", (999999, None, None)),
        ("LIMITS RCPTMAX=0 MAILMAX=05 RCPTDOMAINMAX=1000000", (None, None, None)),
        ("LIMITS RCPTMAX MAILMAX= RCPTDOMAINMAX=-1 RCPTMAX=1x", (None, None, None)),
        ("LIMITS MAILSIZE=3 MAILMAX=3", (None, 3, None)),
        ("LIMITS", (None, None, None)),
    ],
)
def test_limits_are_numbers_of_one_to_six_digits(line: str, limits: tuple[int | None, ...]) -> None:
    found = Capabilities.parse(("hop", line))
    assert (found.recipients_limit, found.transactions_limit, found.domains_limit) == limits
