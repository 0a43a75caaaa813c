"""The logins of the fake next hop: the server side of each mechanism, none of it ours."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import operator
import re
from typing import Any

import scramp

from gatepost.channel_binding import bindings

__all__ = ["Logins"]


class Logins:
    """The part of a conversation that logs in: each method returns who logged in, or an empty name."""

    hop: Any
    writer: asyncio.StreamWriter

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

    async def auth_scram_sha_1(self, *initial: str) -> str:
        return await self.auth_scram("SCRAM-SHA-1", initial)

    async def auth_scram_sha_256(self, *initial: str) -> str:
        return await self.auth_scram("SCRAM-SHA-256", initial)

    async def auth_scram_sha_1_plus(self, *initial: str) -> str:
        return await self.auth_bound_scram("sha1", initial)

    async def auth_scram_sha_256_plus(self, *initial: str) -> str:
        return await self.auth_bound_scram("sha256", initial)

    async def auth_bound_scram(self, digest: str, initial: tuple[str, ...]) -> str:
        """RFC 5802 as it stands there, with the binding of this connection: scramp has no tls-exporter."""
        ((kind, data),) = bindings(self.writer.transport).items()
        match = re.fullmatch(rf"(p={kind},,)(n=([^,]+),r=([^,]+))", (await self.first(initial)).decode())
        if match is None or match[3] not in self.hop.logins:
            return ""
        nonce = match[4] + "more"
        server_first = f"r={nonce},s={base64.b64encode(b'salt').decode()},i=4096"
        final = (await self.challenge(server_first.encode())).decode()
        covered, _, proof = final.rpartition(",p=")
        if covered != f"c={base64.b64encode(match[1].encode() + data).decode()},r={nonce}":
            return ""
        salted = hashlib.pbkdf2_hmac(digest, self.hop.logins[match[3]].encode(), b"salt", 4096)
        said = f"{match[2]},{server_first},{covered}".encode()
        key = hmac.digest(salted, b"Client Key", digest)
        signature = hmac.digest(hashlib.new(digest, key).digest(), said, digest)
        if bytes(map(operator.xor, base64.b64decode(proof), signature)) != key:
            return ""
        ours = hmac.digest(hmac.digest(salted, b"Server Key", digest), said, digest)
        await self.challenge(b"v=" + base64.b64encode(ours))
        return str(match[3])

    async def auth_scram(self, name: str, initial: tuple[str, ...]) -> str:
        mechanism = scramp.ScramMechanism(name)
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
