"""What a client may answer at each step of each exchange, right and wrong, over real sockets (RFC 4954 §4)."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from gatepost.channel_binding import bindings
from gatepost.model.identity import Secret
from gatepost.observe.events import LoginFailed
from gatepost.sasl.client import (
    CRAM_MD5,
    LOGIN,
    MECHANISMS,
    OAUTHBEARER,
    PLAIN,
    SCRAM_SHA_1,
    SCRAM_SHA_256,
    SCRAM_SHA_256_PLUS,
    SCRAM_SHA_512,
    XOAUTH2,
    ClientMechanism,
    Credentials,
)
from gatepost.testing import RunningServer
from integration.attempts import ALL, PASSWORDS, TOKENS, attempt, decoded, give
from integration.client import Client, connect
from integration.conftest import LOGIN as NAME
from integration.conftest import SECRET, Start
from tokens import AUDIENCE, ISSUER, Signer, jwks

SIGNER = Signer()
RIGHT = "AUTH PLAIN " + base64.b64encode(b"\0tim@example.org\0secret-pass-1").decode()

# Mechanism, whether with an initial response, and how many challenges it has then.
EXCHANGES: list[tuple[ClientMechanism, bool, int]] = [
    (PLAIN, False, 1),
    (PLAIN, True, 0),
    (LOGIN, False, 2),
    (LOGIN, True, 1),
    (CRAM_MD5, False, 1),
    (SCRAM_SHA_256, False, 3),
    (SCRAM_SHA_256, True, 2),
    (SCRAM_SHA_1, True, 2),
    (SCRAM_SHA_512, True, 2),
    (SCRAM_SHA_256_PLUS, True, 2),
    (OAUTHBEARER, False, 1),
    (OAUTHBEARER, True, 0),
    (XOAUTH2, False, 1),
    (XOAUTH2, True, 0),
]
STEPS = [(mechanism, initial, step) for mechanism, initial, count in EXCHANGES for step in range(1, count + 1)]


def encoded(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


Everything = AbstractAsyncContextManager[RunningServer]


@pytest.fixture
def everything(start: Start, tmp_path: Path) -> Everything:
    """Return a server with every mechanism, and an issuer."""

    @asynccontextmanager
    async def everything() -> AsyncIterator[RunningServer]:
        (tmp_path / "jwks.json").write_bytes(jwks(SIGNER.public()))
        issuer = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": str(tmp_path / "jwks.json")}
        limits = {"failed_logins_exempt": ["127.0.0.0/8"]}
        async with start(auth={"mechanisms": ALL}, limits=limits, oauth={"issuers": [issuer]}) as server:
            yield server

    return everything()


def credentials(client: Client, mechanism: ClientMechanism) -> Credentials:
    """Return the right ones, on this connection."""
    token = SIGNER.token(time.time(), sub=NAME)
    binding = next(iter(bindings(client.writer.transport).items())) if mechanism.binds else None
    return Credentials(NAME, Secret(SECRET.encode()), Secret(token), binding=binding)


async def greeted(server: RunningServer) -> Client:
    client = await connect(server)
    await client.reply()
    assert (await client.say("EHLO x")).startswith("250")
    return client


async def walk(client: Client, mechanism: ClientMechanism, has_initial: bool, steps: int) -> str:
    """Go through an exchange as it should be, until so many challenges came; return the last reply."""
    login = mechanism.start(credentials(client, mechanism))
    pending = login.initial
    if mechanism is LOGIN and has_initial:
        pending = login.respond(b"Username:")
    argument = f" {encoded(pending or b'')}" if has_initial else ""
    reply = await client.say(f"AUTH {mechanism.name}{argument}")
    for _ in range(steps - 1):
        if not has_initial and pending is not None:
            answer, pending = pending, None
        else:
            answer = login.respond(base64.b64decode(reply[4:]))
        reply = await client.say(encoded(answer))
    return reply


@pytest.mark.rfc("4954 §4")
async def test_each_exchange_leads_to_success(everything):
    async with everything as server:
        for mechanism, has_initial, count in EXCHANGES:
            client = await greeted(server)
            reply = await walk(client, mechanism, has_initial, count + 1)
            assert reply == "235 2.7.0 Authentication successful", (mechanism.name, has_initial)
            await client.close()


@pytest.mark.rfc("4954 §4")
@pytest.mark.parametrize(
    ("answer", "codes"),
    [
        ("*", {"501 5.7.0"}),
        ("!", {"501 5.5.2"}),
        ("dGVzdA", {"501 5.5.2"}),
        ("dGVz=dA=", {"501 5.5.2"}),
        ("dGVzdB==", {"501 5.5.2"}),
        ("dGVzdA== ", {"501 5.5.2"}),
        ("dGVz dA==", {"501 5.5.2"}),
        ("dGVzdA\xe9", {"501 5.5.2"}),
        ("=", {"501 5.5.2"}),
        ("**", {"501 5.5.2"}),
        ("A" * 12_288, {"501 5.5.2", "535 5.7.8", "334 UGFzc"}),
        ("A" * 20_000, {"500 5.5.6"}),
    ],
    ids=lambda value: value[:8] if isinstance(value, str) else "",
)
async def test_a_wrong_answer_ends_the_exchange_at_each_step_and_the_session_lives(everything, answer, codes):
    async with everything as server:
        for mechanism, has_initial, step in STEPS:
            client = await greeted(server)
            where = f"{mechanism.name}, initial response: {has_initial}, step {step}"
            assert (await walk(client, mechanism, has_initial, step)).startswith("334 "), where
            reply = await client.say(answer)
            assert reply[:9] in codes, where
            if reply.startswith("334"):  # a name of NULs is judged with its password
                assert (await client.say("")).startswith("501 5.5.2 "), where
            assert (await client.say("NOOP")) == "250 2.0.0 OK", where
            assert (await client.say(RIGHT)).startswith("235 "), where
            await client.close()
        assert not server.troubles


@pytest.mark.rfc("4954 §4")
@pytest.mark.parametrize(
    ("initial", "codes"),
    [
        ("!", "501 5.5.2"),
        ("*", "501 5.5.2"),
        ("dGVzdA", "501 5.5.2"),
        ("dGVz=dA=", "501 5.5.2"),
        ("dGVz dA==", "501 5.5.4"),
        ("A" * 20_000, "500 5.5.6"),
    ],
    ids=lambda value: value[:8],
)
async def test_a_bad_initial_response_is_refused_by_each_mechanism(everything, initial, codes):
    async with everything as server:
        for name in ALL:
            client = await greeted(server)
            assert (await client.say(f"AUTH {name} {initial}"))[:9] == codes, name
            assert (await client.say(RIGHT)).startswith("235 ")
            await client.close()
        assert not server.troubles


@pytest.mark.rfc("2195 §2")
async def test_the_challenge_of_cram_md5_is_made_of_chance_time_and_our_name(everything):
    async with everything as server:
        client = await greeted(server)
        challenges = []
        for _ in range(2):
            challenge = decoded(await client.say("AUTH CRAM-MD5")).decode()
            match = re.fullmatch(r"<[A-Za-z0-9_-]{24}\.([0-9]+)@mail\.example\.org>", challenge)
            assert abs(int(match[1]) - time.time()) < 60
            assert (await client.say("*")).startswith("501 5.7.0 ")
            challenges.append(challenge)
        assert challenges[0] != challenges[1]
        await client.close()


@pytest.mark.rfc("2195 §2")
@pytest.mark.rfc("5802 §5.1")
async def test_what_was_recorded_of_a_login_is_good_for_no_other(everything):
    async with everything as server:
        for name in PASSWORDS:
            if name in {"PLAIN", "LOGIN"}:  # they carry the secret itself
                continue
            mechanism = next(each for each in MECHANISMS if each.name == name)
            client = await greeted(server)
            login = mechanism.start(credentials(client, mechanism))
            said = [f"AUTH {name}" + (f" {encoded(login.initial)}" if login.initial else "")]
            while (reply := await client.say(said[-1])).startswith("334 "):
                said.append(encoded(login.respond(decoded(reply))))
            assert reply.startswith("235 "), name
            await client.close()

            client = await greeted(server)
            replies = [await client.say(line) for line in said[:2]]
            assert [each[:9] for each in replies] == [replies[0][:9], "535 5.7.8"], name
            assert replies[0].startswith("334 "), name
            await client.close()
        reasons = {event.reason for event in server.events if isinstance(event, LoginFailed)}
        assert reasons == {"wrong nonce", "other end of another channel", "wrong digest or unknown name"}
        assert not server.troubles


@pytest.mark.rfc("4954 §4")
@pytest.mark.rfc("7628 §3.2.3")
@pytest.mark.parametrize("name", TOKENS)
async def test_whatever_a_client_answers_to_the_reasons_of_a_no_it_stays_one(everything, name):
    mechanism = next(each for each in MECHANISMS if each.name == name)
    expired = SIGNER.token(time.time() - 3600, sub=NAME)
    wanted = {
        "": "535 5.7.8", "AQ==": "535 5.7.8", encoded(b"anything"): "535 5.7.8",
        "*": "501 5.7.0", "!": "501 5.5.2", "A" * 20_000: "500 5.5.6",
    }  # fmt: skip
    async with everything as server:
        for answer, code in wanted.items():
            client = await greeted(server)
            login = mechanism.start(Credentials(NAME, token=Secret(expired)))
            reply = await client.say(f"AUTH {name} {encoded(login.initial)}")
            status = "401" if name == "XOAUTH2" else "invalid_token"
            assert json.loads(decoded(reply))["status"] == status
            assert (await client.say(answer))[:9] == code, answer[:9]
            assert (await client.say("MAIL FROM:<tim@example.org>")).startswith("530 5.7.0 ")
            assert (await attempt(client, name, NAME, SIGNER.token(time.time(), sub=NAME).decode()))[-1][:3] == "235"
            await client.close()
        # Each counts as a failure, also where the client cancelled.
        assert len([event for event in server.events if isinstance(event, LoginFailed)]) == len(wanted)
        assert not server.troubles


async def test_a_name_beyond_ascii_logs_in_with_every_mechanism(everything):
    async with everything as server:
        login = "jürgen=1@bücher.example"
        _, secret = await asyncio.to_thread(give, server, login, new=True)
        for name in PASSWORDS:
            for written in (login, "JU\N{COMBINING DIAERESIS}RGEN=1@Bücher.Example"):
                client = await greeted(server)
                assert (await attempt(client, name, written, secret))[-1].startswith("235 "), (name, written)
                await client.close()
        assert not server.troubles
