"""DSN: what a client asks of reports lies in the spool with its recipient, and comes back."""

from __future__ import annotations

import pytest

from gatepost.model.envelope import Notify, Ret
from integration.client import connect, log_in
from servers import free_ports


@pytest.mark.rfc("3461 §4.1")
@pytest.mark.rfc("3461 §4.2")
@pytest.mark.rfc("3461 §4.3")
@pytest.mark.rfc("3461 §4.4")
@pytest.mark.parametrize("way", ["DATA", "BDAT"])
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
