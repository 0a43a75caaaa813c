"""Other logins for mail from some domains: each goes by its own, on connections of its own, never by another's."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gatepost.config.schema import Config
from gatepost.control.verbs import route_states
from gatepost.model.address import parse_mailbox
from gatepost.model.envelope import Envelope, MessageId, Recipient
from gatepost.parts import key_pairs
from gatepost.relay.router import Router
from gatepost.relay.transport import Delivery
from gatepost.route_parts import routes
from gatepost.spool.spool import Draft
from integration.conftest import Start
from memory_spool import MemoryContent
from next_hop import FakeNextHop
from servers import Authority

LOGINS = {"own": "own-pw", "a": "a-pw", "b": "b-pw"}
MESSAGE = b"From: tim@example.org\r\n\r\nhello\r\n"
BY = {"tim@a.example": "a", "tim@x.a.example": "a", "tim@b.example": "b", "tim@c.example": "own", "": "own"}


@pytest.fixture
async def hop(authority: Authority) -> AsyncIterator[FakeNextHop]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)
    async with FakeNextHop(tls="starttls", context=context, mechanisms=("PLAIN",), logins=dict(LOGINS)) as hop:
        yield hop


def route(hop: FakeNextHop, authority: Authority, **more: Any) -> dict[str, Any]:
    return {
        "name": "out",
        "transport": "smarthost",
        "host": "127.0.0.1",
        "port": hop.port,
        "ca_file": authority.ca,
        "login": "own",
        "password": "own-pw",
        "logins": [
            {"sender_domains": ["a.example", "*.a.example"], "login": "a", "password": "a-pw"},
            {"sender_domains": ["b.example"], "login": "b", "password": "b-pw"},
        ],
        **more,
    }


def envelope(sender: str) -> Envelope:
    return Envelope(
        parse_mailbox(sender) if sender else None,
        (Recipient(parse_mailbox("ann@example.net")),),
        header_bytes=MESSAGE.index(b"\r\n\r\n") + 4,
        size_bytes=len(MESSAGE),
    )


async def deliver(router: Router, sender: str) -> None:
    made = envelope(sender)
    taken = router.route_for(made, made.recipients[0])
    assert taken is not None
    await taken.transport.deliver(Delivery(MessageId("m"), made, made.recipients, MemoryContent(MESSAGE)))


@pytest.mark.parametrize("several", [False, True])
async def test_mail_never_goes_by_the_login_of_another_domain(
    hop: FakeNextHop, authority: Authority, tmp_path: Path, several: bool
) -> None:
    given = route(hop, authority)
    if several:
        given |= {"host": "", "hosts": [f"127.0.0.1:{hop.port}", "127.0.0.1:1"]}
        del given["host"], given["port"]
    config = Config.model_validate({"hostname": "mail.example.org", "state_dir": tmp_path, "route": [given]})
    router = Router(routes(config).values())
    senders = [sender for sender in BY for _ in range(8)]
    Random(1).shuffle(senders)
    # One after the other, on kept connections, and all at once.
    for sender in senders[:20]:
        await deliver(router, sender)
    await asyncio.gather(*[deliver(router, sender) for sender in senders])
    await router.close()
    assert len(hop.accepted) == len(senders) + 20
    assert all(mail.login == BY[mail.reverse_path] for mail in hop.accepted)
    logins = {mail.connection: mail.login for mail in hop.accepted}
    assert all(mail.login == logins[mail.connection] for mail in hop.accepted)


def test_mail_that_is_sent_that_way_by_hand_goes_by_the_login_of_its_sender(
    hop: FakeNextHop, authority: Authority, tmp_path: Path
) -> None:
    other = {"name": "box", "transport": "sandbox", "path": tmp_path / "box"}
    given = {"hostname": "mail.example.org", "state_dir": tmp_path, "route": [other, route(hop, authority)]}
    router = Router(routes(Config.model_validate(given)).values())
    for sender, login in BY.items():
        made = replace(envelope(sender), route="out")
        taken = router.route_for(made, made.recipients[0])
        assert taken is not None
        assert taken.name == {"a": "out:a.example", "b": "out:b.example", "own": "out"}[login]


async def test_a_login_that_is_refused_pauses_its_own_way_only(
    hop: FakeNextHop, authority: Authority, start: Start
) -> None:
    hop.logins["b"] = "changed"
    async with start(route=[route(hop, authority)]) as server:
        for sender in ("tim@b.example", "tim@a.example", "tim@c.example"):
            receipt = await server.worker.spool.put(Draft(envelope(sender), MESSAGE))
            server.worker.scheduler.wake(receipt.id)
        gates, spool = server.worker.scheduler.gates, server.worker.spool
        async with asyncio.timeout(60):
            while spool.count() > 1 or not gates["out:b.example"].health.is_paused:
                await asyncio.sleep(0.02)
        states = {row["route"]: row["state"] for row in route_states(server.worker)}
        assert states == {"out:a.example": "open", "out:b.example": "paused", "out": "open"}
        assert spool.count() == 1
        assert sorted(mail.login for mail in hop.accepted) == ["a", "own"]


async def test_pausing_a_route_by_hand_pauses_all_its_logins_and_one_login_only_itself(
    hop: FakeNextHop, authority: Authority, start: Start
) -> None:
    async with start(route=[route(hop, authority)]) as server:

        def states() -> dict[str, str]:
            return {row["route"]: row["state"] for row in route_states(server.worker)}

        server.worker.pause_routes({"out": server.worker.clock.now()})
        assert set(states().values()) == {"paused by hand"}
        receipt = await server.worker.spool.put(Draft(envelope("tim@a.example"), MESSAGE))
        server.worker.scheduler.wake(receipt.id)
        await asyncio.sleep(0.2)
        assert hop.connections == 0
        server.worker.pause_routes({"out:b.example": server.worker.clock.now()})
        assert states() == {"out:a.example": "open", "out:b.example": "paused by hand", "out": "open"}
        async with asyncio.timeout(60):
            while not hop.accepted:
                await asyncio.sleep(0.02)
        assert hop.accepted[0].login == "a"


async def test_a_reload_that_corrects_a_login_lets_its_mail_go_at_once(
    hop: FakeNextHop, authority: Authority, start: Start
) -> None:
    given = route(hop, authority)
    given["logins"][1]["password"] = "wrong"
    async with start(route=[given]) as server:
        worker = server.worker
        receipts = [await worker.spool.put(Draft(envelope("tim@b.example"), MESSAGE)) for _ in range(3)]
        for receipt in receipts:
            worker.scheduler.wake(receipt.id)
        async with asyncio.timeout(60):
            while route_states(worker)[1]["state"] != "paused" or worker.scheduler.in_flight:
                await asyncio.sleep(0.02)
        corrected = Config.model_validate({**worker.config.model_dump(), "route": [route(hop, authority)]})
        await worker.reload(corrected, key_pairs(corrected))
        # Its pause was to last a minute, and who had been tried to sleep as long.
        assert [each.due for each in worker.spool.list() if each.due > worker.clock.now()] == []
        async with asyncio.timeout(60):
            while worker.spool.count():
                await asyncio.sleep(0.02)
        assert [mail.login for mail in hop.accepted] == ["b"] * 3


async def test_a_reload_that_changes_one_login_keeps_the_others_connected(
    hop: FakeNextHop, authority: Authority, tmp_path: Path
) -> None:
    def config(secret: str) -> Config:
        given = route(hop, authority)
        given["logins"][1]["password"] = secret
        return Config.model_validate({"hostname": "mail.example.org", "state_dir": tmp_path, "route": [given]})

    before = routes(config("b-pw"))
    after = routes(config("other"), before)
    kept = [route.name for key, route in after.items() if before.get(key) is route]
    assert kept == ["out:a.example", "out"]
    assert [each.name for each in after.values()] == ["out:a.example", "out:b.example", "out"]
