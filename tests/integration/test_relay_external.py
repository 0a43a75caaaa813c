"""Getting in at a next hop with a certificate of ours: at a server of our own, which asks for one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from client_certificates import ClientAuthority
from contracts.transport_contract import delivery
from gatepost.config.schema import Config
from gatepost.errors import ConfigError
from gatepost.identity.accounts import add_account
from gatepost.identity.credentials import Rules
from gatepost.identity.database import Database
from gatepost.identity.own_certificates import add_certificate
from gatepost.model.delivery import Cause, Deferred, Delivered, Result
from gatepost.model.identity import Secret
from gatepost.observe.events import LoginFailed, LoginSucceeded
from gatepost.relay.smarthost import SmartHost, TlsMode
from gatepost.route_parts import routes
from gatepost.state.keys import load_keys
from gatepost.testing import RunningServer
from servers import Authority

LOGIN = "relay@example.org"
LOCAL = {"address": "127.0.0.1", "port": 0}
BOTH = pytest.mark.parametrize("tls", ["starttls", "implicit"])


@pytest.fixture
def clients(tmp_path: Path) -> ClientAuthority:
    return ClientAuthority(tmp_path / "clients")


def settings(clients: ClientAuthority) -> dict[str, Any]:
    return {
        "auth": {"mechanisms": ("EXTERNAL", "PLAIN")},
        "listener": [{"name": tls, "tls": tls, "client_ca": clients.path, **LOCAL} for tls in ("starttls", "implicit")],
    }


def let_in(server: RunningServer, certificate: bytes) -> None:
    """Add an account that may write as anybody, with the certificate as its only credential."""
    config = server.worker.config
    database = Database(config.state_dir / "accounts.db")
    add_account(database, load_keys(config.secret_key_file), LOGIN, now=time.time(), senders=("*",))
    add_certificate(database, Rules(("EXTERNAL",)), LOGIN, certificate, now=time.time())


async def attempt(server: RunningServer, authority: Authority, tls: str, **options: Any) -> Result:
    host = SmartHost(
        "out",
        "localhost",
        server.ports[tls],
        hostname="gatepost.example",
        tls=TlsMode(tls),
        ca_file=authority.ca,
        **options,
    )
    try:
        (result,) = await host.deliver(delivery())
        return result
    finally:
        await host.close()


@BOTH
@pytest.mark.rfc("4422 §A.1")
@pytest.mark.parametrize("login", ["", LOGIN])
@pytest.mark.parametrize("password", [None, Secret(b"not needed")])
async def test_our_certificate_lets_us_in(start, authority, clients, tls, login, password):
    ours = clients.issue("ours")
    async with start(**settings(clients)) as server:
        let_in(server, ours.path.read_bytes())
        options = {"certificate": ours.certificate_path, "key": ours.key_path, "password": password}
        result = await attempt(server, authority, tls, login=login, **options)
        assert isinstance(result, Delivered), result
        [event] = [event for event in server.events if isinstance(event, LoginSucceeded)]
        assert (event.login, event.mechanism) == (LOGIN, "EXTERNAL")
        assert isinstance(await attempt(server, authority, tls, certificate=ours.path), Delivered)


@BOTH
async def test_a_certificate_of_nobody_is_our_trouble_and_not_the_mail_s(start, authority, clients, tls):
    async with start(**settings(clients)) as server:
        result = await attempt(server, authority, tls, certificate=clients.issue("stranger").path)
        assert isinstance(result, Deferred)
        assert (result.cause, result.reply.code) == (Cause.ROUTE, 535)
        assert [event.reason for event in server.events if isinstance(event, LoginFailed)] == [
            "certificate of no credential"
        ]


@BOTH
async def test_where_external_is_not_offered_the_password_logs_in(start, authority, clients, tls):
    ours = clients.issue("ours")
    listeners = [{"name": each, "tls": each, **LOCAL} for each in ("starttls", "implicit")]
    async with start(auth={"mechanisms": ("PLAIN",)}, listener=listeners) as server:
        secret = {"login": "tim@example.org", "password": Secret(b"secret-pass-1")}
        await attempt(server, authority, tls, certificate=ours.path, **secret)
        [event] = [event for event in server.events if isinstance(event, LoginSucceeded)]
        assert event.mechanism == "PLAIN"
        result = await attempt(server, authority, tls, certificate=ours.path, login=LOGIN)
        assert isinstance(result, Deferred)
        assert "no mechanism to log in with" in result.reply.text


def test_files_that_cannot_be_used_are_told(clients, tmp_path):
    ours, other = clients.issue("ours"), clients.issue("other")
    for certificate, key in (
        (tmp_path / "nowhere.pem", None),
        (ours.certificate_path, None),
        (ours.certificate_path, other.key_path),
    ):
        with pytest.raises(OSError):
            SmartHost("out", "localhost", 465, hostname="gatepost.example", certificate=certificate, key=key)


async def test_a_renewed_certificate_makes_the_route_anew_at_a_reload(clients, authority):
    first, second = clients.issue("first"), clients.issue("second")
    route = {"name": "out", "transport": "smarthost", "host": "localhost", "certificate": first.path}
    config = Config.model_validate({"hostname": "gatepost.example.org", "route": [route]})
    standing = routes(config)
    assert routes(config, standing) == standing
    first.path.write_bytes(second.path.read_bytes())
    assert routes(config, standing).keys() != standing.keys()
    first.path.unlink()
    with pytest.raises(ConfigError, match=f"route out: {first.path}: No such file or directory"):
        routes(config, standing)
