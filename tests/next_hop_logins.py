"""The logins of the fake next hop: the server side of each mechanism, none of it ours."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import scramp

__all__ = ["Logins"]


class Logins:
    """The part of a conversation that logs in: each method returns who logged in, or an empty name."""

    hop: Any

    async def line(self) -> bytes:
        """Read one line."""
        raise NotImplementedError

    async def do(self, usual: str, *steps: str) -> bool:
        """Do what the script says, or say the usual."""
        raise NotImplementedError

    async def challenge(self, data: bytes) -> bytes:
        await self.do(f"334 {base64.b64encode(data).decode()}", "challenge")
        return base64.b64decode(await self.line(), validate=True)

    async def first(self, initial: tuple[str, ...]) -> bytes:
        return base64.b64decode(initial[0], validate=True) if initial else await self.challenge(b"")

    def known(self, name: str, password: str) -> str:
        return name if self.hop.logins.get(name) == password else ""

    async def auth_plain(self, *initial: str) -> str:
        _, name, password = (await self.first(initial)).decode().split("\0")
        return self.known(name, password)

    async def auth_login(self, *initial: str) -> str:
        name = base64.b64decode(initial[0]) if initial else await self.challenge(b"Username:")
        return self.known(name.decode(), (await self.challenge(b"Password:")).decode())

    async def auth_cram_md5(self) -> str:
        challenge = b"<1.2@next-hop.example>"
        name, _, digest = (await self.challenge(challenge)).decode().rpartition(" ")
        expected = hmac.new(self.hop.logins.get(name, "").encode(), challenge, hashlib.md5).hexdigest()
        return name if name in self.hop.logins and expected == digest else ""

    async def auth_xoauth2(self, *initial: str) -> str:
        user, token, *_ = (await self.first(initial)).decode().split("\1")
        name = user.removeprefix("user=")
        if self.hop.tokens.get(name) == token.removeprefix("auth=Bearer ") != "":
            return name
        await self.challenge(json.dumps({"status": "401", "schemes": "bearer"}).encode())
        return ""

    async def auth_oauthbearer(self, *initial: str) -> str:
        header, *_, auth = (await self.first(initial)).decode().removesuffix("\1\1").split("\1")
        name = header.removeprefix("n,a=").removesuffix(",")
        if self.hop.tokens.get(name) == auth.removeprefix("auth=Bearer ") != "":
            return name
        if await self.challenge(json.dumps({"status": "invalid_token"}).encode()) != b"\1":
            raise AssertionError("a client that does not answer as RFC 7628 wants it")
        return ""

    async def auth_scram_sha_256(self, *initial: str) -> str:
        mechanism = scramp.ScramMechanism("SCRAM-SHA-256")
        who = []

        def known(name: str) -> tuple[bytes, bytes, bytes, int]:
            who.append(name)
            info: tuple[bytes, bytes, bytes, int] = mechanism.make_auth_info(self.hop.logins[name])
            return info

        server = mechanism.make_server(known)
        try:
            server.set_client_first((await self.first(initial)).decode())
            server.set_client_final((await self.challenge(server.get_server_first().encode())).decode())
        except KeyError:
            return ""
        await self.challenge(server.get_server_final().encode())
        return who[0]
