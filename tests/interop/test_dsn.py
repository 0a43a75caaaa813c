"""A client asks for reports, and a real Postfix as next hop, which offers DSN, gets the wishes and keeps them."""

from __future__ import annotations

import smtplib

from interop.conftest import LOGIN
from reports import read
from servers import Authority, Gatepost, Postfix, wait_for

SENDER = f"dsn@{Postfix.domain}"


def test_what_is_asked_reaches_a_postfix_and_reports_come_from_whoever_knows(
    server: Gatepost, authority: Authority, next_hop: Postfix
) -> None:
    login = LOGIN.replace("tim", f"dsn-{server.loop}")
    secret = server.add_account(login, SENDER)
    recipient, envelope_id = f"dsn-{server.loop}@{Postfix.domain}", f"{server.loop}+2B1"
    content = f"From: <{SENDER}>\r\nTo: <{recipient}>\r\nSubject: hello\r\n\r\nwhat I wrote\r\n"
    with smtplib.SMTP("localhost", server.port("submission")) as client:
        client.starttls(context=authority.client_context())
        client.ehlo("client.example")
        assert client.has_extn("dsn")
        client.login(login, secret)
        wishes = ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;Ann+2B1@old.example"]
        mail = ["RET=HDRS", f"ENVID={envelope_id}"]
        refused = client.sendmail(SENDER, [recipient, "nobody@elsewhere.example"], content, mail, wishes)
        assert refused == {}

    mark = b"Original-Envelope-Id: " + envelope_id.replace("+2B", "+").encode()

    def reports() -> list[bytes]:
        """Return the notifications about this message: ours last."""
        found = [each for each in next_hop.messages(SENDER) if mark in each]
        return sorted(found, key=lambda each: b"Reporting-MTA: dns; next-hop.example.net" not in each)

    wait_for("two notifications", lambda: len(reports()) == 2)
    theirs, failed = reports()
    assert b"Action: delivered\r\n" in theirs
    assert b"Original-Recipient: rfc822;Ann+1@old.example\r\n" in theirs
    ours = read(failed)
    assert ours.actions == {"nobody@elsewhere.example": "failed"}
    assert ours.recipients[0]["original-recipient"] == "rfc822; Ann+1@old.example"
    assert ours.recipients[0]["status"].startswith("5.7.")
    assert ours.types[2] == "text/rfc822-headers"
