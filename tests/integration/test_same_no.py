"""Whatever the reason of a no, its steps and words are those of every no: nobody learns which names exist."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gatepost.identity.accounts import add_account, remove_account, set_state
from gatepost.identity.credentials import revoke_credential
from gatepost.identity.restrictions import Rules
from gatepost.identity.rotation import expire_credential, restrict_credential
from gatepost.observe.events import LoginFailed
from gatepost.sasl.scram import derive
from gatepost.state.keys import load_keys
from gatepost.testing import RunningServer
from integration.attempts import ALL, PASSWORDS, TOKENS, accounts, attempt, decoded, give, shape
from integration.client import Client, connect
from integration.conftest import Start
from tokens import AUDIENCE, ISSUER, Signer, jwks

DAY = 86_400.0
# All of it comes from one address, and a canary would block that.
LIMITS = {"failed_logins_exempt": ["127.0.0.0/8"]}
DELAY = 0.5


def suspended(server: RunningServer, login: str, **state: object) -> str:
    _, secret = give(server, login, new=True)
    set_state(accounts(server), login, **{"active": True, "reason": "left us", **state})
    return secret


def revoked(server: RunningServer, login: str) -> str:
    row, secret = give(server, login, new=True)
    revoke_credential(accounts(server), row.id, now=time.time())
    return secret


def expired(server: RunningServer, login: str) -> str:
    row, secret = give(server, login, new=True)
    expire_credential(accounts(server), row.id, time.time(), now=time.time())
    return secret


def kept_to(mechanism: str) -> Callable[[RunningServer, str], str]:
    """Return what makes an account whose one credential has verifiers for all, but is for one mechanism only."""

    def make(server: RunningServer, login: str) -> str:
        row, secret = give(server, login, new=True)
        rules = Rules(PASSWORDS, {})
        restrict_credential(accounts(server), rules, row.id, {"mechanisms": [mechanism]}, now=time.time())
        return secret

    return make


def removed(server: RunningServer, login: str) -> str:
    _, secret = give(server, login, new=True)
    remove_account(accounts(server), login)
    return secret


def without_credentials(server: RunningServer, login: str) -> str:
    keys = load_keys(server.worker.config.secret_key_file)
    add_account(accounts(server), keys, login, now=time.time())
    return "gp_whatever-somebody-may-guess"


def only(**restrictions: object) -> Callable[[RunningServer, str], str]:
    """Return what makes an account whose one credential is restricted."""
    return lambda server, login: give(server, login, new=True, **restrictions)[1]


# Why the right secret of an account is refused: what makes the account and returns its secret, and what the log says.
REFUSALS: dict[str, tuple[Callable[[RunningServer, str], str], str]] = {
    "unknown": (lambda _server, _login: "gp_whatever-somebody-may-guess", "unknown login"),
    "wrong": (lambda server, login: give(server, login, new=True)[1][::-1], "wrong (secret|proof|digest)"),
    "disabled": (lambda server, login: suspended(server, login, active=False), "account disabled: left us"),
    "suspended": (
        lambda server, login: suspended(server, login, suspended_until=time.time() + DAY),
        "account suspended: left us",
    ),
    "removed": (removed, "unknown login"),
    "empty": (without_credentials, "wrong secret|no credential with a verifier"),
    "revoked": (revoked, "credential revoked"),
    "expired": (expired, "credential expired"),
    "pending": (only(not_before=time.time() + DAY), "credential not valid yet"),
    "network": (only(networks=["192.0.2.0/24"]), "credential not for network of 127.0.0.1"),
    "listener": (only(listeners=["submission"]), "credential not for listener submissions"),
    "plain-only": (kept_to("PLAIN"), "credential not for mechanism"),
    "login-only": (kept_to("LOGIN"), "credential not for mechanism"),
    "canary": (only(canary=True), "canary credential"),
}


def name(kind: str) -> str:
    return f"{kind}@example.org"


async def greeted(server: RunningServer) -> tuple[Client, str]:
    client = await connect(server)
    await client.reply()
    return client, await client.say("EHLO client.example")


async def talk(server: RunningServer, mechanism: str, login: str, secret: str) -> tuple[list[str], str]:
    """Try twice on one connection; return the shape of all that was answered, and the salt that was shown."""
    client, offer = await greeted(server)
    said, salts = [offer], set()
    for _ in range(2):
        replies = await attempt(client, mechanism, login, secret)
        said += [shape(each) for each in replies]
        if mechanism.startswith("SCRAM"):
            salts.add(re.search(rb",s=([^,]+),", decoded(replies[0]))[1].decode())
    await client.close()
    assert len(salts) <= 1, "a name whose salt changes"
    return said, next(iter(salts), "")


class Watcher(Client):
    """Knows when it said its last line."""

    said_at = 0.0

    async def say(self, text: str) -> str:
        self.said_at = time.monotonic()
        return await super().say(text)


async def waited(server: RunningServer, mechanism: str, login: str, secret: str) -> float:
    """Return how long the no took, from the last line that it answers."""
    client, _ = await greeted(server)
    watcher = Watcher(client.reader, client.writer)
    said = await attempt(watcher, mechanism, login, secret)
    seconds = time.monotonic() - watcher.said_at
    await client.close()
    assert shape(said[-1]) == "535 5.7.8 Authentication credentials invalid [gp]", (mechanism, login)
    return seconds


async def check_moments(server: RunningServer, mechanism: str, secrets: dict[str, str]) -> None:
    """Try logins with their secrets, all at once, and see that no answer comes before the moment of a no."""
    took = await asyncio.gather(*(waited(server, mechanism, login, secret) for login, secret in secrets.items()))
    # Both clocks have milliseconds.
    early = {login: each for login, each in zip(secrets, took, strict=True) if each < DELAY - 0.002}
    assert not early, mechanism


@pytest.mark.rfc("4954 §4")
@pytest.mark.rfc("4954 §9")
async def test_every_kind_of_no_has_the_steps_and_words_of_every_other(start: Start) -> None:
    async with start(auth={"mechanisms": PASSWORDS}, limits=LIMITS) as server:
        # The salts as they are while nobody of these exists.
        before = {kind: (await talk(server, "SCRAM-SHA-256", name(kind), "a guess"))[1] for kind in REFUSALS}
        assert len(set(before.values())) == len(REFUSALS)
        secrets = {kind: await asyncio.to_thread(make, server, name(kind)) for kind, (make, _) in REFUSALS.items()}
        await server.worker.authority.refresh()
        for mechanism in PASSWORDS:
            expected, _ = await talk(server, mechanism, name("unknown"), secrets["unknown"])
            assert expected[-1] == "535 5.7.8 Authentication credentials invalid [gp]", mechanism
            for kind, (_, reason) in REFUSALS.items():
                if mechanism == {"plain-only": "PLAIN", "login-only": "LOGIN"}.get(kind):
                    continue
                server.events.clear()
                said, salt = await talk(server, mechanism, name(kind), secrets[kind])
                assert said == expected, (mechanism, kind)
                assert salt in {"", before[kind]}, (mechanism, kind)
                told = [event for event in server.events if isinstance(event, LoginFailed)]
                assert [event.login for event in told] == [name(kind)] * 2
                assert all(re.match(reason, event.reason) for event in told), (mechanism, kind, told[0].reason)
        assert not server.troubles


# The same in the eighth field of a line of a passwd-file.
LINES = {
    "wrong": "",
    "disabled": "gatepost_disabled=left%20us",
    "nologin": "nologin",
    "revoked": "gatepost_revoked=2020-01-01",
    "expired": "gatepost_expires=2020-01-01",
    "pending": "gatepost_not_before=2999-01-01",
    "network": "allow_nets=192.0.2.20",
    "listener": "gatepost_listeners=submission",
    "plain-only": "gatepost_mechanisms=PLAIN",
    "login-only": "gatepost_mechanisms=LOGIN",
}
OF_FILES = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN")


FILE_KINDS = [*LINES, "locked", "static-listener", "static-network"]


def in_files(folder: Path, secret: str) -> list[dict[str, object]]:
    """Return stores in files, of which no login may come in with *secret*."""
    lines = []
    for kind, field in LINES.items():
        record = derive(secret[::-1].encode() if kind == "wrong" else secret.encode(), os.urandom(16), 15_000)
        kept = ",".join(re.split(r"[$:]", record)[1:])
        lines.append(f"{name(kind)}:{{SCRAM-SHA-256}}{kept}::::::{field}\n")
    lines.append(f"{name('locked')}:!{lines[0].split(':')[1]}\n")
    (folder / "users").write_text("".join(lines))
    (folder / "secret").write_text(secret)
    for path in ("users", "secret"):
        (folder / path).chmod(0o600)
    static = {"type": "static", "secret_file": str(folder / "secret")}
    return [
        {"type": "passwd-file", "path": str(folder / "users")},
        {**static, "login": name("static-listener"), "listeners": ["submission"]},
        {**static, "login": name("static-network"), "networks": ["192.0.2.0/24"]},
    ]


@pytest.mark.rfc("4954 §9")
async def test_every_kind_of_no_of_stores_in_files_is_that_of_a_name_that_nobody_knows(
    start: Start, tmp_path: Path
) -> None:
    secret = "gp_whatever-somebody-may-guess"
    async with start(auth={"mechanisms": OF_FILES}, limits=LIMITS, store=in_files(tmp_path, secret)) as server:
        salts = {}
        for mechanism in OF_FILES:
            expected, _ = await talk(server, mechanism, name("unknown"), secret)
            assert expected[-1] == "535 5.7.8 Authentication credentials invalid [gp]", mechanism
            assert f" {mechanism}" in expected[0]
            for kind in FILE_KINDS:
                if mechanism == {"plain-only": "PLAIN", "login-only": "LOGIN"}.get(kind):
                    continue
                said, salt = await talk(server, mechanism, name(kind), secret)
                assert said == expected, (mechanism, kind)
                assert not salt or salts.setdefault(kind, salt) == salt
        assert len(set(salts.values())) == len(FILE_KINDS)
        client, _ = await greeted(server)
        assert (await attempt(client, "PLAIN", name("plain-only"), secret))[-1].startswith("235 ")
        await client.close()
        assert not server.troubles


async def test_no_no_of_the_database_comes_before_its_moment(start: Start) -> None:
    auth = {"mechanisms": PASSWORDS, "failure_delay": f"{DELAY}s"}
    async with start(auth=auth, limits=LIMITS) as server:
        secrets = {kind: await asyncio.to_thread(make, server, name(kind)) for kind, (make, _) in REFUSALS.items()}
        await server.worker.authority.refresh()
        for mechanism in ("SCRAM-SHA-256-PLUS", "PLAIN", "CRAM-MD5"):
            shown = {
                name(kind): secret for kind, secret in secrets.items() if (mechanism, kind) != ("PLAIN", "plain-only")
            }
            await check_moments(server, mechanism, shown)
        assert not server.troubles


async def test_no_no_of_stores_in_files_comes_before_its_moment(start: Start, tmp_path: Path) -> None:
    secret = "gp_whatever-somebody-may-guess"
    auth = {"mechanisms": OF_FILES, "failure_delay": f"{DELAY}s"}
    async with start(auth=auth, limits=LIMITS, store=in_files(tmp_path, secret)) as server:
        for mechanism in ("SCRAM-SHA-256", "LOGIN"):
            logins = [name(kind) for kind in ("unknown", *FILE_KINDS) if (mechanism, kind) != ("LOGIN", "login-only")]
            await check_moments(server, mechanism, dict.fromkeys(logins, secret))
        assert not server.troubles


@pytest.mark.rfc("4616 §2")
@pytest.mark.rfc("5802 §5.1")
async def test_acting_as_another_is_refused_as_a_wrong_secret_is(start: Start) -> None:
    async with start(auth={"mechanisms": PASSWORDS}, limits=LIMITS) as server:
        _, secret = await asyncio.to_thread(give, server, "ann@example.org", new=True)
        for mechanism in PASSWORDS:
            if mechanism in {"LOGIN", "CRAM-MD5"}:  # they carry no other name
                continue
            client, _ = await greeted(server)
            said = []
            for brought in (secret[::-1], secret):
                replies = await attempt(client, mechanism, "ann@example.org", brought, authzid="tim@example.org")
                said.append([shape(each) for each in replies])
            assert said[0] == said[1], mechanism
            replies = await attempt(client, mechanism, "ann@example.org", secret, authzid="Ann@example.org")
            assert replies[-1].startswith("235 "), mechanism
            await client.close()
        assert not server.troubles


@pytest.mark.rfc("7628 §3.2.2")
@pytest.mark.parametrize("mechanism", TOKENS)
async def test_every_kind_of_no_to_a_token_has_the_steps_and_words_of_every_other(
    start: Start, tmp_path, mechanism: str
) -> None:
    signer, stranger = Signer(), Signer()
    (tmp_path / "jwks.json").write_bytes(jwks(signer.public()))
    issuer = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": str(tmp_path / "jwks.json"), "scope": "mail.send"}
    now = time.time()
    async with start(auth={"mechanisms": ALL}, limits=LIMITS, oauth={"issuers": [issuer]}) as server:
        for kind in ("disabled", "suspended", "removed", "wrong"):
            await asyncio.to_thread(REFUSALS[kind][0], server, name(kind))

        def token(kind: str, key: Signer = signer, **claims: object) -> str:
            return key.token(now, **{"sub": name(kind), "scope": "mail.send", **claims}).decode()

        cases = {
            "unknown": ("unknown", token("unknown")),
            "removed": ("removed", token("removed")),
            "disabled": ("disabled", token("disabled")),
            "suspended": ("suspended", token("suspended")),
            "token of another, who exists": ("wrong", token("disabled")),
            "token of nobody, name of somebody": ("wrong", token("unknown")),
            "token of somebody, name of nobody": ("unknown", token("wrong")),
            "signed by a stranger": ("wrong", token("wrong", stranger)),
            "expired": ("wrong", token("wrong", exp=now - 600)),
            "not valid yet": ("wrong", token("wrong", nbf=now + 600)),
            "for another audience": ("wrong", token("wrong", aud="another")),
            "of another issuer": ("wrong", token("wrong", iss="https://other.example.org/")),
            "no token of ours": ("wrong", "gp_whatever-somebody-may-guess"),
        }
        expected, _ = await talk(server, mechanism, name("unknown"), cases["unknown"][1])
        assert [each[:3] for each in expected] == ["250", "334", "535", "334", "535"]
        for kind, (login, brought) in cases.items():
            assert (await talk(server, mechanism, name(login), brought))[0] == expected, kind
        client, _ = await greeted(server)
        assert (await attempt(client, mechanism, name("wrong"), token("wrong")))[-1].startswith("235 ")
        await client.close()
        assert not server.troubles
