"""Real mail clients submit over both kinds of TLS with each mechanism they have; a real Postfix gets the octets."""

from __future__ import annotations

import dataclasses
import email
import email.policy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey

from interop.clients import CLIENTS
from interop.conftest import LOGIN, Issuer
from interop.submission import TOKENS, Refused, Submission
from servers import Authority, Gatepost, Postfix, wait_for

ROWS = [
    pytest.param(name, mechanism, tls, id=f"{name}-{mechanism}-{tls}")
    for name, client in CLIENTS.items()
    for mechanism in client.mechanisms
    for tls in ("starttls", "implicit")
]

# What clients, servers and their authors get wrong: dots, octets above 127, the longest line, blanks at the ends.
BODY = (
    b".\r\n"
    b".one dot\r\n"
    b"..two dots\r\n"
    b"From here on\r\n"
    b"Bcc: not a header field\r\n"
    b"\r\n"
    b"tab and blanks at the end\t  \r\n"
    b"  and at the beginning\r\n" + "Grüße, 你好, \N{OWL}\r\n".encode() + b"=41 =\r\n" + b"x" * 998 + b"\r\n"
    b"the last line but three\r\n"
    b"\r\n"
    b"..\r\n"
    b"\r\n"
    b"\r\n"
)


def message(recipient: str, subject: str) -> bytes:
    """Return a message that needs no mending."""
    return (
        b"".join(
            line.encode() + b"\r\n"
            for line in (
                f"From: Tim <{LOGIN}>",
                f"To: {recipient}",
                f"Subject: {subject}",
                " \tfolded, with a blank before the end ",
                "Date: Sat, 21 Nov 2026 04:10:30 +0000",
                f"Message-ID: <{subject}@sender.example>",
                "MIME-Version: 1.0",
                "Content-Type: text/plain; charset=utf-8",
                "Content-Transfer-Encoding: 8bit",
                "x-odd-CASE:no blank after the colon",
            )
        )
        + b"\r\n"
        + BODY
    )


def added_fields(received: bytes, sent: bytes) -> list[str]:
    """Return the names of the fields above *sent*, which must be the end of *received*, octet for octet."""
    assert received.endswith(sent), f"what arrived is not what was sent:\n{received!r}\n{sent!r}"
    above = received[: -len(sent)]
    assert re.fullmatch(rb"(?:[A-Za-z-]+:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)*", above), above
    return re.findall(r"^([A-Za-z-]+):", above.decode("ascii"), re.MULTILINE)


def composed_fields(received: bytes, sent: bytes) -> list[str]:
    """Return the names of the fields above what a program composed; its text is that of *sent*, octet for octet."""
    got, wanted = (email.message_from_bytes(each, policy=email.policy.SMTP) for each in (received, sent))
    text, wanted_text = (each.get_payload(decode=True).replace(b"\r\n", b"\n") for each in (got, wanted))
    assert text == wanted_text
    for name in ("From", "To", "Subject"):
        # What is folded keeps its blanks; none of them means more than one.
        assert [" ".join(each.split()) for each in got.get_all(name)] == [" ".join(wanted[name].split())]
    for name in ("Date", "Message-ID"):
        assert len(got.get_all(name)) == 1
    return got.keys()[:5]


def submission(
    server: Gatepost, authority: Authority, folder: Path, mechanism: str, tls: str, secret: str, recipient: str
) -> Submission:
    usual = "submission" if tls == "starttls" else "submissions"
    return Submission(
        port=server.port(f"xoauth2-{tls}" if mechanism == "XOAUTH2" else usual),
        tls=tls,
        mechanism=mechanism,
        login=LOGIN,
        secret=secret,
        sender=LOGIN,
        recipient=recipient,
        message=message(recipient, recipient.partition("@")[0]),
        ca=authority.ca,
        folder=folder,
    )


