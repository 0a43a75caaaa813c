"""Nothing is smuggled through gatepost into a Postfix: of each try it gets one message or none."""

from __future__ import annotations

import smtplib

import pytest

from interop.conftest import LOGIN
from servers import Authority, Gatepost, Postfix, wait_for
from smuggling import FAKES, HEADER, SMUGGLED


@pytest.mark.parametrize("command", ["DATA", "BDAT"])
def test_a_postfix_gets_nothing_of_what_has_a_false_end(
    server: Gatepost, secret: str, next_hop: Postfix, authority: Authority, command: str
):
    victim = f"victim-{server.loop}-{command.lower()}@{next_hop.domain}"
    bob = f"bob-{server.loop}-{command.lower()}@{next_hop.domain}"
    smuggled = SMUGGLED.replace(b"victim@example.net", victim.encode()).replace(b"tim@example.org", LOGIN.encode())
    header = HEADER.replace(b"tim@example.org", LOGIN.encode())

    def send(client: smtplib.SMTP, content: bytes) -> int:
        """Send *content* as it stands; return the code of the last reply."""
        assert client.docmd(f"MAIL FROM:<{LOGIN}>")[0] == 250
        assert client.docmd(f"RCPT TO:<{bob}>")[0] == 250
        if command == "DATA":
            assert client.docmd("DATA")[0] == 354
            client.send(content + b"\r\n.\r\n")
        else:
            client.send(b"BDAT %d LAST\r\n%b" % (len(content), content))
        return int(client.getreply()[0])

    harmless = b"hello\r\n.\r\n" if command == "BDAT" else b"hello\r\n..\r\n"
    with smtplib.SMTP_SSL("localhost", server.implicit_port, context=authority.client_context(), timeout=60) as client:
        client.login(LOGIN, secret)
        for fake in FAKES.values():
            assert send(client, header + b"hello" + fake + smuggled) == 554
        assert send(client, header + harmless + smuggled) == 250
    [message] = wait_for("the message", lambda: next_hop.messages(bob))
    assert message.partition(b"\r\n\r\n")[2].startswith(b"hello\r\n.\r\nMAIL FROM:")
    assert not next_hop.messages(victim)
