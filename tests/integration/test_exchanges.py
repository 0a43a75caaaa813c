"""What a client may answer at each step of each exchange, right and wrong, over real sockets (RFC 4954 §4)."""

from __future__ import annotations

import base64

import pytest

from gatepost.model.identity import Secret
from gatepost.sasl.client import CRAM_MD5, LOGIN, PLAIN, SCRAM_SHA_256, ClientMechanism, Credentials
from integration.client import Client, connect

CREDENTIALS = Credentials("tim@example.org", Secret(b"secret-pass-1"))
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
]
STEPS = [(mechanism, initial, step) for mechanism, initial, count in EXCHANGES for step in range(1, count + 1)]


def encoded(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


async def walk(client: Client, mechanism: ClientMechanism, has_initial: bool, steps: int) -> str:
    """Go through an exchange as it should be, until so many challenges came; return the last reply."""
    await client.reply()
    assert (await client.say("EHLO x")).startswith("250")
    login = mechanism.start(CREDENTIALS)
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
async def test_each_exchange_leads_to_success(start):
    async with start() as server:
        for mechanism, has_initial, count in EXCHANGES:
            client = await connect(server)
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
async def test_a_wrong_answer_ends_the_exchange_at_each_step_and_the_session_lives(start, answer, codes):
    async with start() as server:
        for mechanism, has_initial, step in STEPS:
            client = await connect(server)
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
async def test_a_bad_initial_response_is_refused_by_each_mechanism(start, initial, codes):
    async with start() as server:
        client = await connect(server)
        await client.reply()
        await client.say("EHLO x")
        for name in ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"):
            assert (await client.say(f"AUTH {name} {initial}"))[:9] == codes, name
        assert (await client.say(RIGHT)).startswith("235 ")
        await client.close()
        assert not server.troubles
