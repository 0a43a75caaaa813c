"""What tests of logins with access tokens share: a client that brings one, and what came of it."""

from __future__ import annotations

import base64
import json
from typing import Any

from gatepost.observe.events import IssuerAway, IssuerBack, LoginFailed
from gatepost.testing import RunningServer
from integration.client import Client
from integration.conftest import LOGIN
from integration.test_several_stores import hello

__all__ = ["AUTH", "LATER", "NO", "PATIENCE", "bring", "kept", "moods", "reasons", "reply", "say_token"]

AUTH = {"mechanisms": ("PLAIN", "OAUTHBEARER", "XOAUTH2")}
PATIENCE = 200.0
NO = "535 5.7.8"
LATER = "454 4.7.0"


async def say_token(client: Client, token: str, login: str = LOGIN, mechanism: str = "XOAUTH2") -> tuple[str, Any]:
    """Log in with a token; return the last reply, and what the JSON before it said."""
    start = f"user={login}\x01" if mechanism == "XOAUTH2" else f"n,{f'a={login}' if login else ''},\x01"
    message = base64.b64encode(f"{start}auth=Bearer {token}\x01\x01".encode()).decode()
    reply = await client.say(f"AUTH {mechanism} {message}")
    if not reply.startswith("334 "):
        return reply, None
    return await client.say("AQ==" if mechanism == "OAUTHBEARER" else ""), json.loads(base64.b64decode(reply[4:]))


async def bring(server: RunningServer, token: str, login: str = LOGIN, mechanism: str = "XOAUTH2") -> tuple[str, Any]:
    """Log in with a token on a connection of its own."""
    client = await hello(server)
    try:
        return await say_token(client, token, login, mechanism)
    finally:
        await client.close()


async def reply(server: RunningServer, token: str, **how: Any) -> str:
    return (await bring(server, token, **how))[0][:9]


async def kept(server: RunningServer, token: str) -> Client:
    """Log in with a token and stay."""
    client = await hello(server)
    assert (await say_token(client, token))[0].startswith("235")
    return client


def reasons(server: RunningServer) -> list[str]:
    return [each.reason for each in server.events if isinstance(each, LoginFailed)]


def moods(server: RunningServer) -> list[type]:
    return [type(each) for each in server.events if isinstance(each, IssuerAway | IssuerBack)]