@pytest.mark.root
@pytest.mark.rfc("6409 §8")
@pytest.mark.rfc("8314 §3.3")
@pytest.mark.parametrize(("client", "mechanism", "tls"), ROWS)
def test_a_message_reaches_the_next_hop_octet_for_octet(
    client: str,
    mechanism: str,
    tls: str,
    server: Gatepost,
    next_hop: Postfix,
    authority: Authority,
    issuer: Issuer,
    secret: str,
    tmp_path: Path,
) -> None:
    recipient = f"{client}-{mechanism}-{tls}-{server.loop}@{next_hop.domain}".lower().replace("_", "-")
    it = submission(
        server,
        authority,
        tmp_path,
        mechanism,
        tls,
        issuer.token(LOGIN) if mechanism in TOKENS else secret,
        recipient,
    )

    CLIENTS[client].send(it)

    (received,) = wait_for(f"mail for {recipient}", lambda: next_hop.messages(recipient))
    fields = (composed_fields if CLIENTS[client].composes else added_fields)(received, it.message)
    assert fields == ["Return-Path", "X-Original-To", "Delivered-To", "Received", "Received"]
    assert received.startswith(f"Return-Path: <{LOGIN}>\r\n".encode())
    ours = received.split(b"Received: ")[2].partition(b"\r\n\r\n")[0]
    assert b"127.0.0.1" not in ours, "the client's address is nobody's business"
    # RFC 3848 §1: the protocol's name says that the session was encrypted and authenticated.
    assert re.search(rb"\bwith ESMTPSA\b", ours), ours
    accepted = logged(server, "message accepted", lambda line: recipient in line["recipients"])
    login = logged(server, "login succeeded", lambda line: line["session"] == accepted["session"])
    assert (login["login"], login["mechanism"]) == (LOGIN, mechanism)
    assert it.secret not in server.log.read_text()


