"""A service that knows logins, over real HTTP, with or without TLS, that can misbehave in every way."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from servers import free_ports

__all__ = ["LoginService"]


@dataclass
class LoginService:
    """Answers as `gatepost.identity.stores.http` asks; *accounts* has password, facts and credential of each login."""

    accounts: dict[str, dict[str, Any]] = field(default_factory=dict)
    token: str = ""
    questions: list[dict[str, Any]] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)  # of the questions, in lower case
    raw: bytes | None = None  # what is answered instead
    status: str = "200 OK"
    headers: str = ""
    is_mute: bool = False
    pause: float = 0.0
    port: int = 0
    connections: int = 0
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def start(self, context: ssl.SSLContext | None = None) -> None:
        if not self.port:
            [self.port] = free_ports(1)  # nobody takes it while the service is away
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=context)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        while self._writers:
            await asyncio.sleep(0.01)
        await self._server.wait_closed()

    @property
    def with_password(self) -> list[str]:
        """Logins that were asked about with a password."""
        return [each["login"] for each in self.questions if "password" in each]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
                question = json.loads(await reader.readexactly(length))
                self.questions.append(question)
                self.heads.append(head)
                if self.is_mute:
                    await reader.read()
                    return
                await asyncio.sleep(self.pause)
                is_allowed = f"\r\nauthorization: bearer {self.token.lower()}\r\n" in head or not self.token
                status = self.status if is_allowed else "401 Unauthorized"
                body = json.dumps(self.answer(question)).encode() if self.raw is None else self.raw
                writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{self.headers}\r\n".encode() + body)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def answer(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is true."""
        known = self.accounts.get(question["login"])
        if known is None:
            return {"account": None, "opened": None}
        opened = known.get("opens", "password") if question.get("password") == known["password"] else None
        return {"account": known.get("facts", {}), "opened": opened}
