"""What one route takes from another: whatever is said to be never reached is never chosen."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gatepost.config.route_match import HeaderMatch, Match, covers, idle_element
from gatepost.model.address import parse_mailbox
from gatepost.model.envelope import Envelope, Recipient
from gatepost.relay.match import Match as RelayMatch
from gatepost.route_parts import match_of

DOMAINS = ("a.example", "b.example", "x.a.example", "y.x.a.example", "example")
PATTERNS = (*DOMAINS, "*.a.example", "*.example", "*.x.a.example", "*")
TEXTS = ("bulk", "b*", "*k", "*u*", "*", "bulk-7", "", "B*-7")
SENDERS = tuple(f"{local}@{domain}" for local in ("t", "u") for domain in DOMAINS)


def some(values: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), max_size=2, unique=True).map(tuple)


@st.composite
def matches(draw: st.DrawFn) -> Match:
    headers = draw(
        st.lists(
            st.builds(
                HeaderMatch,
                name=st.sampled_from(("X-A", "x-a", "X-B")),
                values=st.lists(st.sampled_from([each for each in TEXTS if each]), min_size=1, max_size=2).map(tuple),
            ),
            max_size=2,
        )
    )
    keys = {
        "recipient_domains": draw(some(PATTERNS)),
        "sender_domains": draw(some(PATTERNS)),
        "senders": draw(some((*SENDERS, "<>"))),
        "accounts": draw(some(("tim", "tom"))),
        "credentials": draw(some(("c1", "printer"))),
        "headers": tuple(headers),
        "size_over": draw(st.sampled_from((None, 0, 10, 20))),
        "size_up_to": draw(st.sampled_from((None, 30, 40))),
    }
    # Each alone is rarely there, so that one often covers the other.
    return Match(**{key: value for key, value in keys.items() if value not in ((), None) and draw(st.booleans())})


@st.composite
def mails(draw: st.DrawFn) -> Envelope:
    sender = draw(st.sampled_from((None, *SENDERS)))
    values = st.lists(st.sampled_from(("bulk", "BULK-7", "Bk", "", "bulk*")), max_size=2).map(tuple)
    return Envelope(
        None if sender is None else parse_mailbox(sender),
        (Recipient(parse_mailbox(f"r@{draw(st.sampled_from(DOMAINS))}")),),
        account=draw(st.sampled_from(("", "tim", "tom"))),
        credential=draw(st.sampled_from(("", "c1", "c2"))),
        label=draw(st.sampled_from(("", "printer", "c1"))),
        size_bytes=draw(st.sampled_from((0, 5, 10, 11, 20, 21, 30, 31, 40, 41))),
        fields=(("x-a", draw(values)), ("x-b", draw(values))),
    )


@settings(max_examples=300)
@given(matches(), matches(), st.lists(mails(), min_size=5, max_size=20))
def test_what_a_route_covers_is_never_left_to_a_later_one(earlier: Match, later: Match, mail: list[Envelope]) -> None:
    assume(covers(earlier, later))
    first, second = match_of(earlier), match_of(later)
    for each in mail:
        if second.matches(each, each.recipients[0]):
            assert first.matches(each, each.recipients[0])


@settings(max_examples=100)
@given(matches())
def test_every_match_covers_itself_and_is_covered_by_none(match: Match) -> None:
    assert covers(match, match)
    assert covers(Match(), match)
    assert covers(match, Match()) is (not match.is_narrow)


@settings(max_examples=100)
@given(matches(), mails())
def test_what_is_not_narrow_takes_all_mail_and_says_why_not_otherwise(match: Match, mail: Envelope) -> None:
    made: RelayMatch = match_of(match)
    assert made.matches(mail, mail.recipients[0]) is (made.mismatch(mail, mail.recipients[0]) == "")
    if not match.is_narrow:
        assert made.matches(mail, mail.recipients[0])


@settings(max_examples=100)
@given(matches(), st.lists(mails(), min_size=5, max_size=10))
def test_an_element_without_effect_can_be_taken_out(match: Match, mail: list[Envelope]) -> None:
    idle = idle_element(match)
    assume(idle is not None)
    assert idle is not None
    key, element, _ = idle
    if key == "headers":
        return
    left = tuple(each for each in getattr(match, key) if each != element)
    assert left or match.sender_domains
    shorter = match_of(match.model_copy(update={key: left}))
    for each in mail:
        assert shorter.matches(each, each.recipients[0]) is match_of(match).matches(each, each.recipients[0])


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (Match(size_over=10), Match(size_over=20)),
        (Match(size_up_to=20), Match(size_over=5, size_up_to=10)),
        (Match(senders=("<>",), sender_domains=("*",)), Match(senders=("<>", "t@a.example"))),
        (Match(sender_domains=("*.example",)), Match(senders=("t@a.example",))),
        (Match(credentials=("c1", "printer")), Match(credentials=("printer",), accounts=("tim",))),
        (
            Match(headers=(HeaderMatch(name="X-A", values=("bulk*",)),)),
            Match(headers=(HeaderMatch(name="x-a", values=("Bulk-*-7", "bulk")), HeaderMatch(name="X-B"))),
        ),
        (Match(recipient_domains=("*",)), Match()),
    ],
)
def test_a_route_behind_a_wider_one_is_never_reached(earlier: Match, later: Match) -> None:
    assert covers(earlier, later)


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (Match(size_over=20), Match(size_over=10)),
        (Match(size_up_to=10), Match()),
        (Match(sender_domains=("*",)), Match()),
        (Match(sender_domains=("*",)), Match(senders=("<>",))),
        (Match(senders=("t@a.example",)), Match(sender_domains=("a.example",))),
        (Match(headers=(HeaderMatch(name="X-A"),)), Match()),
        (Match(headers=(HeaderMatch(name="X-A", values=("bulk",)),)), Match(headers=(HeaderMatch(name="X-A"),))),
        (Match(credentials=("c1",)), Match(accounts=("tim",))),
        (Match(headers=(HeaderMatch(name="X-A"),)), Match(headers=(HeaderMatch(name="X-B"),))),
    ],
)
def test_a_route_behind_a_narrower_one_is_reached(earlier: Match, later: Match) -> None:
    assert not covers(earlier, later)


@pytest.mark.parametrize(
    "keys",
    [
        {"senders": ["tim"]},
        {"senders": ["*@example.org"]},
        {"senders": []},
        {"accounts": []},
        {"credentials": [""]},
        {"headers": [{"name": "X A"}]},
        {"headers": [{"name": "Bcc"}]},
        {"headers": [{"name": "X-A", "values": []}]},
        {"headers": [{"values": ["x"]}]},
        {"headers": [{"name": "X-A"}] * 11},
        {"size_over": 10, "size_up_to": 10},
        {"size_over": -1},
    ],
)
def test_a_match_that_could_take_nothing_is_refused(keys: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Match.model_validate(keys)
