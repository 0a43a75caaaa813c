"""What is asked of reports goes on to a next hop that offers DSN, and to no other."""

from __future__ import annotations

import pytest

from contracts.transport_contract import Whole
from gatepost.model.address import parse_mailbox
from gatepost.model.delivery import Delivered, Handover
from gatepost.model.envelope import Envelope, MessageId, Notify, Recipient, Ret
from gatepost.relay.smarthost import SmartHost, TlsMode
from gatepost.relay.transport import Delivery
from next_hop import ALL_EXTENSIONS, FakeNextHop

ANN = Recipient(parse_mailbox("ann@x.net"), Notify.SUCCESS | Notify.DELAY, "rfc822;Ann+2BB@X.net")
BOB = Recipient(parse_mailbox("bob@x.net"))
EVE = Recipient(parse_mailbox("eve@x.net"), Notify.NEVER, "utf-8;ève@x.net")


async def deliver(hop: FakeNextHop, **more: object) -> list[Handover]:
    host = SmartHost("out", "127.0.0.1", hop.port, hostname="gatepost.example", tls=TlsMode.NONE)
    envelope = Envelope(
        parse_mailbox("tim@example.org"),
        (ANN, BOB, EVE),
        ret=Ret.HEADERS,
        envid="Q+2BqQ",
        **more,  # type: ignore[arg-type]
    )
    try:
        results = await host.deliver(Delivery(MessageId("m1"), envelope, envelope.recipients, Whole()))
    finally:
        await host.close()
    return [each.handover for each in results if isinstance(each, Delivered)]


@pytest.mark.rfc("3461 §5.2.1")
@pytest.mark.parametrize("pipelining", [("PIPELINING",), ()], ids=["pipelined", "step by step"])
async def test_a_next_hop_with_dsn_is_told_and_reports_itself(pipelining: tuple[str, ...]) -> None:
    async with FakeNextHop(extensions=(*pipelining, "DSN")) as hop:
        assert await deliver(hop) == [Handover.REPORTED] * 3
        [mail] = hop.accepted
    assert mail.mail == "MAIL FROM:<tim@example.org> RET=HDRS ENVID=Q+2BqQ"
    assert mail.rcpts == [
        "RCPT TO:<ann@x.net> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Ann+2BB@X.net",
        "RCPT TO:<bob@x.net>",
        "RCPT TO:<eve@x.net> NOTIFY=NEVER ORCPT=utf-8;\\x{E8}ve@x.net",
    ]


@pytest.mark.rfc("6533 §3")
async def test_with_smtputf8_an_original_recipient_goes_on_as_it_came() -> None:
    async with FakeNextHop(extensions=(*ALL_EXTENSIONS, "DSN")) as hop:
        await deliver(hop, smtputf8=True)
        assert hop.accepted[0].mail.endswith(" RET=HDRS ENVID=Q+2BqQ SMTPUTF8 SIZE=" + str(Whole().size_bytes))
        assert hop.accepted[0].rcpts[2].endswith(" ORCPT=utf-8;ève@x.net")


@pytest.mark.rfc("3461 §5.2.2")
async def test_a_next_hop_without_dsn_hears_nothing_of_it() -> None:
    async with FakeNextHop() as hop:
        assert await deliver(hop) == [Handover.RELAYED] * 3
        [mail] = hop.accepted
    assert mail.mail == f"MAIL FROM:<tim@example.org> SIZE={Whole().size_bytes}"
    assert mail.rcpts == [f"RCPT TO:<{name}@x.net>" for name in ("ann", "bob", "eve")]
