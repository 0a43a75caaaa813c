"""Who signs in the name of which domain, and with which of its keys: what a worker holds of its DKIM keys; no I/O.

A domain may have several keys of one kind: the one that took over last signs, those before it only wait until no mail
is under way that they signed, and those that come later are in the DNS already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gatepost.message.dkim import BodyHash, SigningKey, sign, without_signatures
from gatepost.message.headers import Header, parse_header
from gatepost.message.originator import parse_originator
from gatepost.model.address import Mailbox
from gatepost.model.clock import Clock
from gatepost.model.value import value

__all__ = ["DomainKeys", "ScheduledKey", "Signer", "in_use"]


@value(frozen=True, slots=True)
class ScheduledKey:
    """A key and its time.

    Args:
        key: what signs.
        signs_from: when it takes over from those of its kind before it, in seconds since the epoch; None: not yet told.
    """

    key: SigningKey
    signs_from: float | None


DomainKeys = Mapping[str, Sequence[ScheduledKey]]
"""Keys by domain, in A-labels."""


def in_use(keys: Iterable[ScheduledKey], now: float) -> tuple[SigningKey, ...]:
    """Return the key of each kind that signs at *now*, RSA first."""
    latest: dict[str, tuple[float, SigningKey]] = {}
    for each in keys:
        since = each.signs_from
        if since is not None and since <= now:
            kind = each.key.algorithm
            if kind not in latest or since >= latest[kind][0]:
                latest[kind] = (since, each.key)
    # Old verifiers look at the first signature only, and know only RSA.
    return tuple([latest[kind][1] for kind in sorted(latest, reverse=True)])


class Signer:
    """Signs messages; its keys may be changed at any time.

    Args:
        clock: what time it is.
        keys: by domain.
        left_out: names of fields that are not signed, in lower case.
    """

    __slots__ = ("_clock", "_left_out", "keys")

    def __init__(self, clock: Clock, keys: DomainKeys | None = None, left_out: frozenset[bytes] = frozenset()) -> None:
        self._clock = clock
        self._left_out = left_out
        self.keys: DomainKeys = keys or {}

    def adapt(self, keys: DomainKeys, left_out: frozenset[bytes]) -> None:
        """Use other keys from now on."""
        self.keys, self._left_out = keys, left_out

    def choose(self, authors: Iterable[Mailbox]) -> tuple[SigningKey, ...]:
        """Return the keys that sign for the first of *authors* whose domain has any; none if no domain has."""
        for author in authors:
            keys = self.keys.get(author.ascii_domain)
            if keys is not None and (found := in_use(keys, self._clock.now())):
                return found
        return ()

    def why_not(self, authors: Iterable[Mailbox]) -> str:
        """Say why nobody signs for *authors*: no key, or waiting, as a key of theirs takes over later."""
        for author in authors:
            if author.ascii_domain in self.keys:
                return "waiting"
        return "no key"

    def sign(self, header: Header, body_hash: bytes, keys: Sequence[SigningKey]) -> bytes:
        """Return *header* as a section with a signature by each of *keys*."""
        return sign(header, body_hash, keys, self._clock.now(), self._left_out)

    def sign_whole(self, content: bytes) -> tuple[bytes, int]:
        """Return a whole message signed for its From, and how many signatures it has got."""
        if not self.keys:
            return content, 0
        end = content.find(b"\r\n\r\n") + 4
        header = parse_header(content[:end])
        authors = [author for each in header.find(b"from") for author in parse_originator(each)]
        keys = self.choose(authors)
        if not keys:
            return content, 0
        body = BodyHash()
        body.update(content[end:])
        return self.sign(header, body.digest(), keys) + content[end:], len(keys)

    @staticmethod
    def unsigned(content: bytes, count: int) -> bytes:
        """Return a whole message without the *count* signatures that we gave it."""
        end = content.find(b"\r\n\r\n") + 4
        return without_signatures(content[:end], count) + content[end:]