def logged(server: Gatepost, event: str, which: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return the one log line about *event* that is meant; lines are written a moment after the fact."""
    (line,) = wait_for(event, lambda: [line for line in server.lines() if line["event"] == event and which(line)])
    return line


# What each takes of its own accord: from what is offered unless configured otherwise (and issuers are there), from all
# that we have, and from a list with -PLUS, where some cancel what they took and give up.
CHOICES = {
    "swaks": ("LOGIN", "CRAM-MD5", "PLAIN"),
    "curl": ("PLAIN", "CRAM-MD5", "PLAIN"),
    "msmtp": ("PLAIN", "PLAIN", "PLAIN"),
    "gsasl": ("SCRAM-SHA-256", "SCRAM-SHA-256", ""),
    "smtplib": ("PLAIN", "CRAM-MD5", "PLAIN"),
    "aiosmtplib": ("PLAIN", "CRAM-MD5", "PLAIN"),
    "mutt": ("SCRAM-SHA-256", "SCRAM-SHA-256", ""),
    "s-nail": ("PLAIN", "PLAIN", "PLAIN"),
    "git": ("PLAIN", "CRAM-MD5", "PLAIN"),
    "net-smtp": ("PLAIN", "CRAM-MD5", "PLAIN"),
    "nodemailer": ("PLAIN", "PLAIN", "PLAIN"),
}


def test_what_clients_choose_is_documented_so() -> None:
    page = (Path(__file__).parents[2] / "docs" / "clients.md").read_text()
    rows = re.findall(
        r"^\| ([a-z-]+)[^|]* \| ([A-Z0-9-]+) \| ([A-Z0-9-]+) \| ([A-Z0-9-]+|fails) \|$", page, re.MULTILINE
    )
    assert {row[0]: (*row[1:3], row[3].replace("fails", "")) for row in rows} == CHOICES


@pytest.mark.root
@pytest.mark.parametrize("client", CHOICES)
def test_whoever_chooses_by_itself_comes_in(
    client: str, server: Gatepost, next_hop: Postfix, authority: Authority, secret: str, tmp_path: Path
) -> None:
    for listener, choice in zip(("usual-starttls", "submission", "bound-starttls"), CHOICES[client], strict=True):
        recipient = f"choice-{client}-{listener}-{server.loop}@{next_hop.domain}"
        folder = tmp_path / listener
        folder.mkdir()
        it = submission(server, authority, folder, "", "starttls", secret, recipient)
        it = dataclasses.replace(it, port=server.port(listener))
        if not choice:
            with pytest.raises((Refused, RuntimeError)):
                CLIENTS[client].send(it)
            continue
        CLIENTS[client].send(it)
        accepted = logged(server, "message accepted", lambda line, to=recipient: to in line["recipients"])
        login = logged(server, "login succeeded", lambda line, session=accepted["session"]: line["session"] == session)
        assert login["mechanism"] == choice, listener


@pytest.mark.root
@pytest.mark.parametrize("client", CHOICES)
def test_whoever_chooses_by_itself_and_has_the_wrong_secret_hears_no(
    client: str, server: Gatepost, next_hop: Postfix, authority: Authority, secret: str, tmp_path: Path
) -> None:
    # Some try one mechanism after the other until they are hung up on.
    recipient = f"no-choice-{client}-{server.loop}@{next_hop.domain}"
    with pytest.raises(Refused):
        CLIENTS[client].send(submission(server, authority, tmp_path, "", "starttls", secret[::-1], recipient))


def failures(server: Gatepost, mechanism: str) -> list[dict[str, Any]]:
    """Return the log lines about refused logins with *mechanism*."""
    return [line for line in server.lines() if line["event"] == "login failed" and line["mechanism"] == mechanism]


@pytest.mark.root
@pytest.mark.parametrize(
    ("client", "mechanism"),
    [
        pytest.param(name, mechanism, id=f"{name}-{mechanism}")
        for name, client in CLIENTS.items()
        for mechanism in client.mechanisms
    ],
)
def test_a_wrong_secret_ends_in_the_clients_own_failure(
    client: str,
    mechanism: str,
    server: Gatepost,
    next_hop: Postfix,
    authority: Authority,
    issuer: Issuer,
    secret: str,
    tmp_path: Path,
) -> None:
    if mechanism in TOKENS:
        wrong = issuer.token(LOGIN, key=ECKey.generate_key("P-256", {"kid": "interop"}))
    else:
        wrong = secret[:-1] + ("a" if secret[-1] != "a" else "b")
    recipient = f"nobody-{client}-{mechanism}@{next_hop.domain}".lower().replace("_", "-")
    before = len(failures(server, mechanism))

    with pytest.raises(Refused):
        CLIENTS[client].send(submission(server, authority, tmp_path, mechanism, "starttls", wrong, recipient))

    assert not any(recipient in line.get("recipients", ()) for line in server.lines())
    # Each no is counted, also of who hangs up instead of hearing its end.
    wait_for("the login to be told of", lambda: len(failures(server, mechanism)) > before)
    assert wrong not in server.log.read_text()


@pytest.mark.root
@pytest.mark.parametrize("mechanism", TOKENS)
def test_an_expired_token_is_refused(
    server: Gatepost,
    next_hop: Postfix,
    authority: Authority,
    issuer: Issuer,
    secret: str,
    tmp_path: Path,
    mechanism: str,
) -> None:
    token = issuer.token(LOGIN, lifetime=-600)

    with pytest.raises(Refused):
        CLIENTS["smtplib"].send(
            submission(server, authority, tmp_path, mechanism, "implicit", token, f"expired@{next_hop.domain}")
        )

    logged(server, "login failed", lambda line: line["mechanism"] == mechanism and "expired" in line["reason"])


@pytest.mark.root
@pytest.mark.rfc("9266 §2")
@pytest.mark.rfc("5802 §6")
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"])
@pytest.mark.parametrize(("version", "logged_version"), [("TLS1.3", "TLSv1.3"), ("TLS1.2", "TLSv1.2")])
@pytest.mark.parametrize("is_right", [True, False])
def test_gsasl_binds_its_login_to_the_connection(
    server: Gatepost,
    next_hop: Postfix,
    authority: Authority,
    secret: str,
    tmp_path: Path,
    mechanism: str,
    version: str,
    logged_version: str,
    is_right: bool,
) -> None:
    recipient = f"bound-{mechanism}-{version}-{server.loop}-{is_right}@{next_hop.domain}".lower().replace("_", "-")
    given = secret if is_right else secret[:-1] + ("a" if secret[-1] != "a" else "b")
    it = submission(server, authority, tmp_path, mechanism, "starttls", given, recipient)
    it = dataclasses.replace(it, port=server.port("bound-starttls"), tls_version=version)

    if not is_right:
        with pytest.raises(Refused):
            CLIENTS["gsasl"].send(it)
        return
    CLIENTS["gsasl"].send(it)

    assert wait_for(f"mail for {recipient}", lambda: next_hop.messages(recipient))
    accepted = logged(server, "message accepted", lambda line: recipient in line["recipients"])
    login = logged(server, "login succeeded", lambda line: line["session"] == accepted["session"])
    assert (login["mechanism"], login["tls"].split()[0]) == (mechanism, logged_version)


@pytest.mark.root
@pytest.mark.rfc("3207 §4")
def test_the_next_hop_is_reached_over_verified_tls(
    server: Gatepost, next_hop: Postfix, authority: Authority, secret: str, tmp_path: Path
) -> None:
    recipient = f"encrypted-{server.loop}@{next_hop.tls_domain}"
    it = submission(server, authority, tmp_path, "PLAIN", "implicit", secret, recipient)

    CLIENTS["smtplib"].send(it)

    (received,) = wait_for(f"mail for {recipient}", lambda: next_hop.messages(recipient))
    added_fields(received, it.message)
    assert b"(using TLSv1.3" in received.split(b"Received: ")[1]
