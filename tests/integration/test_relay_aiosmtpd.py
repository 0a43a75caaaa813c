"""Our client against a server that is not ours: stock aiosmtpd, which offers no PIPELINING."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from contracts.transport_contract import CONTENT, Pieces, Whole, delivery
from gatepost.model.delivery import Cause, Deferred, Delivered, Failed
from gatepost.model.identity import Secret
from gatepost.relay.smarthost import SmartHost, TlsMode
from servers import Authority


class Keeper:
    """Keeps what it gets; refuses who is called nobody."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("nobody@"):
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.envelopes.append(envelope)
        return "250 2.0.0 kept"


@pytest.fixture
async def keeper(authority: Authority) -> AsyncIterator[tuple[Keeper, int]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)
    keeper = Keeper()

    def known(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword) -> AuthResult:
        return AuthResult(success=data.login == b"tim" and data.password == b"secret", handled=False)

    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(
            keeper, tls_context=context, require_starttls=True, authenticator=known, auth_required=True, loop=loop
        ),
        "127.0.0.1",
        0,
    )
    yield keeper, server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


async def test_messages_arrive_over_starttls_with_a_login(keeper: tuple[Keeper, int], authority: Authority) -> None:
    kept, port = keeper
    host = SmartHost(
        "out",
        "localhost",
        port,
        hostname="gatepost.example",
        ca_file=authority.ca,
        login="tim",
        password=Secret(b"secret"),
        tls=TlsMode.STARTTLS,
    )
    for content in (Whole(), Pieces()):
        good, bad = await host.deliver(delivery("ann@x.net", "nobody@x.net", content=content))
        assert isinstance(good, Delivered)
        assert isinstance(bad, Failed)
    assert [envelope.rcpt_tos for envelope in kept.envelopes] == [["ann@x.net"]] * 2
    assert [envelope.content for envelope in kept.envelopes] == [CONTENT] * 2
    await host.close()


async def test_a_wrong_password_defers_with_the_route(keeper: tuple[Keeper, int], authority: Authority) -> None:
    host = SmartHost(
        "out",
        "localhost",
        keeper[1],
        hostname="gatepost.example",
        ca_file=authority.ca,
        login="tim",
        password=Secret(b"wrong"),
    )
    (result,) = await host.deliver(delivery())
    assert isinstance(result, Deferred)
    assert result.cause is Cause.ROUTE
    assert result.reply.code == 535
    await host.close()
