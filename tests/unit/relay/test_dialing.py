"""Where a next hop is: families in turn, the ones we can go from, and what cannot be looked up."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from gatepost.model.delivery import Cause
from gatepost.relay.dialing import ADDRESS_LIMIT, look_up, sources_of
from gatepost.relay.trouble import Trouble

IPV4, IPV6 = socket.AF_INET, socket.AF_INET6


class Resolver:
    """Stands in for that of the event loop: finds addresses in its order, each twice, as for two protocols."""

    def __init__(self, *found: str, error: Exception | None = None) -> None:
        self.found = found
        self.error = error

    async def getaddrinfo(self, _host: str, port: int, **_: object) -> list[Any]:
        if self.error is not None:
            raise self.error
        places = [(IPV6, (each, port, 0, 0)) if ":" in each else (IPV4, (each, port)) for each in self.found]
        return [(family, socket.SOCK_STREAM, number, "", place) for family, place in places for number in (6, 132)]


async def found(monkeypatch: pytest.MonkeyPatch, resolver: Resolver, *sources: str) -> list[str]:
    """Look a name up with *resolver*; return the addresses."""
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolver.getaddrinfo)
    places = await look_up("hop.example", 25, sources_of(sources), 60.0)
    assert all(place[1] == 25 for _, place in places)
    return [place[0] for _, place in places]


@pytest.mark.rfc("8305 §4")
@pytest.mark.parametrize(
    ("resolved", "tried"),
    [
        (("::1", "::2", "::3", "10.0.0.1", "10.0.0.2"), ["::1", "10.0.0.1", "::2", "10.0.0.2", "::3"]),
        (("10.0.0.1", "10.0.0.2", "::1"), ["10.0.0.1", "::1", "10.0.0.2"]),
        (("10.0.0.1",), ["10.0.0.1"]),
    ],
)
async def test_the_families_take_turns_and_the_best_address_stays_first(
    monkeypatch: pytest.MonkeyPatch, resolved: tuple[str, ...], tried: list[str]
) -> None:
    assert await found(monkeypatch, Resolver(*resolved)) == tried


async def test_a_name_with_a_thousand_addresses_gets_no_thousand_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [f"10.0.{number // 250}.{number % 250}" for number in range(1000)]
    tried = await found(monkeypatch, Resolver(*many, "::1"))
    assert tried == ["10.0.0.0", "::1", *many[1 : ADDRESS_LIMIT - 1]]


async def test_a_family_that_we_have_no_address_of_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    both = Resolver("::1", "10.0.0.1")
    assert await found(monkeypatch, both, "192.0.2.5") == ["10.0.0.1"]
    assert await found(monkeypatch, both, "2001:db8::5") == ["::1"]
    assert await found(monkeypatch, both, "192.0.2.5", "2001:db8::5") == ["::1", "10.0.0.1"]


@pytest.mark.parametrize(
    ("resolver", "text"),
    [
        (Resolver(error=socket.gaierror(-2, "Name or service not known")), "cannot look up hop.example"),
        (Resolver(error=UnicodeError("label too long")), "cannot look up hop.example"),
        (Resolver(error=TimeoutError()), "looking up hop.example took too long"),
        (Resolver("::1"), "no address of a family that source_address has one of"),
    ],
)
async def test_what_has_no_address_is_trouble_of_the_next_hop(
    monkeypatch: pytest.MonkeyPatch, resolver: Resolver, text: str
) -> None:
    with pytest.raises(Trouble, match=text) as caught:
        await found(monkeypatch, resolver, "192.0.2.5")
    assert caught.value.cause is Cause.NEXT_HOP
    assert caught.value.reply.enhanced == "4.4.3"


def test_what_is_no_address_is_no_source() -> None:
    with pytest.raises(ValueError, match="eth0"):
        sources_of(["eth0"])
