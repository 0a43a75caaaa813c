"""What one route takes from another: whatever is said to be never reached is never chosen."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gatepost.config.route_match import HeaderMatch, Match, covers, idle_element
from gatepost.model.address import parse_mailbox
from gatepost.model.envelope import Envelope, Recipient
from gatepost.relay.match import Match as RelayMatch
from gatepost.route_parts import match_of

DOMAINS = ("a.example", "b.example", "x.a.example", "y.x.a.example", "example")
PATTERNS = (*DOMAINS, "*.a.example", "*.example", "*.x.a.example", "*")
TEXTS = ("bulk", "b*", "*k", "*u*", "*", "bulk-7", "B*-7")
SENDERS = tuple(f"{local}@{domain}" for local in ("t", "u") for domain in DOMAINS)


def some(rng: Random, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(rng.sample(values, rng.randrange(3)))


def a_match(rng: Random) -> Match:
    keys = {
        "recipient_domains": some(rng, PATTERNS),
        "sender_domains": some(rng, PATTERNS),
        "senders": some(rng, (*SENDERS, "<>")),
        "accounts": some(rng, ("tim", "tom")),
        "credentials": some(rng, ("c1", "printer")),
        "headers": tuple(
            HeaderMatch(name=rng.choice(("X-A", "x-a", "X-B")), values=some(rng, TEXTS) or ("*",))
            for _ in range(rng.randrange(3))
        ),
        "size_over": rng.choice((None, 0, 10, 20)),
        "size_up_to": rng.choice((None, 30, 40)),
    }
    # Each alone is rarely there, so that one often covers the other.
    return Match(**{key: value for key, value in keys.items() if value not in ((), None) and rng.random() < 0.5})


def a_pair(rng: Random) -> tuple[Match, Match]:
    """Two matches; often the first is the second with keys taken out and elements put in."""
    earlier, later = a_match(rng), a_match(rng)
    if rng.random() < 0.7:
        keys = {key: getattr(later, key) for key in sorted(later.model_fields_set) if rng.random() < 0.6}
        for key, value in keys.items():
            if isinstance(value, tuple) and key != "headers" and rng.random() < 0.5:
                keys[key] = (*value, *getattr(earlier, key))
        earlier = Match(**keys)
    return earlier, later


def a_mail(rng: Random) -> Envelope:
    sender = rng.choice((None, *SENDERS))
    values = ("bulk", "BULK-7", "Bk", "", "bulk*")
    return Envelope(
        None if sender is None else parse_mailbox(sender),
        (Recipient(parse_mailbox(f"r@{rng.choice(DOMAINS)}")),),
        account=rng.choice(("", "tim", "tom")),
        credential=rng.choice(("", "c1", "c2")),
        label=rng.choice(("", "printer", "c1")),
        size_bytes=rng.choice((0, 5, 10, 11, 20, 21, 30, 31, 40, 41)),
        fields=(("x-a", some(rng, values)), ("x-b", some(rng, values))),
    )


# What is drawn stands for a whole crowd: to draw each of them singly takes a hundred times as long.
crowds = st.integers(0, 2**64).map(Random)
few = settings(max_examples=30, deadline=None)


@few
@given(crowds)
def test_what_a_route_covers_is_never_left_to_a_later_one(rng: Random) -> None:
    for earlier, later in (a_pair(rng) for _ in range(40)):
        if covers(earlier, later):
            first, second = match_of(earlier), match_of(later)
            for mail in (a_mail(rng) for _ in range(20)):
                if second.matches(mail, mail.recipients[0]):
                    assert first.matches(mail, mail.recipients[0]), (earlier, later, mail)


def test_many_of_the_pairs_cover_and_not_all() -> None:
    rng = Random(1)
    found = [covers(*pair) and pair[0].is_narrow for pair in (a_pair(rng) for _ in range(1000))]
    assert 100 < sum(found) < 900


@few
@given(crowds)
def test_every_match_covers_itself_and_is_covered_by_none(rng: Random) -> None:
    for match in (a_match(rng) for _ in range(20)):
        assert covers(match, match)
        assert covers(Match(), match)
        assert covers(match, Match()) is (not match.is_narrow)


@few
@given(crowds)
def test_what_is_not_narrow_takes_all_mail_and_says_why_not_otherwise(rng: Random) -> None:
    for match in (a_match(rng) for _ in range(20)):
        made: RelayMatch = match_of(match)
        for mail in (a_mail(rng) for _ in range(5)):
            assert made.matches(mail, mail.recipients[0]) is (made.mismatch(mail, mail.recipients[0]) == "")
            assert match.is_narrow or made.matches(mail, mail.recipients[0])


@few
@given(crowds)
def test_an_element_without_effect_can_be_taken_out(rng: Random) -> None:
    for match in (a_match(rng) for _ in range(40)):
        idle = idle_element(match)
        if idle is None or idle[0] == "headers":
            continue
        left = tuple(each for each in getattr(match, idle[0]) if each != idle[1])
        shorter = match_of(match.model_copy(update={idle[0]: left}))
        for mail in (a_mail(rng) for _ in range(20)):
            assert shorter.matches(mail, mail.recipients[0]) is match_of(match).matches(mail, mail.recipients[0])


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
        {"accounts": ["tim\0"]},
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


def test_accounts_are_compared_as_stores_keep_them() -> None:
    written = Match(accounts=("Tim@Example.org",))
    mail = Envelope(None, (Recipient(parse_mailbox("r@a.example")),), account="tim@example.org")
    assert match_of(written).matches(mail, mail.recipients[0])
    assert idle_element(Match(accounts=("TIM", "tim"))) == ("accounts", "tim", "tim")
