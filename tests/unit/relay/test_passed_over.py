"""What is said of the way that a message takes is the way that it takes."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from gatepost.model.address import parse_mailbox
from gatepost.model.envelope import Envelope, Recipient
from gatepost.relay.match import Match, parse_domain_pattern
from gatepost.relay.router import Route, Router
from gatepost.relay.sandbox import Sandbox
from gatepost.relay.smarthost import SmartHost, TlsMode

DOMAINS = ("a.example", "b.example", "c.example")


def a_router(rng: Random) -> Router:
    def match() -> Match:
        domains = tuple(map(parse_domain_pattern, rng.sample(DOMAINS, rng.randrange(3))))
        return Match(recipient_domains=domains, size_over=rng.choice((None, 10)))

    transports = (
        Sandbox("box", Path("/nowhere")),
        SmartHost("out", "127.0.0.1", 25, hostname="x.example", tls=TlsMode.NONE),
    )
    return Router([Route(f"r{number}", rng.choice(transports), match()) for number in range(rng.randrange(6))])


@pytest.mark.parametrize("seed", range(50))
def test_the_route_after_those_that_were_passed_over_is_the_one_that_is_taken(seed: int) -> None:
    rng = Random(seed)
    router = a_router(rng)
    recipient = Recipient(parse_mailbox(f"r@{rng.choice(DOMAINS)}"))
    for size in (5, 50):
        for sandbox in (False, True):
            envelope = Envelope(None, (recipient,), size_bytes=size, sandbox=sandbox)
            taken = router.route_for(envelope, recipient)
            passed = router.passed_over(envelope, recipient)
            places = [router.routes.index(route) for route, _ in passed]
            assert places == list(range(len(places)))
            assert taken is (router.routes[len(places)] if len(places) < len(router.routes) else None)
            assert all(key == "sandbox" or route.match.mismatch(envelope, recipient) == key for route, key in passed)
            if not sandbox:
                assert all(key for _, key in passed)
