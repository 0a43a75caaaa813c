"""What a route's settings say about its connections holds on them: from the configuration to the next hop."""

from __future__ import annotations

import ssl
from pathlib import Path

from contracts.transport_contract import delivery
from gatepost.config.load import load
from gatepost.model.delivery import Cause, Deferred, Delivered, Result
from gatepost.route_parts import routes
from next_hop import FakeNextHop
from servers import Authority


async def attempt(folder: Path, hop: FakeNextHop, authority: Authority, setting: str) -> Result:
    """Deliver once by a route with this *setting*."""
    config = folder / "gatepost.toml"
    config.write_text(
        f"""
hostname = "mail.example.org"
[[route]]
name = "next"
transport = "smarthost"
host = "127.0.0.1"
port = {hop.port}
ca_file = "{authority.ca}"
{setting}
"""
    )
    (route,) = routes(load(config, {})).values()
    try:
        (result,) = await route.transport.deliver(delivery())
    finally:
        await route.transport.close()
    return result


async def test_source_address_and_minimum_tls_hold(tmp_path: Path, authority: Authority) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with FakeNextHop(tls="starttls", context=context) as hop:
        assert isinstance(await attempt(tmp_path, hop, authority, 'source_address = "127.0.0.5"'), Delivered)
        assert hop.peers[0].startswith("('127.0.0.5', ")
        assert isinstance(await attempt(tmp_path, hop, authority, 'minimum_tls = "TLSv1.2"'), Delivered)
        assert hop.peers[1].startswith("('127.0.0.1', ")
        result = await attempt(tmp_path, hop, authority, 'minimum_tls = "TLSv1.3"')
        assert isinstance(result, Deferred)
        assert result.cause is Cause.NEXT_HOP
        assert len(hop.mails) == 2
