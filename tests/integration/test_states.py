"""Every command in every state, over real sockets: one reply, well formed, and the state after it as the table says.

A state is what the session answers from there on: it is told by what a few commands get.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

import pytest

from gatepost.session.smtp import SubmissionSession
from integration.client import Client, connect

RIGHT = "AUTH PLAIN " + base64.b64encode(b"\0tim@example.org\0secret-pass-1").decode()
WRONG = "AUTH PLAIN " + base64.b64encode(b"\0nobody@example.org\0wrong").decode()

# In each row a command, and in each column a state: the code of the reply, and the state after it, if it is another.
TABLE = """
command                        clear       tls          greeted         login       mail        rcpt        chunks
EHLO client.example            250         250 greeted  250             250         250 login   250 login   250 login
EHLO                           501         501          501             501         501         501         501
EHLO ^A                        501         501          501             501         501         501         501
HELO client.example            250         250          250 tls         250         250 login   250 login   250 login
HELO                           501         501          501             501         501         501         501
STARTTLS                       220 tls     503          503             503         503         503         503
STARTTLS now                   501         501          501             501         503         503         503
RIGHT                          538         503          235 login       503         503         503         503
WRONG                          538         503          535             503         503         503         503
AUTH PLAIN                     538         503          334 challenged  503         503         503         503
AUTH LOGIN                     538         503          334 asked       503         503         503         503
AUTH CRAM-MD5                  538         503          334 challenged  503         503         503         503
AUTH SCRAM-SHA-256             538         503          334 challenged  503         503         503         503
AUTH PLAIN !                   538         503          501             503         503         503         503
AUTH XYZZY                     538         503          504             503         503         503         503
AUTH                           538         503          501             503         503         503         503
MAIL FROM:<tim@example.org>    530         530          530             250 mail    503         503         503
MAIL FROM:<bob@example.org>    530         530          530             550         503         503         503
MAIL FROM:<tim@localhost>      530         530          530             554         503         503         503
MAIL FROM:<tim@example.org> X  530         530          530             555         503         503         503
MAIL FROM:<tim>                530         530          530             501         503         503         503
MAIL                           530         530          530             501         503         503         503
RCPT TO:<bob@example.net>      530         530          530             503         250 rcpt    250         503
RCPT TO:<bob@localhost>        530         530          530             503         554         554         503
RCPT TO:<bob@example.net> X    530         530          530             503         555         555         503
RCPT TO:<bob>                  530         530          530             503         501         501         503
RCPT                           530         530          530             503         501         501         503
DATA                           530         530          530             503         554         354 data    503
DATA now                       530         530          530             503         501         501         503
BDAT 0                         530         530          530             503         554         250 chunks  250
BDAT 0 LAST                    530         530          530             503         554         554 login   554 login
BDAT                           501 lost    501 lost     501 lost        501 lost    501 lost    501 lost    501 lost
RSET                           250         250          250             250         250 login   250 login   250 login
RSET now                       501         501          501             501         501         501         501
NOOP                           250         250          250             250         250         250         250
NOOP now                       250         250          250             250         250         250         250
VRFY bob                       530         530          530             252         252         252         252
VRFY                           530         530          530             501         501         501         501
EXPN list                      530         530          530             502         502         502         502
HELP                           530         530          530             214         214         214         214
HELP MAIL                      530         530          530             214         214         214         214
QUIT                           221 closed  221 closed   221 closed      221 closed  221 closed  221 closed  221 closed
QUIT now                       501         501          501             501         501         501         501
XYZZY                          530         500          500             500         500         500         500
.                              530         500          500             500         500         500         500
*                              530         500          500             500         500         500         500
"""

# What is asked to find out where a session stands, in one group, and what it says to that in each state.
PROBE = b"AUTH\r\nMAIL\r\nRCPT\r\nDATA\r\n.\r\nQUIT\r\n"
ANSWERS = {
    "clear": "538 5.7.11, 530 5.7.0, 530 5.7.0, 530 5.7.0, 530 5.7.0, 221 2.0.0",
    "tls": "503 5.5.1, 530 5.7.0, 530 5.7.0, 530 5.7.0, 500 5.5.1, 221 2.0.0",
    "greeted": "501 5.5.4, 530 5.7.0, 530 5.7.0, 530 5.7.0, 500 5.5.1, 221 2.0.0",
    "challenged": "501 5.5.2, 530 5.7.0, 530 5.7.0, 530 5.7.0, 500 5.5.1, 221 2.0.0",
    "asked": "334, 501 5.5.2, 530 5.7.0, 530 5.7.0, 500 5.5.1, 221 2.0.0",
    "login": "503 5.5.1, 501 5.5.4, 503 5.5.1, 503 5.5.1, 500 5.5.1, 221 2.0.0",
    "mail": "503 5.5.1, 503 5.5.1, 501 5.5.4, 554 5.5.1, 500 5.5.1, 221 2.0.0",
    "rcpt": "503 5.5.1, 503 5.5.1, 501 5.5.4, 354, 554 5.6.0, 221 2.0.0",
    "chunks": "503 5.5.1, 503 5.5.1, 503 5.5.1, 503 5.5.1, 500 5.5.1, 221 2.0.0",
    "data": "554 5.6.0, 221 2.0.0",
    "closed": "",
    "lost": "421 4.5.4",  # and closed
}

# How each state is reached: the state, the listener, and what is said there.
MESSAGE = "From: <tim@example.org>\r\n\r\nhello\r\n."
MAIL, RCPT = "MAIL FROM:<tim@example.org>", "RCPT TO:<bob@example.net>"
IN = ["EHLO x", RIGHT]
WAYS = {
    "greeting": ("clear", "submission", []),
    "EHLO in clear": ("clear", "submission", ["EHLO x"]),
    "HELO in clear": ("clear", "submission", ["HELO x"]),
    "STARTTLS": ("tls", "submission", ["EHLO x", "STARTTLS"]),
    "STARTTLS without EHLO": ("tls", "submission", ["STARTTLS"]),
    "implicit TLS": ("tls", "submissions", []),
    "HELO": ("tls", "submissions", ["HELO x"]),
    "HELO after EHLO": ("tls", "submissions", ["EHLO x", "HELO x"]),
    "EHLO after STARTTLS": ("greeted", "submission", ["EHLO x", "STARTTLS", "EHLO x"]),
    "EHLO": ("greeted", "submissions", ["EHLO x"]),
    "a login that failed": ("greeted", "submissions", ["EHLO x", WRONG]),
    "a login that was cancelled": ("greeted", "submissions", ["EHLO x", "AUTH PLAIN", "*"]),
    "challenge": ("challenged", "submissions", ["EHLO x", "AUTH PLAIN"]),
    "login": ("login", "submissions", IN),
    "login after STARTTLS": ("login", "submission", ["EHLO x", "STARTTLS", *IN]),
    "EHLO after login": ("login", "submissions", [*IN, "EHLO x"]),
    "HELO after login": ("login", "submissions", [*IN, "HELO x"]),
    "MAIL": ("mail", "submissions", [*IN, MAIL]),
    "MAIL after HELO": ("mail", "submissions", [*IN, "HELO x", MAIL]),
    "a recipient that was refused": ("mail", "submissions", [*IN, MAIL, "RCPT TO:<bob@localhost>"]),
    "DATA that was refused": ("mail", "submissions", [*IN, MAIL, "DATA"]),
    "RCPT": ("rcpt", "submissions", [*IN, MAIL, RCPT]),
    "a second recipient that was refused": ("rcpt", "submissions", [*IN, MAIL, RCPT, "RCPT TO:<bob>"]),
    "MAIL that was refused": ("rcpt", "submissions", [*IN, MAIL, RCPT, MAIL]),
    "DATA": ("data", "submissions", [*IN, MAIL, RCPT, "DATA"]),
    "BDAT": ("chunks", "submissions", [*IN, MAIL, RCPT, "BDAT 0"]),
    "BDAT that was refused": ("mail", "submissions", [*IN, MAIL, "BDAT 0 LAST"]),
    "a message in chunks": (
        "login",
        "submissions",
        [*IN, MAIL, RCPT, "BDAT 27\r\nFrom: <tim@example.org>\r\n", "BDAT 0 LAST"],
    ),
    "a message": ("login", "submissions", [*IN, MAIL, RCPT, "DATA", MESSAGE]),
    "a message that was refused": ("login", "submissions", [*IN, MAIL, RCPT, "DATA", "."]),
    "RSET": ("login", "submissions", [*IN, MAIL, RCPT, "RSET"]),
    "EHLO in a transaction": ("login", "submissions", [*IN, MAIL, RCPT, "EHLO x"]),
}


@dataclass(frozen=True)
class Row:
    """What one command gets in each state."""

    command: str
    replies: dict[str, str]
    states: dict[str, str]


def read_table() -> list[Row]:
    """Return the rows of the table."""
    head, *lines = TABLE.strip().splitlines()
    _, *states = head.split()
    rows = []
    for line in lines:
        command, *cells = re.split(" {2,}", line)
        pairs = [cell.partition(" ") for cell in cells]
        rows.append(
            Row(
                {"RIGHT": RIGHT, "WRONG": WRONG}.get(command, command.replace("^A", "\x01")),
                dict(zip(states, (code for code, _, _ in pairs), strict=True)),
                dict(
                    zip(
                        states,
                        (after or state for state, (_, _, after) in zip(states, pairs, strict=True)),
                        strict=True,
                    )
                ),
            )
        )
    return rows


ROWS = read_table()


async def hear(client: Client, command: str) -> str:
    """Read one reply, hold it to what a reply must be, and return its codes; empty at the end."""
    codes = set()
    while True:
        line = await client.reader.readline()
        if not line:
            assert not codes, "hung up in the middle of a reply"
            return ""
        # RFC 5321 §4.2: three digits, a hyphen on all lines but the last, text; §4.5.3.1.5: 512 octets at most.
        match = re.fullmatch(rb"([2-5][0-9]{2})([ -])(([245])\.[0-9]{1,3}\.[0-9]{1,3} )?[\x20-\x7e]*\r\n", line)
        assert match is not None, line
        assert len(line) <= 512
        code, mark, enhanced, kind = (part.decode() if part else "" for part in match.groups())
        # RFC 2034 §4: an enhanced code of the same class on each line, but for the greeting, EHLO, HELO and 3yz.
        if (
            code in ("334", "354")
            or (code == "220" and not command)
            or (code == "250" and command.startswith(("EHLO", "HELO")))
        ):
            assert not enhanced, line
        else:
            assert kind == code[0], line
        codes.add(f"{code} {enhanced}".strip())
        assert len(codes) == 1, codes
        if mark == " ":
            return codes.pop()


async def say(server, client: Client, command: str) -> str:
    """Say *command*, and shake hands where that comes next."""
    client.writer.write(command.encode() + b"\r\n")
    codes = await hear(client, command)
    if codes == "220 2.0.0":
        await client.writer.start_tls(server.client_context, server_hostname="localhost")
    return codes


async def reach(server, way: str) -> Client:
    """Return a connection that went that way."""
    _, listener, lines = WAYS[way]
    client = await connect(server, listener)
    assert await hear(client, "") == "220"
    for line in lines:
        assert await say(server, client, line)
    return client


async def where(client: Client, *, asks: bool = True) -> str:
    """Find out where the session stands; one that ends by itself need not be asked."""
    if asks:
        client.writer.write(PROBE)
    answers = []
    while codes := await hear(client, "PROBE"):
        answers.append(codes)
    return next((state for state, expected in ANSWERS.items() if expected == ", ".join(answers)), str(answers))


def expected(row: Row, way: str) -> tuple[str, str]:
    """Return the code that the command gets there, and the state after it."""
    state = WAYS[way][0]
    code, after = row.replies[state], row.states[state]
    # RFC 5321 §2.2.1: parameters belong to EHLO.
    return ("501" if code == "555" and "HELO x" in WAYS[way][2] else code), after


def test_the_table_has_every_command():
    assert {row.command.split(" ")[0] for row in ROWS} >= set(SubmissionSession.commands)


@pytest.mark.rfc("2034 §4")
@pytest.mark.rfc("3207 §4")
@pytest.mark.rfc("4954 §4")
@pytest.mark.rfc("5321 §4.1.4")
@pytest.mark.rfc("5321 §4.2")
@pytest.mark.parametrize("way", [way for way, (state, _, _) in WAYS.items() if state in ROWS[0].states])
async def test_every_command_is_answered_and_leads_on_as_the_table_says(start, way):
    async with start() as server:
        found, wanted = {}, {}
        for row in ROWS:
            client = await reach(server, way)
            code = (await say(server, client, row.command))[:3]
            wanted[row.command] = expected(row, way)
            found[row.command] = code, await where(client, asks=wanted[row.command][1] not in {"closed", "lost"})
            await client.close()
        assert found == wanted
        assert not server.troubles


@pytest.mark.rfc("4954 §4")
async def test_in_an_exchange_every_line_is_a_response(start):
    async with start() as server:
        found = {}
        for row in ROWS:
            client = await reach(server, "challenge")
            found[row.command] = await say(server, client, row.command), await where(client)
            await client.close()
        assert found == {row.command: ("501 5.7.0" if row.command == "*" else "501 5.5.2", "greeted") for row in ROWS}
        assert not server.troubles


@pytest.mark.rfc("5321 §4.1.1.4")
async def test_in_a_message_every_line_is_content(start):
    commands = [row.command for row in ROWS if row.command != "."]
    async with start() as server:
        client = await reach(server, "DATA")
        client.writer.write("\r\n".join(["From: <tim@example.org>", "", *commands, ""]).encode())
        assert await say(server, client, ".") == "250 2.0.0"
        assert await where(client) == "login"
        await client.close()
        client = await reach(server, "DATA")
        assert await where(client) == "data"
        await client.close()
        assert not server.troubles
