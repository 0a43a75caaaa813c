"""Whom a failed login is counted against: the address, its network, and the login; no I/O.

An address is an IPv4 address or an IPv6 /64, a network an IPv4 /24 or an IPv6 /48.  A login is counted as a whole, over
all addresses from which it never succeeded lately; but an address from which it did is counted by itself.  So nobody
can lock a login out where its owner is at home, and whoever guesses from many addresses still gets few guesses.
"""

from __future__ import annotations

import functools
import ipaddress
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from gatepost.state.slots import SLOT_LIMIT, first_slot

__all__ = [
    "SLICES",
    "Kind",
    "LoginLimits",
    "Places",
    "Plan",
    "Subject",
    "blockable",
    "named",
    "places_of",
    "plan_of",
    "window",
]

Kind = Literal["address", "network", "login", "login at home"]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SLICES: Final = 12
"""A window is counted in so many slices, and a failure is forgotten with its slice."""

_REASONS: Final[dict[str, str]] = {
    "a": "too many failed logins from this address",
    "n": "too many failed logins from this network",
    "l": "too many failed logins with this name",
    "h": "too many failed logins with this name from this address",
}
_MARKS: Final[dict[str, Kind]] = {"a": "address", "n": "network", "l": "login", "h": "login at home"}


@dataclass(frozen=True, slots=True)
class LoginLimits:
    """How many failed logins there may be in a window; 0 is no limit.

    Args:
        per_address: from one IPv4 address or IPv6 /64.
        per_network: from one IPv4 /24 or IPv6 /48.
        per_login: with one login, from all addresses where it is not at home; and from each where it is.
        window: in seconds.
        exempt: networks whose addresses are not counted; the logins are.
    """

    per_address: int = 100
    per_network: int = 1000
    per_login: int = 200
    window: float = 3600.0
    exempt: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Places:
    """An address as it is counted.

    Args:
        address: an IPv4 address or an IPv6 /64.
        network: the /24 or /48 of it; empty if it is no IP address.
        is_exempt: whether only logins are counted there.
    """

    address: str
    network: str
    is_exempt: bool


@dataclass(frozen=True, slots=True)
class Subject:
    """What is counted.

    Args:
        key: its name in the state file.
        limit: so many failures may be counted at once.

    Attributes:
        slots: how many guesses may be under way without being written down first: they must fit below the limit.
        first_slot: where these lie.
        threshold: from so many failures on each guess is written down before it is judged.
    """

    key: str
    limit: int
    slots: int = field(init=False)
    first_slot: int = field(init=False)
    threshold: int = field(init=False)

    def __post_init__(self) -> None:
        slots = min(self.limit // 4, SLOT_LIMIT)
        object.__setattr__(self, "slots", slots)
        object.__setattr__(self, "first_slot", first_slot(self.key))
        object.__setattr__(self, "threshold", self.limit - slots)

    @property
    def reason(self) -> str:
        """Why no login is judged once the limit is reached."""
        return _REASONS[self.key[0]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is counted for one login from one address.

    Args:
        address: as it is counted.
        subjects: three at most; the login comes last.
        keys: theirs, filled up with empty ones.
        is_at_home: whether the login is counted for this address alone.
    """

    address: str
    subjects: tuple[Subject, ...]
    keys: tuple[str, str, str]
    is_at_home: bool


def plan_of(places: Places, login: str, limits: LoginLimits, *, is_at_home: bool) -> Plan:
    """Return what is counted for *login*, which is empty if none was claimed, at *places*."""
    subjects = []
    if not places.is_exempt:
        subjects = [
            Subject(f"a {places.address}", limits.per_address),
            Subject(f"n {places.network}", limits.per_network),
        ]
    if login:
        subjects.append(Subject(f"h {places.address} {login}" if is_at_home else f"l {login}", limits.per_login))
    counted = tuple(each for each in subjects if each.limit)
    keys = [each.key for each in counted] + [""] * 3
    return Plan(places.address, counted, (keys[0], keys[1], keys[2]), is_at_home and limits.per_login > 0)


def blockable(address: str, limits: LoginLimits) -> Subject | None:
    """Return what *address* is counted as; None if it is not counted at all."""
    places = places_of(address, limits.exempt)
    return None if places.is_exempt or not limits.per_address else Subject(f"a {places.address}", limits.per_address)


def named(key: str) -> tuple[Kind, str]:
    """Return what a key of the state file stands for."""
    mark, _, value = key.partition(" ")
    return _MARKS[mark], value


@functools.lru_cache(maxsize=4096)
def places_of(address: str, exempt: Sequence[Network] = ()) -> Places:
    """Return how *address* is counted."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        # A Unix socket has none.
        return Places(address, "", is_exempt=True)
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    is_exempt = any(parsed in network for network in exempt)
    if isinstance(parsed, ipaddress.IPv4Address):
        return Places(str(parsed), str(ipaddress.ip_network((parsed, 24), strict=False)), is_exempt)
    # RFC 6177 §2: a site gets a /48 or somewhat less, and one link of it is a /64.
    return Places(
        str(ipaddress.ip_network((parsed, 64), strict=False)),
        str(ipaddress.ip_network((parsed, 48), strict=False)),
        is_exempt,
    )


def window(limits: LoginLimits, now: float) -> tuple[int, int, int]:
    """Return the slice of *now*, and the first and last one that count: what failed in a window, and some more.

    A slice is named by when it begins.  Slices of the future count too: a clock that was put back forgives nobody.
    """
    width = max(1, math.ceil(limits.window / SLICES))
    current = int(now) // width * width
    return current, current - SLICES * width, current + SLICES * width
