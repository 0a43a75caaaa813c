"""Fake providers that give access tokens, as Google and Microsoft do it, over real HTTP.

Where refresh tokens are rotated, each is good once, and its second use revokes everything: whoever renews twice at the
same time, or with a token that another has rotated away, is found out (`violations`).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import ssl
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlsplit

__all__ = ["TokenProvider", "answer"]


def answer(status: int, document: Any = None, **headers: str) -> bytes:
    """Return an answer as it goes over the wire."""
    body = b"" if document is None else json.dumps(document).encode()
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} Said\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class _Good:
    """Whatever token is good for a login is equal to this."""

    provider: TokenProvider
    login: str

    def __eq__(self, token: object) -> bool:
        return isinstance(token, str) and self.provider.is_good(token, self.login)

    __hash__ = None  # type: ignore[assignment]


@dataclass
class TokenProvider:
    """An issuer of access tokens.

    Attributes:
        rotates: whether each renewal makes a new refresh token and ends the old one (Microsoft), or not (Google).
        lifetime: of an access token, in seconds.
        login: whose mailbox it is.
        now: what time it is here.
        answers: what is said to the next requests for a token in place of what is true: octets, with their head.
        pause: seconds before each answer.
        asked: how often each path was asked for; ``token`` counts by grant too.
        violations: what no client may do.
        is_revoked: whether refresh tokens are good no more.
        has_granted: whether the person with the device code has said yes.
    """

    rotates: bool = False
    client: tuple[str, str] = ("client-1", "s3cret: with+special%chars")
    login: str = "shop@example.org"
    lifetime: float = 3600.0
    now: Callable[[], float] = time.time
    context: ssl.SSLContext | None = None
    answers: list[bytes] = field(default_factory=list)
    always: bytes | None = None
    pause: float = 0.0
    asked: Counter[str] = field(default_factory=Counter)
    forms: list[dict[str, str]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    is_revoked: bool = False
    has_granted: bool = False
    gives_refresh_token: bool = True
    access: dict[str, float] = field(default_factory=dict)
    refresh: set[str] = field(default_factory=set)
    given: list[str] = field(default_factory=list)
    most_at_once: int = 0
    _spent: set[str] = field(default_factory=set)
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)
    _devices: dict[str, bool] = field(default_factory=dict)
    _at_once: int = 0
    _server: asyncio.Server | None = None
    _leaving: asyncio.Event = field(default_factory=asyncio.Event)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._leaving.set()
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()

    def url(self, path: str) -> str:
        return f"http{'s' if self.context else ''}://127.0.0.1:{self.port}/{path}"

    # What is good.

    def new_refresh_token(self) -> str:
        """Give a refresh token to somebody who granted it just now."""
        token = "rt." + secrets.token_urlsafe(60)
        self.refresh.add(token)
        self.given.append(token)
        return token

    def is_good(self, token: str, login: str) -> bool:
        return login == self.login and self.now() < self.access.get(token, 0.0)

    def expire_all(self) -> None:
        """End every access token at once, whatever was said of its life."""
        self.access.clear()

    @property
    def tokens(self) -> Any:
        """What `FakeNextHop` asks for the token of a login."""
        provider = self

        class Tokens(dict[str, Any]):
            def get(self, name: str, default: Any = None) -> Any:
                return _Good(provider, name)

        return Tokens()

    def grant(self, address: str) -> str:
        """Be the person who follows *address* in a browser, and says yes; return where the browser goes then."""
        question = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert question["response_type"] == "code"
        assert question["client_id"] == self.client[0]
        assert question["code_challenge_method"] == "S256"
        code = "code." + secrets.token_urlsafe(20)
        self._codes[code] = question
        return f"{question['redirect_uri']}?code={code}&state={question['state']}"

    # HTTP.

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            lines = head.split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            path = lines[0].split(" ")[1].strip("/")
            form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
            self.asked[path] += 1
            self.forms.append(form)
            if self.pause:
                await asyncio.wait({asyncio.ensure_future(self._leaving.wait())}, timeout=self.pause)
            if path == "token" and (self.always is not None or self.answers):
                writer.write(self.answers.pop(0) if self.always is None else self.always)
            else:
                writer.write(self._token(headers, form) if path == "token" else self._device(headers, form))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            self._at_once -= 1
            self._writers.discard(writer)
            writer.close()

    def _is_client(self, headers: dict[str, str], form: dict[str, str]) -> bool:
        kind, _, encoded = headers.get("authorization", "").partition(" ")
        if kind == "Basic":
            name, _, secret = base64.b64decode(encoded).decode().partition(":")
            return (unquote_plus(name), unquote_plus(secret)) == self.client
        return (form.get("client_id"), form.get("client_secret", "")) == self.client

    def _token(self, headers: dict[str, str], form: dict[str, str]) -> bytes:
        if not self._is_client(headers, form):
            return answer(
                401,
                {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."},
            )
        kind = form.get("grant_type", "")
        self.asked[f"token {kind}"] += 1
        if kind == "refresh_token":
            return self._renew(form.get("refresh_token", ""))
        if kind == "client_credentials":
            return answer(200, self._access())
        if kind == "authorization_code":
            return self._exchange(form)
        if kind == "urn:ietf:params:oauth:grant-type:device_code":
            if form.get("device_code") not in self._devices:
                return answer(400, {"error": "expired_token"})
            if not self.has_granted:
                return answer(400, {"error": "authorization_pending"})
            return answer(200, self._access() | self._more())
        return answer(400, {"error": "unsupported_grant_type"})

    def _renew(self, token: str) -> bytes:
        if token in self._spent:
            self.violations.append("a refresh token was used that had been rotated away")
            self.is_revoked = True
        if self.is_revoked or token not in self.refresh:
            return answer(400, {"error": "invalid_grant", "error_description": "Token has been expired or revoked."})
        document = self._access()
        if self.rotates:
            self.refresh.discard(token)
            self._spent.add(token)
            document["refresh_token"] = self.new_refresh_token()
        return answer(200, document)

    def _exchange(self, form: dict[str, str]) -> bytes:
        asked = self._codes.pop(form.get("code", ""), None)
        verifier = form.get("code_verifier", "")
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        if asked is None or asked["redirect_uri"] != form.get("redirect_uri") or asked["code_challenge"] != challenge:
            return answer(400, {"error": "invalid_grant"})
        return answer(200, self._access() | self._more())

    def _access(self) -> dict[str, Any]:
        token = "at." + secrets.token_urlsafe(200)
        self.access[token] = self.now() + self.lifetime
        self.given.append(token)
        return {"access_token": token, "token_type": "Bearer", "expires_in": self.lifetime}

    def _more(self) -> dict[str, str]:
        return {"refresh_token": self.new_refresh_token()} if self.gives_refresh_token else {}

    def _device(self, headers: dict[str, str], form: dict[str, str]) -> bytes:
        if form.get("client_id") != self.client[0]:
            return answer(401, {"error": "invalid_client"})
        code = "dc." + secrets.token_urlsafe(20)
        self._devices[code] = True
        return answer(
            200,
            {
                "device_code": code,
                "user_code": "ABCD-EFGH",
                "verification_uri": self.url("enter"),
                "expires_in": 900,
                "interval": 1,
            },
        )
