"""An identity provider over real HTTP or HTTPS, that publishes keys, answers about tokens, and misbehaves."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import socket
import ssl
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote_plus

from tokens import AUDIENCE, Signer

__all__ = ["IdentityProvider"]


@dataclass
class IdentityProvider:
    """Somebody whose tokens gatepost takes.

    Attributes:
        signers: whose public keys are published.
        opaque: what is said of each token that we gave out and that says nothing itself.
        client: name and secret of who may ask about tokens.
        asked: how often each path was asked for.
        answers: what is answered at a path in place of what is true: octets as they go over the wire, with their head.
        pauses: seconds before a path is answered.
        document: what the configuration says beside, or in place of, what is true.
    """

    signers: list[Signer] = field(default_factory=lambda: [Signer("ES256", "first")])
    opaque: dict[str, dict[str, Any]] = field(default_factory=dict)
    client: tuple[str, str] = ("gatepost", "s3cret: with+special%chars")
    context: ssl.SSLContext | None = None
    has_openid: bool = True
    port: int = 0
    asked: Counter[str] = field(default_factory=Counter)
    answers: dict[str, bytes] = field(default_factory=dict)
    pauses: dict[str, float] = field(default_factory=dict)
    document: dict[str, Any] = field(default_factory=dict)
    questions: list[dict[str, str]] = field(default_factory=list)
    path: str = "/realms/mail"
    _server: asyncio.Server | None = None
    _place: socket.socket | None = None
    _leaving: asyncio.Event = field(default_factory=asyncio.Event)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def start(self) -> None:
        """Come, or come back: to the same place, which nobody else can take meanwhile."""
        if self._place is None:
            self._place = _bound(0)
            self.port = self._place.getsockname()[1]
        self._leaving.clear()
        self._server = await asyncio.start_server(self._serve, sock=_bound(self.port), ssl=self.context)

    async def stop(self) -> None:
        """Go away, with all connections."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        self._leaving.set()
        for writer in tuple(self._writers):
            writer.transport.abort()
        async with asyncio.timeout(60):
            while self._writers:
                await asyncio.sleep(0.01)
        await server.wait_closed()

    async def close(self) -> None:
        """Go away for good."""
        await self.stop()
        if self._place is not None:
            self._place.close()

    @property
    def issuer(self) -> str:
        scheme, host = ("http", "127.0.0.1") if self.context is None else ("https", "localhost")
        return f"{scheme}://{host}:{self.port}{self.path}"

    def settings(self, **more: Any) -> dict[str, Any]:
        """Return the element of ``oauth.issuers`` that takes our tokens."""
        return {"issuer": self.issuer, "audience": AUDIENCE, "timeout": "20s", **more}

    def jwt(self, *, signer: Signer | None = None, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Give out a signed token."""
        return (signer or self.signers[-1]).token(time.time(), header=header, **{"iss": self.issuer, **claims}).decode()

    def token(self, **facts: Any) -> str:
        """Give out an opaque token; a fact that is None is not told."""
        text = secrets.token_urlsafe(24)
        said = {"active": True, "sub": "tim@example.org", "aud": AUDIENCE, "exp": int(time.time()) + 300, **facts}
        self.opaque[text] = {name: value for name, value in said.items() if value is not None}
        return text

    def rotate(self, kid: str) -> Signer:
        """Sign with another key from now on, and publish no other."""
        self.signers = [Signer("ES256", kid)]
        return self.signers[0]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while not self._leaving.is_set() and await self._answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = head.split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        path = lines[0].split(" ")[1]
        self.asked[path] += 1
        await self._pause(self.pauses.get(path, 0.0))
        raw = self.answers.get(path)
        if raw is not None:
            writer.write(raw)
            await writer.drain()
            return False  # how long it is, only the end of the connection says
        status, document = self._document(path, headers, body)
        octets = json.dumps(document).encode()
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(octets)}\r\n\r\n".encode() + octets)
        await writer.drain()
        return True

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._leaving.wait(), seconds)
        except TimeoutError:
            return
        raise ConnectionResetError("going away")

    def _document(self, path: str, headers: dict[str, str], body: bytes) -> tuple[str, Any]:
        if path == f"{self.path}/keys":
            return "200 OK", {"keys": [each.public() for each in self.signers]}
        if path == f"{self.path}/introspect":
            return self._introspect(headers, body)
        openid = f"{self.path}/.well-known/openid-configuration"
        oauth = f"/.well-known/oauth-authorization-server{self.path}"
        if path == (openid if self.has_openid else oauth):
            return "200 OK", {
                "issuer": self.issuer,
                "jwks_uri": f"{self.issuer}/keys",
                "introspection_endpoint": f"{self.issuer}/introspect",
                **self.document,
            }
        return "404 Not Found", {}

    def _introspect(self, headers: dict[str, str], body: bytes) -> tuple[str, Any]:
        kind, _, encoded = headers.get("authorization", "").partition(" ")
        name, _, secret = base64.b64decode(encoded).decode().partition(":")
        if kind != "Basic" or (unquote_plus(name), unquote_plus(secret)) != self.client:
            return "401 Unauthorized", {"error": "invalid_client"}
        form = {key: values[0] for key, values in parse_qs(body.decode()).items()}
        self.questions.append(form)
        return "200 OK", self.opaque.get(form["token"], {"active": False})


def _bound(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(("127.0.0.1", port))
    return made
