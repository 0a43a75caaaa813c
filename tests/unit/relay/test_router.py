"""Routing: the first match wins, and sandbox mail never goes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.errors import Malformed
from gatepost.model.address import parse_mailbox
from gatepost.model.delivery import Result
from gatepost.model.envelope import Envelope, Recipient
from gatepost.relay.discard import Discard
from gatepost.relay.match import Match, parse_domain_pattern
from gatepost.relay.router import Route, Router
from gatepost.relay.sandbox import Sandbox
from gatepost.relay.transport import Delivery


class Nowhere:
    """A transport that is only a name."""

    def __init__(self, name: str = "nowhere") -> None:
        self.name = name
        self.is_closed = False

    async def deliver(self, delivery: Delivery) -> Sequence[Result]:
        raise AssertionError

    async def close(self) -> None:
        self.is_closed = True


ANN = Recipient(parse_mailbox("ann@example.net"))


def envelope(sender: str = "tim@example.org", account: str = "tim", *, sandbox: bool = False) -> Envelope:
    return Envelope(parse_mailbox(sender) if sender else None, (ANN,), account=account, sandbox=sandbox)


def domains(*patterns: str) -> Match:
    return Match(recipient_domains=tuple(map(parse_domain_pattern, patterns)))


def sandbox(name: str, match: Match | None = None) -> Route:
    return Route(name, Sandbox(name, Path("/nowhere")), match or Match())


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("example.net", "a@example.net", "a@sub.example.net"),
        ("Example.NET", "a@eXample.net", "a@example.org"),
        ("*.example.net", "a@sub.example.net", "a@example.net"),
        ("*.example.net", "a@x.y.example.net", "a@notexample.net"),
        ("bücher.example", "a@xn--bcher-kva.example", "a@bucher.example"),
        ("xn--bcher-kva.example", "a@bücher.example", "a@example"),
        ("[192.0.2.1]", "a@[192.0.2.1]", "a@[192.0.2.2]"),
    ],
)
def test_a_domain_pattern_takes_its_own_and_no_others(pattern: str, yes: str, no: str) -> None:
    parsed = parse_domain_pattern(pattern)
    assert parsed.matches(parse_mailbox(yes))
    assert not parsed.matches(parse_mailbox(no))


def test_a_star_takes_every_domain() -> None:
    assert parse_domain_pattern("*").matches(parse_mailbox("a@example"))


@pytest.mark.parametrize("text", ["*", "example.net", "*.example.net"])
def test_patterns_print_as_they_are_parsed(text: str) -> None:
    assert str(parse_domain_pattern(text)) == text


@pytest.mark.parametrize("text", ["", "*.", "**", "a b", "*example.net", "ann@example.net", "a..b"])
def test_bad_patterns_are_refused(text: str) -> None:
    with pytest.raises(Malformed):
        parse_domain_pattern(text)


def test_the_first_route_that_matches_wins() -> None:
    first, second, third = (Route(name, Nowhere(name)) for name in ("first", "second", "third"))
    elsewhere = Route("elsewhere", Nowhere(), domains("example.com"))
    assert Router([elsewhere, second, first, third]).route_for(envelope(), ANN) is second


def test_no_route_is_none() -> None:
    assert Router([]).route_for(envelope(), ANN) is None
    assert Router([Route("a", Nowhere(), domains("example.com"))]).route_for(envelope(), ANN) is None


def test_one_of_several_recipient_domains_is_enough() -> None:
    assert domains("example.com", "example.net").matches(envelope(), ANN)


def test_every_list_that_is_given_must_match() -> None:
    match = Match(
        recipient_domains=(parse_domain_pattern("example.net"),),
        sender_domains=(parse_domain_pattern("example.org"),),
        accounts=frozenset({"tim"}),
    )
    assert match.matches(envelope(), ANN)
    assert not match.matches(envelope(account="tom"), ANN)
    assert not match.matches(envelope("tim@example.com"), ANN)
    assert not match.matches(envelope(), Recipient(parse_mailbox("ann@example.com")))


def test_the_null_path_is_in_no_sender_domain() -> None:
    assert not Match(sender_domains=(parse_domain_pattern("*"),)).matches(envelope(""), ANN)
    assert Match().matches(envelope(""), ANN)


def test_sandbox_mail_takes_a_sandbox_route_even_behind_others() -> None:
    kept = sandbox("kept")
    router = Router([Route("out", Nowhere()), kept])
    assert router.route_for(envelope(sandbox=True), ANN) is kept
    route = router.route_for(envelope(), ANN)
    assert route is not None
    assert route.name == "out"


def test_sandbox_mail_prefers_the_sandbox_that_matches() -> None:
    other, kept = sandbox("other", domains("example.com")), sandbox("kept", domains("example.net"))
    assert Router([other, kept]).route_for(envelope(sandbox=True), ANN) is kept
    assert Router([other]).route_for(envelope(sandbox=True), ANN) is other


def test_sandbox_mail_goes_nowhere_without_a_sandbox() -> None:
    assert Router([Route("out", Nowhere())]).route_for(envelope(sandbox=True), ANN) is None


async def test_closing_closes_every_transport() -> None:
    transports = [Nowhere("a"), Nowhere("b")]
    await Router([Route(each.name, each) for each in transports]).close()
    assert all(each.is_closed for each in transports)


def test_mail_that_must_stay_here_is_thrown_away_only_where_that_was_said() -> None:
    silent = Route("silent", Discard("silent"))
    kept = sandbox("kept", domains("example.com"))
    assert Router([silent]).route_for(envelope(sandbox=True), ANN) is None
    assert Router([silent, kept]).route_for(envelope(sandbox=True), ANN) is kept
    assert Router([silent, kept]).route_for(envelope(), ANN) is silent
    told = Route("told", Discard("told", takes_sandbox=True), domains("example.net"))
    assert Router([silent, kept, told]).route_for(envelope(sandbox=True), ANN) is told


def test_what_throws_mail_away_gets_no_mail_that_does_not_match_it() -> None:
    told = Route("told", Discard("told", takes_sandbox=True), domains("example.com"))
    kept = sandbox("kept", domains("example.org"))
    assert Router([told]).route_for(envelope(sandbox=True), ANN) is None
    assert Router([told, kept]).route_for(envelope(sandbox=True), ANN) is kept


def test_the_route_that_an_operator_chose_comes_first_while_there_is_one_of_that_name() -> None:
    router = Router([Route("first", Nowhere()), Route("spare", Nowhere(), domains("nobody.example")), sandbox("keep")])
    chosen = replace(envelope(), route="spare")
    assert _name(router, chosen) == "spare"
    assert _name(router, replace(chosen, route="gone")) == "first"
    assert _name(router, replace(chosen, sandbox=True)) == "keep", "it must not leave the sandbox by that"


def _name(router: Router, envelope: Envelope) -> str:
    route = router.route_for(envelope, ANN)
    assert route is not None
    return route.name
