"""``gatepost oauth``: in a browser, by an address brought back, by a device code; with workers that use it at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import smtplib
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gatepost.cli import oauth_login
from gatepost.cli.oauth_login import Way
from gatepost.cli.output import Told
from gatepost.model.identity import Secret
from gatepost.relay.oauth_client import OAuthClient
from gatepost.relay.token_answer import Granted
from gatepost.relay.token_endpoint import TokenEndpoint
from next_hop import FakeNextHop
from secret_scan import files, findings, processes
from servers import Authority, Gatepost, wait_for
from token_provider import TokenProvider, answer

SECRET = "one long secret, chosen by nobody"
ADDRESS = re.compile(r"^https?://\S+$", re.MULTILINE)


@pytest.fixture
async def provider() -> AsyncIterator[TokenProvider]:
    made = TokenProvider(rotates=True)
    await made.start()
    yield made
    await made.close()


class Terminal:
    """What is said to the person at it."""

    def __init__(self) -> None:
        self.text = ""
        self.has_said = asyncio.Event()

    def say(self, text: str) -> None:
        self.text += text + "\n"
        self.has_said.set()

    async def address(self) -> str:
        async with asyncio.timeout(60):
            await self.has_said.wait()
        found = ADDRESS.search(self.text)
        assert found is not None, self.text
        return found[0]


Begin = Callable[..., Way]


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


@pytest.fixture
def begin(provider: TokenProvider, terminal: Terminal, authority: Authority) -> Begin:
    def begin(**changes: Any) -> Way:
        name, secret = provider.client
        client = OAuthClient(
            **{
                "token_url": provider.url("token"),
                "client_id": name,
                "secret": Secret(secret.encode()),
                "scopes": ("mail", "offline_access"),
                "authorize_url": provider.url("authorize?audience=mail"),
                "device_url": provider.url("device"),
                "ca_file": authority.ca,
                "timeout": 30.0,
                **changes,
            }
        )
        return Way(client, TokenEndpoint(client), provider.login, terminal.say)

    return begin


def get(address: str) -> tuple[int, str]:
    """Be a browser of this machine."""
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def is_from(provider: TokenProvider, granted: Granted) -> bool:
    assert granted.refresh_token is not None
    return granted.refresh_token.reveal().decode() in provider.refresh


@pytest.mark.rfc("7636 §4.2")
@pytest.mark.rfc("8252 §7.3")
async def test_a_browser_comes_back_to_this_machine(provider: TokenProvider, begin: Begin, terminal: Terminal) -> None:
    waiting = asyncio.create_task(begin().by_browser(0))
    address = await terminal.address()
    assert "audience=mail&" in address
    assert "login_hint=shop%40example.org" in address
    back = provider.grant(address)
    assert back.startswith("http://127.0.0.1:")
    status, text = await asyncio.to_thread(get, back)
    assert status == 200
    assert "close this window" in text
    assert is_from(provider, await waiting)


@pytest.mark.rfc("6749 §10.12")
async def test_whoever_does_not_bring_the_state_ends_nothing(
    provider: TokenProvider, begin: Begin, terminal: Terminal
) -> None:
    waiting = asyncio.create_task(begin().by_browser(0))
    back = provider.grant(await terminal.address())
    place = back.partition("?")[0]
    for query in (
        "",
        "?code=evil",
        "?code=evil&state=wrong",
        "?error=access_denied",
        "?state=%ff&code=x",
        "?" + "&" * 99,
    ):
        assert (await asyncio.to_thread(get, place + query))[0] == 400
    port = int(place.rpartition(":")[2])
    for octets in (b"\r\n\r\n", b"\x16\x03\x01" * 99 + b"\r\n\r\n", b"GET\r\n\r\n", b"x" * 70_000, b""):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(octets)
        if writer.can_write_eof():
            writer.write_eof()
        with contextlib.suppress(ConnectionError):
            assert b"200 OK" not in await reader.read()
        writer.close()
    assert not waiting.done()
    await asyncio.to_thread(get, back)
    assert is_from(provider, await waiting)


@pytest.mark.rfc("6749 §4.1.2.1")
async def test_a_no_is_told(begin: Begin, provider: TokenProvider, terminal: Terminal) -> None:
    waiting = asyncio.create_task(begin().by_browser(0))
    back = provider.grant(await terminal.address())
    said = re.sub(r"code=[^&]*", "error=access_denied&error_description=no%1b[2J", back)
    assert "not granted" in (await asyncio.to_thread(get, said))[1]
    with pytest.raises(Told, match="did not grant access: access_denied no") as caught:
        await waiting
    assert caught.value.message.isprintable()


async def test_nobody_comes(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oauth_login, "_PATIENCE", 0.05)
    with pytest.raises(Told, match="nobody signed in"):
        await begin().by_browser(0)


async def test_an_address_is_brought_back(provider: TokenProvider, begin: Begin, terminal: Terminal) -> None:
    way = begin(redirect_host="localhost")

    def ask() -> str:
        found = ADDRESS.search(terminal.text)
        assert found is not None
        return f"  {provider.grant(found[0])}\n"

    assert is_from(provider, await way.by_pasting(ask))
    with pytest.raises(Told, match="not the one at which this login ended"):
        await begin().by_pasting(lambda: "http://localhost:1/?code=x&state=y")


@pytest.mark.rfc("7636 §4.5")
async def test_a_code_is_worth_nothing_without_what_the_challenge_was_made_of(
    provider: TokenProvider, begin: Begin, terminal: Terminal
) -> None:
    """Somebody brings a code that was given to another login."""
    other, mine = begin(), begin()
    address = other._address("http://127.0.0.1:1")
    stolen = provider.grant(address).replace(other._state, mine._state)
    with pytest.raises(Told, match="refuses: invalid_grant"):
        await mine.by_pasting(lambda: stolen)


@pytest.mark.rfc("8628 §3.5")
async def test_a_code_is_typed_in_elsewhere(
    provider: TokenProvider, begin: Begin, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        provider.has_granted = len(slept) > 3

    monkeypatch.setattr(oauth_login.asyncio, "sleep", sleep)
    provider.answers = [answer(400, {"error": "authorization_pending"}), answer(400, {"error": "slow_down"})]
    assert is_from(provider, await begin().by_device())
    assert "type the code ABCD-EFGH" in terminal.text
    assert provider.url("enter") in terminal.text
    assert slept == [1.0, 1.0, 6.0, 6.0]
    assert provider.forms[0]["scope"] == "mail offline_access"


@pytest.mark.parametrize("error", ["access_denied", "expired_token"])
async def test_a_device_code_that_comes_to_nothing(provider: TokenProvider, begin: Begin, error: str) -> None:
    provider.answers = [answer(400, {"error": error})]
    with pytest.raises(Told, match=f"refuses: {error}"):
        await begin().by_device()


async def test_ways_that_an_issuer_does_not_have(begin: Begin) -> None:
    with pytest.raises(Told, match="use --paste"):
        await begin(device_url="").by_device()
    with pytest.raises(Told, match="use --device"):
        await begin(authorize_url="").by_browser(0)


async def test_without_a_refresh_token_it_is_no_login(provider: TokenProvider, begin: Begin) -> None:
    provider.gives_refresh_token, provider.has_granted = False, True
    with pytest.raises(Told, match="add offline_access"):
        await begin().by_device()


def test_a_server_of_two_workers_sends_at_once_what_waited_for_the_login(tmp_path: Path, authority: Authority) -> None:
    asyncio.run(_serve_and_log_in(tmp_path, authority))


async def _serve_and_log_in(tmp_path: Path, authority: Authority) -> None:
    provider = TokenProvider(rotates=True)
    await provider.start()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)
    secret = tmp_path / "client.secret"
    secret.write_text(provider.client[1])
    async with FakeNextHop(tls="starttls", context=context, mechanisms=("XOAUTH2",)) as hop:
        hop.tokens = provider.tokens
        server = Gatepost(
            tmp_path / "node",
            authority,
            f'[[route]]\nname = "out"\ntransport = "smarthost"\nhost = "127.0.0.1"\nport = {hop.port}\n'
            f'idle = "0s"\nlogin = "{provider.login}"\nca_file = "{authority.ca}"\n'
            f'[route.oauth]\nclient_id = "{provider.client[0]}"\n'
            f'client_secret_file = "{secret}"\nclient_auth = "post"\nclient_secret_expires = 2099-12-31\n'
            f'token_url = "{provider.url("token")}"\nauthorize_url = "{provider.url("authorize")}"\n'
            f'device_url = "{provider.url("device")}"\n',
            top="workers = 2",
        )
        await asyncio.to_thread(_drive, server, provider, hop, asyncio.get_running_loop())
    await provider.close()
    assert provider.violations == []


def _drive(server: Gatepost, provider: TokenProvider, hop: FakeNextHop, loop: asyncio.AbstractEventLoop) -> None:
    server.add_account("tim@example.org", secret=SECRET)
    with server:
        sent = _send(server, 4)
        wait_for("the route to be paused", lambda: _told(server, "route paused"))
        assert "run: gatepost oauth login out" in _told(server, "route paused")[0]["reason"]
        assert _status(server)[0] == (1, "not logged in")

        login = asyncio.run_coroutine_threadsafe(_log_in_by_browser(server, provider), loop)
        assert "has an access token until" in login.result(120)
        wait_for("the mail", lambda: len(hop.accepted) == sent)
        assert _status(server)[0] == (0, "valid")
        changes = [line["change"] for line in _told(server, "route changed by hand")]
        assert changes == ["logged in"]
        (row,) = json.loads(server.run("status", "--json"))["tokens"]
        assert (row["route"], row["token"], row["secret_expires"][:10]) == ("out", "valid", "2099-12-31")
        assert "valid" in server.run("status")

        provider.is_revoked = True
        provider.expire_all()
        sent += _send(server, 4)
        wait_for("trouble", lambda: _told(server, "token troubled"))
        assert _status(server)[0] == (1, "revoked")
        provider.is_revoked, provider.has_granted = False, True
        server.run("oauth", "login", "out", "--device")
        wait_for("the rest", lambda: len(hop.accepted) == sent)
        secrets = {f"token {number}": each for number, each in enumerate(provider.given)}
        secrets["client secret"] = provider.client[1]
        assert server.process is not None
        assert findings(processes(server.process.pid), secrets) == []
    assert findings(files(server.folder), secrets) == []
    assert not _told(server, "failed")


async def _log_in_by_browser(server: Gatepost, provider: TokenProvider) -> str:
    """Run the command, follow the address it shows, and return what it says."""
    command = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gatepost", "oauth", "login", "out", "--config", str(server.config)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert command.stdout is not None
    said = ""
    async with asyncio.timeout(90):
        while ADDRESS.search(said) is None:
            line = await command.stdout.readline()
            assert line, said
            said += line.decode()
        found = ADDRESS.search(said)
        assert found is not None
        await asyncio.to_thread(get, provider.grant(found[0]))
        said += (await command.stdout.read()).decode()
        assert await command.wait() == 0
    return said


def _status(server: Gatepost) -> list[tuple[int, str]]:
    try:
        return [(0, each["state"]) for each in json.loads(server.run("oauth", "status", "--json"))]
    except RuntimeError as error:
        return [(1, each["state"]) for each in json.loads(str(error).partition("\n")[2])]


def _told(server: Gatepost, event: str) -> list[dict[str, Any]]:
    return [line for line in server.lines() if line["event"] == event]


def _send(server: Gatepost, number: int) -> int:
    content = b"From: tim@example.org\r\nSubject: hello\r\n\r\nhello\r\n"
    context = server.authority.client_context()
    for _ in range(number):
        with smtplib.SMTP_SSL("localhost", server.port("submissions"), context=context) as client:
            client.login("tim@example.org", SECRET)
            client.sendmail("tim@example.org", ["ann@example.net"], content)
    return number
