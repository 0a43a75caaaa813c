"""Somebody between a client and a running server flips bits of what is said: nobody comes in, and nothing breaks."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatepost.channel_binding import bindings
from gatepost.errors import Malformed
from gatepost.model.identity import Secret
from gatepost.observe.events import LoginSucceeded
from gatepost.sasl.client import MECHANISMS, ClientMechanism, Credentials
from gatepost.testing import RunningServer
from integration.attempts import ALL, decoded, encoded
from integration.client import Client, connect
from integration.conftest import LOGIN, SECRET, Start
from tokens import AUDIENCE, ISSUER, Signer, jwks

TRIES = 16
# Not 0x20: it makes "T" of "t", which is the same name, and the same digit of a digest.
BITS = (0x01, 0x02, 0x04, 0x08, 0x10, 0x40, 0x80)
NOES = {"535 5.7.8", "501 5.5.2", "501 5.7.0"}


class Between:
    """Carries an exchange, and changes the message of that number, counted over both directions."""

    def __init__(self, client: Client, number: int, chance: random.Random) -> None:
        self._client = client
        self._left = number
        self._chance = chance
        self.has_changed = False

    def carry(self, message: bytes) -> bytes:
        self._left -= 1
        if self._left != -1 or not message:
            return message
        self.has_changed = True
        place = self._chance.randrange(len(message))
        return message[:place] + bytes([message[place] ^ self._chance.choice(BITS)]) + message[place + 1 :]

    async def log_in(self, mechanism: ClientMechanism, credentials: Credentials) -> str:
        """Return the last reply; empty if it is the client who sees through it."""
        login = mechanism.start(credentials)
        first = "" if login.initial is None else f" {encoded(self.carry(login.initial))}"
        reply = await self._client.say(f"AUTH {mechanism.name}{first}")
        while reply.startswith("334 "):
            try:
                response = login.respond(self.carry(decoded(reply)))
            except Malformed:
                assert (await self._client.say("*")).startswith("501 5.7.0 ")
                return ""
            reply = await self._client.say(encoded(self.carry(response)))
        if reply.startswith("235 "):
            login.succeed()
        return reply


def numbers(name: str) -> Iterator[int]:
    """Yield which message to change, try by try: all that mean something, in turn."""
    meant = {"PLAIN": (0,), "LOGIN": (1, 3), "CRAM-MD5": (0, 1), "OAUTHBEARER": (0,), "XOAUTH2": (0,)}
    of_it = meant.get(name, (0, 1, 2, 3))
    for number in range(TRIES):
        yield of_it[number % len(of_it)]


async def greeted(server: RunningServer) -> Client:
    client = await connect(server)
    await client.reply()
    await client.say("EHLO client.example")
    return client


@pytest.mark.parametrize("name", ALL)
async def test_no_exchange_with_a_flipped_bit_lets_anybody_in(start: Start, tmp_path: Path, name: str) -> None:
    chance = random.Random(name)
    signer = Signer()
    (tmp_path / "jwks.json").write_bytes(jwks(signer.public()))
    issuer = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": str(tmp_path / "jwks.json")}
    limits = {"failed_logins_exempt": ["127.0.0.0/8"]}
    token = signer.token(time.time(), sub=LOGIN)
    mechanism = next(each for each in MECHANISMS if each.name == name)
    credentials = Credentials(LOGIN, Secret(SECRET.encode()), Secret(token))
    async with start(auth={"mechanisms": ALL}, limits=limits, oauth={"issuers": [issuer]}) as server:
        for number in numbers(name):
            client = await greeted(server)
            if mechanism.binds:
                [binding] = bindings(client.writer.transport).items()
                credentials = dataclasses.replace(credentials, binding=binding)
            between = Between(client, number, chance)
            reply = await between.log_in(mechanism, credentials)
            assert between.has_changed
            # In SCRAM the client sees a changed nonce, and a changed proof of the server; all else the server judges.
            is_seen_by_client = reply == "" and name.startswith("SCRAM") and number != 2
            assert reply[:9] in NOES or is_seen_by_client, (number, reply)
            assert (await client.say("MAIL FROM:<tim@example.org>")).startswith("530 5.7.0 ")
            await client.close()
        assert not [event for event in server.events if isinstance(event, LoginSucceeded)]
        client = await greeted(server)
        if mechanism.binds:
            [binding] = bindings(client.writer.transport).items()
            credentials = dataclasses.replace(credentials, binding=binding)
        assert (await Between(client, 99, chance).log_in(mechanism, credentials)).startswith("235 ")
        await client.close()
        assert not server.troubles
