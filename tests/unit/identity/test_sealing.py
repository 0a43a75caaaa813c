"""What is sealed opens at its place, with its key, unchanged; and nowhere else."""

from __future__ import annotations

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.identity.sealing import Sealer
from gatepost.model.identity import Secret
from gatepost.state.keys import Keys
from identities import KEYS


def test_what_is_sealed_opens_again() -> None:
    sealer = Sealer(KEYS)
    value = Secret(bytes(range(32)))
    sealed = sealer.seal("c1", "HMAC-MD5", value)
    assert value.reveal() not in sealed
    assert sealer.open("c1", "HMAC-MD5", Secret(sealed)) == value
    assert sealer.seal("c1", "HMAC-MD5", value) != sealed


@pytest.mark.parametrize("place", [("c2", "HMAC-MD5"), ("c1", "HMAC-SHA")])
def test_it_does_not_open_at_another_place(place: tuple[str, str]) -> None:
    sealer = Sealer(KEYS)
    sealed = Secret(sealer.seal("c1", "HMAC-MD5", Secret(b"x" * 32)))
    with pytest.raises(StoreUnavailable, match="secret_key_file"):
        sealer.open(*place, sealed)


def test_it_does_not_open_with_another_key_or_when_changed() -> None:
    sealed = Sealer(KEYS).seal("c1", "HMAC-MD5", Secret(b"x" * 32))
    other = Sealer(Keys(Secret(bytes(32))))
    for sealer, octets in (
        (other, sealed),
        (Sealer(KEYS), sealed[:-1]),
        (Sealer(KEYS), b""),
        (Sealer(KEYS), b"a" * 12),
    ):
        with pytest.raises(StoreUnavailable):
            sealer.open("c1", "HMAC-MD5", Secret(octets))
