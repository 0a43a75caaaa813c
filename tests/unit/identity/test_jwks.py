"""An issuer's keys: remembered, fetched when that helps, and no more often than that."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest

from gatepost.errors import ConfigError, StoreUnavailable
from gatepost.identity.jwks import KeySource, from_file, from_url
from identities import Clock
from tokens import Signer, jwks

_ONE, _TWO, _THREE = (Signer("ES256", kid) for kid in ("k1", "k2", "k3"))


class Issuer:
    """Somebody who publishes keys, or is away."""

    def __init__(self, *signers: Signer) -> None:
        self.document: bytes | Exception = jwks(*(each.public() for each in signers))
        self.fetches = 0
        self.clock = Clock()
        self.source = KeySource(self.fetch, "test", self.clock)

    async def fetch(self) -> bytes:
        self.fetches += 1
        await asyncio.sleep(0)
        if isinstance(self.document, Exception):
            raise self.document
        return self.document

    async def kids(self, kid: str | None) -> list[Any]:
        return [each.get("kid") for each in await self.source.find(kid)]


async def test_keys_are_fetched_once_and_remembered() -> None:
    issuer = Issuer(_ONE, _TWO)
    assert await issuer.kids("k1") == ["k1"]
    assert await issuer.kids("k2") == ["k2"]
    assert await issuer.kids(None) == ["k1", "k2"]
    assert issuer.fetches == 1


@pytest.mark.rfc("7517 §5")
@pytest.mark.parametrize("kind", [None, 1, "oct", "new", [], ["RSA"], {}, {"RSA": 1}])
async def test_a_key_of_no_kind_that_we_know_takes_no_other_key_along(kind: object) -> None:
    issuer = Issuer(_ONE)
    issuer.document = jwks({**_TWO.public(), "kty": kind}, _ONE.public())
    assert await issuer.kids(None) == ["k1"]


async def test_twenty_unknown_key_ids_cause_one_fetch() -> None:
    issuer = Issuer(_ONE)
    await issuer.kids("k1")
    issuer.clock.time += 61
    for number in range(10):
        assert await issuer.kids(f"unknown{number}") == []
    assert issuer.fetches == 2
    issuer.clock.time += 61
    assert await asyncio.gather(*(issuer.kids(f"other{number}") for number in range(20))) == [[]] * 20
    assert issuer.fetches == 3


async def test_a_new_key_is_found_at_once_and_the_next_one_after_the_cool_down() -> None:
    issuer = Issuer(_ONE)
    await issuer.kids("k1")
    issuer.document = jwks(_ONE.public(), _TWO.public())
    assert await issuer.kids("k2") == ["k2"]
    issuer.document = jwks(_TWO.public(), _THREE.public())
    assert await issuer.kids("k3") == []
    issuer.clock.time += 60
    assert await issuer.kids("k3") == ["k3"]
    assert issuer.fetches == 3


async def test_the_first_fetch_answers_all_who_wait_and_is_not_repeated_for_strangers() -> None:
    issuer = Issuer(_ONE)
    names = [f"unknown{number}" for number in range(20)]
    assert await asyncio.gather(*(issuer.kids(each) for each in ["k1", *names])) == [["k1"], *[[]] * 20]
    assert issuer.fetches == 1


async def test_twenty_unknown_key_ids_in_turn_cause_one_fetch_from_the_start() -> None:
    issuer = Issuer(_ONE)
    for number in range(20):
        assert await issuer.kids(f"unknown{number}") == []
    assert issuer.fetches == 1
    assert await issuer.kids("k1") == ["k1"]
    issuer.clock.time += 60
    for number in range(20):
        assert await issuer.kids(f"unknown{number}") == []
    assert issuer.fetches == 2


async def test_keys_go_on_for_a_bounded_time_only() -> None:
    issuer = Issuer(_ONE)
    await issuer.kids("k1")
    issuer.document = OSError("no route")
    issuer.clock.time += 86_399
    assert await issuer.kids("k1") == ["k1"]
    issuer.clock.time += 1
    with pytest.raises(StoreUnavailable):
        await issuer.kids("k1")
    with pytest.raises(StoreUnavailable):
        await issuer.kids(None)


async def test_whose_key_is_there_does_not_wait_for_an_issuer_that_is_away() -> None:
    issuer = Issuer(_ONE)
    await issuer.kids("k1")
    issuer.document = OSError("no route")
    issuer.clock.time += 3600
    assert await issuer.kids("k1") == ["k1"]
    gate = asyncio.Event()

    async def wait() -> bytes:
        issuer.fetches += 1
        await gate.wait()
        return jwks(_ONE.public(), _TWO.public())

    issuer.source._fetch = wait
    issuer.clock.time += 5
    fetches = issuer.fetches
    for _ in range(5):
        assert await issuer.kids("k1") == ["k1"]
    late = asyncio.create_task(issuer.kids("k2"))
    while issuer.fetches == fetches:
        await asyncio.sleep(0)
    gate.set()
    assert await late == ["k2"]
    assert issuer.fetches == fetches + 1


async def test_trouble_is_told_once_and_its_end_too() -> None:
    issuer = Issuer(_ONE)
    told: list[str] = []
    issuer.source._tell = told.append
    issuer.document = OSError("no route")
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await issuer.kids("k1")
        issuer.clock.time += 5
    issuer.document = jwks(_ONE.public())
    for _ in range(3):
        await issuer.kids("k1")
        issuer.clock.time += 3600
    assert told == ["test: no route", ""]


async def test_old_keys_are_dropped_when_they_are_published_no_more() -> None:
    issuer = Issuer(_ONE)
    await issuer.kids("k1")
    issuer.document = jwks(_TWO.public())
    issuer.clock.time += 3599
    assert await issuer.kids("k1") == ["k1"]
    issuer.clock.time += 1
    assert await issuer.kids("k1") == []


async def test_an_issuer_that_was_never_reached_is_trouble_and_is_tried_again_soon() -> None:
    issuer = Issuer(_ONE)
    issuer.document = OSError("no route")
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await issuer.kids("k1")
    assert issuer.fetches == 1
    issuer.document = jwks(_ONE.public())
    issuer.clock.time += 5
    assert await issuer.kids("k1") == ["k1"]


async def test_while_an_issuer_is_away_its_keys_go_on_and_others_are_trouble() -> None:
    issuer = Issuer(_ONE)
    await issuer.kids("k1")
    issuer.document = TimeoutError()
    issuer.clock.time += 4000
    assert await issuer.kids("k1") == ["k1"]
    with pytest.raises(StoreUnavailable):
        await issuer.kids("k2")
    assert issuer.fetches == 2
    issuer.document = jwks(_TWO.public())
    issuer.clock.time += 60
    assert await issuer.kids("k2") == ["k2"]


@pytest.mark.rfc("7517 §5")
@pytest.mark.rfc("7518 §3.3")
@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
async def test_keys_that_cannot_be_used_are_left_out() -> None:
    shared = {"kty": "oct", "k": base64.urlsafe_b64encode(b"x" * 32).decode(), "kid": "shared"}
    broken = {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "broken"}
    issuer = Issuer()
    short = Signer("RS256", "short", 1024)
    issuer.document = jwks(shared, broken, {"kty": "XYZ"}, short.public(), {}, _ONE.public())
    assert await issuer.kids(None) == ["k1"]


async def test_a_private_key_that_was_published_by_mistake_is_used_as_a_public_one() -> None:
    issuer = Issuer()
    issuer.document = jwks({**_ONE.key.as_dict(private=True), "kid": "k1"})
    (key,) = await issuer.source.find("k1")
    assert not key.is_private


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{}",
        b"[]",
        b"not json",
        b'{"keys": {}}',
        b'{"keys": []}',
        b'{"keys": [1, null]}',
        b"[" * 100_000,
        b"x" * 300_000,
    ],
)
async def test_what_is_no_key_set_is_trouble(document: bytes) -> None:
    issuer = Issuer()
    issuer.document = document
    with pytest.raises(StoreUnavailable):
        await issuer.kids("k1")


async def test_a_file_is_read_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    clock = Clock()
    source = from_file(path, clock)
    with pytest.raises(StoreUnavailable, match=str(path)):
        await source.find("k1")
    path.write_bytes(jwks(_ONE.public()))
    clock.time += 5
    assert len(await source.find("k1")) == 1
    path.write_text(json.dumps({"keys": [_TWO.public()]}))
    clock.time += 5
    assert len(await source.find("k2")) == 1


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://login.example.org/jwks", True),
        ("http://127.0.0.1:8080/jwks", True),
        ("http://localhost/jwks", True),
        ("http://[::1]/jwks", True),
        ("http://login.example.org/jwks", False),
        ("http://127.0.0.1.example.org/jwks", False),
        ("file:///etc/passwd", False),
        ("jwks.json", False),
    ],
)
def test_keys_come_by_https_or_from_this_machine(url: str, good: bool) -> None:
    if good:
        from_url(url, Clock())
    else:
        with pytest.raises(ConfigError, match="https"):
            from_url(url, Clock())
