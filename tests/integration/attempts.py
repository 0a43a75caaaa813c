"""Attempts to log in, by any mechanism, and what of their answers is the same each time."""

from __future__ import annotations

import base64
import re
import time
from typing import Any

from gatepost.channel_binding import bindings
from gatepost.identity.accounts import add_account
from gatepost.identity.credentials import CredentialRow, Rules, add_credential
from gatepost.identity.database import AccountsDatabase, Database
from gatepost.identity.postgres_database import PostgresDatabase
from gatepost.identity.restrictions import Restrictions
from gatepost.model.identity import Secret
from gatepost.sasl.client import MECHANISMS, Credentials
from gatepost.state.keys import load_keys
from gatepost.testing import RunningServer
from integration.client import Client

__all__ = ["ALL", "PASSWORDS", "TOKENS", "accounts", "attempt", "decoded", "encoded", "give", "shape"]

TOKENS = ("OAUTHBEARER", "XOAUTH2")
"""The mechanisms whose secret is an access token."""

_SCRAMS = ("SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1")
PASSWORDS = (*(f"{each}-PLUS" for each in _SCRAMS), *_SCRAMS, "PLAIN", "LOGIN", "CRAM-MD5")
"""The mechanisms whose secret is a password."""

ALL = (*PASSWORDS, *TOKENS)

_CLIENTS = {each.name: each for each in MECHANISMS}


def encoded(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def decoded(challenge: str) -> bytes:
    """Return what a 334 carries."""
    return base64.b64decode(challenge.removeprefix("334 "), validate=True)


async def attempt(client: Client, mechanism: str, login: str, secret: str, *, authzid: str = "") -> list[str]:
    """Log in; return what was answered, line by line.  A success without the server's proof is an error."""
    brought = Secret(secret.encode())
    binding = None
    if mechanism.endswith("-PLUS"):
        [binding] = bindings(client.writer.transport).items()
    exchange = _CLIENTS[mechanism].start(Credentials(login, brought, brought, authzid, binding))
    first = "" if exchange.initial is None else f" {encoded(exchange.initial)}"
    said = [await client.say(f"AUTH {mechanism}{first}")]
    while said[-1].startswith("334 "):
        said.append(await client.say(encoded(exchange.respond(decoded(said[-1])))))
    if said[-1].startswith("235 "):
        exchange.succeed()
    return said


def shape(reply: str) -> str:
    """Return a reply without what is drawn anew each time (nonces, support id), and without the salt of a name."""
    if not reply.startswith("334 "):
        return re.sub(r"\[gp-[0-9a-f]{10}\.[0-9]+\]", "[gp]", reply)
    text = decoded(reply).decode()
    for kind in (r"(?<=^r=)[!-+\--~]+", r"(?<=,s=)[A-Za-z0-9+/=]+", r"(?<=^<)[!-=?-~]+(?=@)"):
        text = re.sub(kind, lambda found: f"{len(found[0])} octets", text)
    return f"334 {text}"


def accounts(server: RunningServer) -> AccountsDatabase:
    store = server.worker.config.accounts_store
    if store is not None and store.type == "postgres":
        return PostgresDatabase(store.server)
    return Database(server.worker.config.state_dir / "accounts.db")


def give(
    server: RunningServer, login: str, *, new: bool = False, label: str = "", canary: bool = False, **only: Any
) -> tuple[CredentialRow, str]:
    """Give an account, perhaps a new one, a credential that works with every mechanism; return it and its secret."""
    config = server.worker.config
    keys, database = load_keys(config.secret_key_file), accounts(server)
    if new:
        add_account(database, keys, login, now=time.time())
    row, secret = add_credential(
        database,
        keys,
        Rules(PASSWORDS, {each.name: PASSWORDS for each in config.listener}),
        login,
        now=time.time(),
        label=label,
        canary=canary,
        restrictions=Restrictions(**only),
    )
    return row, secret.reveal().decode()
