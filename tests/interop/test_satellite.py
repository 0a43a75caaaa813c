"""A Postfix hands its mail to gatepost as its smart host, with each mechanism that Cyrus SASL has."""

from __future__ import annotations

import smtplib
from pathlib import Path

import pytest

from interop.conftest import LOGIN
from interop.test_clients import added_fields, logged, message
from servers import Authority, Gatepost, Postfix, postfix, wait_for

MECHANISMS = ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512")
LISTENERS = {"starttls": "submission", "implicit": "submissions"}


def settings(server: Gatepost, authority: Authority, secret: str, ways: dict[str, str]) -> str:
    """Return what makes a Postfix log in at *server*; *ways* says which of its services takes what for whom."""
    ports = {tls: server.port(listener) for tls, listener in LISTENERS.items()}
    passwords = ", ".join(f"{{ [localhost]:{port} = {LOGIN}:{secret} }}" for port in ports.values())
    maps = ", ".join(
        f"{{ {recipient} = {way}:[localhost]:{ports[way.rpartition('-')[2]]} }}" for recipient, way in ways.items()
    )
    return f"""
smtpd_relay_restrictions = permit_mynetworks, reject
virtual_mailbox_domains =
relayhost = [127.0.0.1]:1
smtp_host_lookup = native
transport_maps = inline:{{ {maps} }}
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = inline:{{ {passwords} }}
smtp_sasl_security_options = noanonymous
smtp_sasl_tls_security_options = noanonymous
smtp_tls_security_level = secure
smtp_tls_CAfile = {authority.ca}
"""


@pytest.mark.root
def test_what_a_postfix_relays_reaches_the_next_hop_octet_for_octet(
    server: Gatepost, next_hop: Postfix, authority: Authority, secret: str
) -> None:
    for mechanism in ("scram", "crammd5", "plain", "login"):
        if not list(Path("/usr/lib").glob(f"*/sasl2/lib{mechanism}.so")):
            pytest.skip("modules of Cyrus SASL are missing: apt-get install libsasl2-modules")
    ways = {
        f"satellite-{mechanism.lower()}-{tls}-{server.loop}@{next_hop.domain}": f"{mechanism.lower()}-{tls}"
        for mechanism in MECHANISMS
        for tls in LISTENERS
    }
    services = "".join(
        f"{mechanism.lower()}-{tls} unix - - n - - smtp\n"
        f"  -o smtp_sasl_mechanism_filter={mechanism}\n"
        f"  -o smtp_tls_wrappermode={'yes' if tls == 'implicit' else 'no'}\n"
        for mechanism in MECHANISMS
        for tls in LISTENERS
    )
    with postfix(authority, settings=settings(server, authority, secret, ways), services=services) as satellite:
        assert "warning: " not in satellite.log()
        with smtplib.SMTP("127.0.0.1", satellite.port, timeout=60) as client:
            for recipient in ways:
                sent = message(recipient, recipient.partition("@")[0])
                client.sendmail(LOGIN, [recipient], sent, mail_options=["BODY=8BITMIME"])
        for recipient, way in ways.items():
            try:
                (received,) = wait_for(f"mail for {recipient}", lambda to=recipient: next_hop.messages(to), seconds=60)
            except TimeoutError as error:
                raise RuntimeError(f"{error}\n{satellite.log()}") from error
            fields = added_fields(received, message(recipient, recipient.partition("@")[0]))
            assert fields == ["Return-Path", "X-Original-To", "Delivered-To", "Received", "Received", "Received"]
            accepted = logged(server, "message accepted", lambda line, to=recipient: to in line["recipients"])
            session = accepted["session"]
            login = logged(server, "login succeeded", lambda line, session=session: line["session"] == session)
            assert (login["login"], login["mechanism"].lower()) == (LOGIN, way.rpartition("-")[0])
