"""The LMTP transport keeps the contract of a transport: over TCP, pipelined and step by step, and a Unix socket."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contracts.transport_contract import TransportContract, delivery
from gatepost.model.delivery import Delivered
from gatepost.relay.lmtp import Lmtp
from gatepost.relay.smarthost import TlsMode
from gatepost.relay.transport import Transport
from lmtp_next_hop import LMTP_EXTENSIONS, FakeLmtpHop


class TestLmtp(TransportContract):
    hop: FakeLmtpHop
    extensions: tuple[str, ...] = LMTP_EXTENSIONS

    @pytest.fixture
    async def transport(self) -> AsyncIterator[Transport]:
        async with FakeLmtpHop(extensions=self.extensions) as self.hop:
            host = Lmtp("lmtp", "127.0.0.1", self.hop.port, hostname="gatepost.example", tls=TlsMode.NONE)
            yield host
            await host.close()

    async def received(self) -> list[tuple[str, list[str], bytes]]:
        return [(mail.reverse_path, mail.recipients, mail.content) for mail in self.hop.accepted]

    async def test_the_result_says_what_took_it(self, transport: Transport) -> None:
        (result,) = await transport.deliver(delivery())
        assert isinstance(result, Delivered)
        assert result.next_hop in ("127.0.0.1", "localhost")
        assert (result.reply.code, result.reply.enhanced, result.reply.is_remote) == (250, "2.1.5", True)


class TestLmtpStepByStep(TestLmtp):
    extensions = ("SIZE", "8BITMIME")


class TestLmtpSocket(TestLmtp):
    @pytest.fixture
    async def transport(self) -> AsyncIterator[Transport]:
        # A short path: that of a socket has 107 octets at most.
        with tempfile.TemporaryDirectory(prefix="gp-lmtp-") as folder:
            socket = Path(folder) / "lmtp"
            async with FakeLmtpHop(socket=socket) as self.hop:
                host = Lmtp("lmtp", "localhost", socket=socket, hostname="gatepost.example", tls=TlsMode.NONE)
                yield host
                await host.close()
