"""A handler written for aiosmtpd runs on an embedded session: its own documented example, and the other hooks."""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiosmtpd.smtp import SMTP

from gatepost.app import RealClock
from gatepost.model.identity import Identity
from gatepost.observe.emit import Emitter
from gatepost.policy.chain import Chain
from gatepost.session.service import Limits, Service
from gatepost.session.smtp import SubmissionSession
from gatepost.spool.sqlite import SqliteSpool


class ExampleHandler:
    """The example of aiosmtpd's documentation, but that it keeps what the example prints."""

    def __init__(self) -> None:
        self.said: list[str] = []

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        if not address.endswith("@example.com"):
            return "550 not relaying to that domain"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.said.append(f"Message from {envelope.mail_from}")
        self.said.append(f"Message for {envelope.rcpt_tos}")
        self.said.append("Message data:\n")
        for ln in envelope.content.decode("utf8", errors="replace").splitlines():
            self.said.append(f"> {ln}".strip())
        self.said.append("")
        self.said.append("End of message")
        return "250 Message accepted for delivery"


@pytest_asyncio.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """Return the surroundings of an embedded session: a spool, no authority, no policies."""
    spool = SqliteSpool(tmp_path / "spool", clock=RealClock())
    woken: list[str] = []
    yield Service(
        hostname="mail.example.com",
        listener="embedded",
        spool=spool,
        authority=None,
        policies=Chain([]),
        emit=Emitter(),
        clock=RealClock(),
        wake=woken.append,
        require_tls=False,
        limits=Limits(message_bytes=1 << 20),
    )
    assert woken == []  # nothing is relayed
    assert spool.count() == 0
    await spool.close()


async def serve(service: Service, handler: Any, talk: Any) -> None:
    """Serve *handler* while *talk* runs in a thread with a client."""
    server = await asyncio.get_running_loop().create_server(lambda: SubmissionSession(service, handler), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    def run() -> None:
        with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
            talk(client)

    async with server:
        await asyncio.to_thread(run)
        server.close()


async def test_the_documented_example_runs(service):
    handler = ExampleHandler()

    def talk(client: smtplib.SMTP) -> None:
        refused = client.sendmail(
            "anne@example.com",
            ["bart@example.com", "bob@example.org"],
            "From: Anne Person <anne@example.com>\r\nTo: Bart Person <bart@example.com>\r\n"
            "Subject: A test\r\n\r\nHi Bart.",
        )
        assert refused == {"bob@example.org": (550, b"not relaying to that domain")}

    await serve(service, handler, talk)
    assert handler.said[:3] == ["Message from anne@example.com", "Message for ['bart@example.com']", "Message data:\n"]
    assert "> Subject: A test" in handler.said
    assert handler.said[-3:] == ["> Hi Bart.", "", "End of message"]


def test_it_is_aiosmtpds_class():
    assert issubclass(SubmissionSession, SMTP)


class EveryHook(ExampleHandler):
    """Uses the rest of the hooks."""

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        session.host_name = hostname
        return [*responses[:-1], "250-X-EXAMPLE", responses[-1]]

    async def handle_HELO(self, server, session, envelope, hostname):
        session.host_name = hostname
        return "250 hello"

    async def handle_MAIL(self, server, session, envelope, address, mail_options):
        if address == "eve@example.com":
            return "550 not you"
        envelope.mail_from = address
        envelope.mail_options.extend(mail_options)
        return "250 sender fine"

    async def handle_RSET(self, server, session, envelope):
        return "250 forgotten"

    async def handle_NOOP(self, server, session, envelope, arg):
        return "250 nothing done"

    async def handle_VRFY(self, server, session, envelope, address):
        return "252 perhaps"

    async def handle_QUIT(self, server, session, envelope):
        return "221 see you"

    async def handle_DATA(self, server, session, envelope):
        await server.push("250-two lines")
        if b"explode" in envelope.content:
            raise ZeroDivisionError("what the client must not hear")
        return "250 taken"


async def test_every_hook_is_called_and_its_answer_replaces_ours(service):
    def talk(client: smtplib.SMTP) -> None:
        assert "x-example" in client.ehlo()[1].decode().lower()
        assert client.docmd("MAIL FROM:<eve@example.com>") == (550, b"not you")
        assert client.docmd("MAIL FROM:<anne@example.com> SIZE=10") == (250, b"sender fine")
        assert client.docmd("RSET") == (250, b"forgotten")
        assert client.docmd("NOOP") == (250, b"nothing done")
        assert client.docmd("VRFY bart") == (252, b"perhaps")
        client.mail("anne@example.com")
        client.rcpt("bart@example.com")
        assert client.data(b"From: anne@example.com\r\n\r\nhi") == (250, b"two lines\ntaken")
        assert client.docmd("HELO me") == (250, b"hello")
        assert client.docmd("QUIT") == (221, b"see you")

    await serve(service, EveryHook(), talk)


class Exploding(EveryHook):
    """Raises, and finds words for it."""

    async def handle_exception(self, error):
        return f"451 {type(error).__name__}"


@pytest.mark.parametrize(
    ("handler", "reply"), [(EveryHook, b"4.3.0 Internal error"), (Exploding, b"ZeroDivisionError")]
)
async def test_a_handler_that_raises_says_nothing_of_it_unless_it_wants_to(service, handler, reply):
    def talk(client: smtplib.SMTP) -> None:
        client.ehlo()
        client.mail("anne@example.com")
        client.rcpt("bart@example.com")
        client.putcmd("data")
        assert client.getreply()[0] == 354
        client.send(b"From: anne@example.com\r\n\r\nexplode\r\n.\r\n")
        code, text = client.getreply()
        assert b"must not hear" not in text
        assert reply in text
        assert code in (250, 451)

    await serve(service, handler(), talk)


async def test_without_an_authority_there_must_be_somebody_who_takes_the_mail(service):
    class NoData:
        async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
            return "250 OK"

    for handler in (None, NoData()):
        with pytest.raises(ValueError, match="handle_DATA"):
            SubmissionSession(service, handler)
    assert Identity("", "").senders == ()
