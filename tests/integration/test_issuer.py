"""Keys of an issuer that come over HTTP, from a small server on this machine that can misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.identity import issuer_http
from gatepost.identity.bearer import TokenVerifier
from gatepost.identity.issuer import Issuer
from gatepost.identity.issuer_http import IssuerHttp
from gatepost.identity.jwks import from_url
from gatepost.identity.tokens import TokenInvalid, TokenSubject
from gatepost.model.identity import Secret
from identities import Clock
from tokens import AUDIENCE, ISSUER, Signer, jwks


class Publisher:
    """An HTTP server that gives one document, or does not."""

    def __init__(self) -> None:
        self.document = b""
        self.status = "200 OK"
        self.more = b""
        self.asked = 0
        self.is_mute = False
        self.tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        try:
            await reader.readuntil(b"\r\n\r\n")
            if self.is_mute:
                await reader.read()
                return
            head = f"HTTP/1.1 {self.status}\r\nContent-Length: {len(self.document)}\r\nConnection: close\r\n"
            writer.write(head.encode() + self.more + b"\r\n" + self.document)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def publisher() -> AsyncIterator[Publisher]:
    made = Publisher()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks.json"  # type: ignore[attr-defined]
    made.server = server  # type: ignore[attr-defined]
    made.http = IssuerHttp(timeout=30.0)  # type: ignore[attr-defined]
    yield made
    made.http.close()  # type: ignore[attr-defined]
    while issuer_http._closing:
        await asyncio.sleep(0.01)
    server.close()
    await server.wait_closed()


def _verifier(publisher: Publisher, clock: Clock) -> TokenVerifier:
    keys = from_url(publisher.url, clock, publisher.http)  # type: ignore[attr-defined]
    return TokenVerifier([Issuer(ISSUER, AUDIENCE, keys)], clock)


async def test_keys_rotate_and_twenty_unknown_ids_cause_one_fetch(publisher: Publisher) -> None:
    old, new, clock = Signer("ES256", "old"), Signer("RS256", "new"), Clock()
    publisher.document = jwks(old.public())
    verifier = _verifier(publisher, clock)
    good = TokenSubject("tim@example.org", ISSUER)
    assert await verifier.verify(Secret(old.token(clock.now()))) == good
    assert publisher.asked == 1
    publisher.document = jwks(new.public())
    clock.time += 60
    assert await verifier.verify(Secret(new.token(clock.now()))) == good
    assert publisher.asked == 2
    clock.time += 60
    for number in range(20):
        stranger = old.token(clock.now(), header={"kid": f"unknown{number}"})
        assert isinstance(await verifier.verify(Secret(stranger)), TokenInvalid)
    assert publisher.asked == 3
    assert isinstance(await verifier.verify(Secret(old.token(clock.now()))), TokenInvalid)


@pytest.mark.parametrize("trouble", ["404", "500", "redirect", "garbage", "endless", "mute", "gone"])
async def test_an_issuer_in_trouble_is_no_no_and_its_keys_go_on(publisher: Publisher, trouble: str) -> None:
    signer, clock = Signer("ES256"), Clock()
    good_document = jwks(signer.public())
    publisher.document = good_document
    verifier = _verifier(publisher, clock)
    match trouble:
        case "404":
            publisher.status = "404 Not Found"
        case "500":
            publisher.status = "500 Oops"
        case "redirect":
            publisher.status, publisher.more = "302 Found", b"Location: http://127.0.0.1:1/\r\n"
        case "garbage":
            publisher.document = b"<html>"
        case "endless":
            publisher.document = b" " * 2_000_000
        case "mute":
            publisher.is_mute = True
            publisher.http._timeout = 0.3  # type: ignore[attr-defined]
        case "gone":
            publisher.server.close()  # type: ignore[attr-defined]
    with pytest.raises(StoreUnavailable):
        await verifier.verify(Secret(signer.token(clock.now())))
    if trouble == "gone":
        return
    publisher.status, publisher.more, publisher.document, publisher.is_mute = "200 OK", b"", good_document, False
    publisher.http._timeout = 30.0  # type: ignore[attr-defined]
    clock.time += 5
    assert isinstance(await verifier.verify(Secret(signer.token(clock.now()))), TokenSubject)
    publisher.status = "500 Oops"
    clock.time += 4000
    assert isinstance(await verifier.verify(Secret(signer.token(clock.now()))), TokenSubject)
