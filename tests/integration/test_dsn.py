"""DSN, turned on for the test: what a client asks of reports lies in the spool with its recipient, and comes back."""

from __future__ import annotations

import pytest

from gatepost.model.envelope import Notify, Ret
from gatepost.session import smtp
from gatepost.session.extensions import EXTENSIONS, MAIL_PARAMETERS, RECIPIENT_PARAMETERS
from gatepost.session.extensions.dsn import DSN
from integration.client import connect, log_in
from servers import free_ports


@pytest.fixture
def announced(monkeypatch):
    """Turn it on."""
    smtp._ehlo_reply.cache_clear()
    monkeypatch.setattr(smtp, "EXTENSIONS", (*EXTENSIONS, DSN))
    for table, more in (
        (MAIL_PARAMETERS, DSN.mail_parameters),
        (RECIPIENT_PARAMETERS, DSN.recipient_parameters),
    ):
        for keyword, read in more.items():
            monkeypatch.setitem(table, keyword, read)
    yield
    smtp._ehlo_reply.cache_clear()


@pytest.mark.rfc("3461 §4.1")
@pytest.mark.rfc("3461 §4.2")
@pytest.mark.rfc("3461 §4.3")
@pytest.mark.rfc("3461 §4.4")
@pytest.mark.parametrize("way", ["DATA", "BDAT"])
@pytest.mark.usefixtures("announced")
async def test_what_is_asked_is_kept_with_each_recipient(start, way):
    (nobody,) = free_ports(1)
    route = {"name": "away", "transport": "smarthost", "host": "127.0.0.1", "port": nobody, "tls": "none"}
    async with start(route=[route]) as server:
        client = await connect(server)
        await client.reply()
        assert " 250 DSN" in (await client.say("EHLO client.example")).replace("250-", "250 ")
        await client.close()
        client = await log_in(server)
        for line, code in (
            ("MAIL FROM:<tim@example.org> RET=ALL", "501 5.5.4 Bad value of RET"),
            ("MAIL FROM:<tim@example.org> ENVID=+0A", "501 5.5.4 Bad value of ENVID"),
            ("MAIL FROM:<tim@example.org> NOTIFY=NEVER", "555 5.5.4"),
            ("MAIL FROM:<tim@example.org> RET=hdrs ENVID=Q+2BqQ SIZE=100", "250 2.1.0"),
            ("RCPT TO:<ann@example.net> NOTIFY=NEVER,DELAY", "501 5.5.4 Bad value of NOTIFY"),
            ("RCPT TO:<ann@example.net> ORCPT=ann@example.net", "501 5.5.4 Bad value of ORCPT"),
            ("RCPT TO:<ann@example.net> RET=FULL", "555 5.5.4"),
            ("RCPT TO:<ann@example.net> NOTIFY=delay,SUCCESS ORCPT=rfc822;Ann+2BB@Example.NET", "250 2.1.5"),
            ("RCPT TO:<bob@example.net>", "250 2.1.5"),
            ("RCPT TO:<eve@example.net> notify=never", "250 2.1.5"),
        ):
            assert (await client.say(line)).startswith(code), line
        content = b"From: <tim@example.org>\r\n\r\nhello\r\n"
        if way == "DATA":
            assert (await client.say("DATA")).startswith("354 ")
            client.writer.write(content + b".\r\n")
        else:
            client.writer.write(b"BDAT %d LAST\r\n" % len(content) + content)
        assert (await client.reply()).startswith("250 2.0.0 queued as ")
        [entry] = server.worker.spool.list()
        assert (entry.envelope.ret, entry.envelope.envid) == (Ret.HEADERS, "Q+2BqQ")
        assert [(str(each), each.notify, each.orcpt) for each in entry.envelope.recipients] == [
            ("ann@example.net", Notify.SUCCESS | Notify.DELAY, "rfc822;Ann+2BB@Example.NET"),
            ("bob@example.net", None, ""),
            ("eve@example.net", Notify.NEVER, ""),
        ]
        await client.close()


@pytest.mark.rfc("3461 §3")
async def test_without_the_promise_its_parameters_are_unknown(start):
    async with start() as server:
        client = await log_in(server)
        assert "DSN" not in await client.say("EHLO client.example")
        for line in ("RET=FULL", "ENVID=x"):
            assert (await client.say(f"MAIL FROM:<tim@example.org> {line}")).startswith("555 5.5.4 ")
        assert (await client.say("MAIL FROM:<tim@example.org>")).startswith("250 ")
        for line in ("NOTIFY=NEVER", "ORCPT=rfc822;bob@example.net"):
            assert (await client.say(f"RCPT TO:<bob@example.net> {line}")).startswith("555 5.5.4 ")
        await client.close()
