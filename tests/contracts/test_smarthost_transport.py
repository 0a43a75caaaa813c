"""The smart host transport keeps the contract of a transport, with pipelining and without."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from contracts.transport_contract import TransportContract
from gatepost.relay.smarthost import SmartHost, TlsMode
from gatepost.relay.transport import Transport
from next_hop import FakeNextHop


class TestSmartHost(TransportContract):
    hop: FakeNextHop
    extensions: tuple[str, ...] = ("PIPELINING", "SIZE 1000000", "8BITMIME", "SMTPUTF8")

    @pytest.fixture
    async def transport(self) -> AsyncIterator[Transport]:
        async with FakeNextHop(extensions=self.extensions) as self.hop:
            host = SmartHost("out", "127.0.0.1", self.hop.port, hostname="gatepost.example", tls=TlsMode.NONE)
            yield host
            await host.close()

    async def received(self) -> list[tuple[str, list[str], bytes]]:
        return [(mail.reverse_path, mail.recipients, mail.content) for mail in self.hop.accepted]


class TestSmartHostStepByStep(TestSmartHost):
    extensions = ("SIZE", "8BITMIME")
