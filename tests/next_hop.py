"""A next hop that can do anything: accept, refuse, be late, cut the connection, lie, babble; it records what it got.

    async with FakeNextHop() as hop:
        hop.on("RCPT b@example.net", say("550 5.1.1 no such user"))
        hop.on("DATA", cut(), times=1)
        ...
        assert hop.mails[0].content == b"..."

Steps, in their order: ``greeting``, ``EHLO``, ``HELO``, ``STARTTLS``, ``challenge`` (of AUTH), ``AUTH`` (its last
reply), ``MAIL``, ``RCPT`` or ``RCPT <address>``, ``DATA``, ``content`` (just after 354, while the content comes),
``end`` (after the final dot), ``RSET``, ``NOOP``, ``QUIT``.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass, field, replace
from typing import Self

import scramp

from next_hop_logins import Logins
from servers import free_ports

__all__ = ["ALL_EXTENSIONS", "Act", "FakeNextHop", "Mail", "babble", "cut", "late", "say", "silent"]

ALL_EXTENSIONS = ("PIPELINING", "SIZE 0", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")


@dataclass(frozen=True)
class Act:
    """What to do at a step.

    Args:
        octets: what to say; None for the usual answer, empty for nothing.
        seconds: how long to wait before.
        cut: whether to cut the connection after.
    """

    octets: bytes | None = None
    seconds: float = 0.0
    cut: bool = False


def say(*lines: str, cut: bool = False) -> Act:
    """Answer with these lines, each with its code, as they stand."""
    return Act("".join(f"{line}\r\n" for line in lines).encode(), cut=cut)


def babble(octets: bytes, *, cut: bool = False) -> Act:
    """Send these octets, whatever they are."""
    return Act(octets, cut=cut)


def cut() -> Act:
    """Cut the connection instead of answering."""
    return Act(b"", cut=True)


def silent() -> Act:
    """Never answer."""
    return Act(b"")


def late(seconds: float, act: Act | None = None) -> Act:
    """Do it after some seconds."""
    return replace(act or Act(), seconds=seconds)


@dataclass
class Mail:
    """A transaction that came to its end, whatever we answered: addresses and parameters as they were written."""

    connection: int
    mail: str
    rcpts: list[str] = field(default_factory=list)
    content: bytes = b""
    is_encrypted: bool = False
    login: str = ""
    is_accepted: bool = False

    @property
    def reverse_path(self) -> str:
        """What stood between the angle brackets of MAIL."""
        return self.mail.partition("<")[2].partition(">")[0]

    @property
    def recipients(self) -> list[str]:
        """What stood between the angle brackets of each RCPT that was accepted."""
        return [each.partition("<")[2].partition(">")[0] for each in self.rcpts]


class Hangup(Exception):
    """The conversation is over."""


class FakeNextHop:
    """A server on 127.0.0.1, on a free port.

    Args:
        extensions: what EHLO offers, besides STARTTLS and AUTH.
        tls: ``none``, ``starttls`` or ``implicit``.
        context: server side TLS context.
        mechanisms: SASL mechanisms that EHLO offers (inside TLS only, if there is any).
        logins: names and passwords that are good.
        tokens: names and access tokens that are good.
        most_at_once: connections that are served at once; on those beyond it does what `on_too_many` says.
        loses_pipelined: throw away what comes in one piece with a command, as a server without PIPELINING may.
    """

    def __init__(
        self,
        *,
        extensions: tuple[str, ...] = ALL_EXTENSIONS,
        tls: str = "none",
        context: ssl.SSLContext | None = None,
        mechanisms: tuple[str, ...] = (),
        logins: dict[str, str] | None = None,
        tokens: dict[str, str] | None = None,
        loses_pipelined: bool = False,
        most_at_once: int | None = None,
    ) -> None:
        self.extensions = extensions
        self.tls = tls
        self.context = context
        self.mechanisms = mechanisms
        self.logins = logins or {}
        self.tokens = tokens or {}
        self.loses_pipelined = loses_pipelined
        self.most_at_once = most_at_once
        self.on_too_many: tuple[str, Act] = ("greeting", say("421 4.7.0 too many connections", cut=True))
        self.mails: list[Mail] = []
        self.commands: list[str] = []
        self.connections = 0
        self.open_connections = 0
        self.most_connections = 0
        self.used_mechanisms: list[str] = []
        self.refused_mechanisms: dict[str, str] = {}
        self.peers: list[str] = []
        self.said: list[tuple[str, bytes]] = []
        self.before_tls = b""  # what it says in clear, some time after its yes to STARTTLS
        self._script: dict[str, list[tuple[Act, int | None]]] = {}
        self._server: asyncio.Server | None = None
        self._talks: set[Talk] = set()

    def on(self, step: str, act: Act, *, times: int | None = None) -> None:
        """Do *act* at *step*: always, or so many times; several calls follow one another."""
        self._script.setdefault(step, []).append((act, times))

    def usual(self) -> None:
        """Forget the script."""
        self._script.clear()

    def act(self, *steps: str) -> Act:
        """Return what the script has for the first of *steps* that it knows."""
        for step in steps:
            acts = self._script.get(step, [])
            while acts:
                act, times = acts[0]
                if times == 0:
                    acts.pop(0)
                    continue
                if times is not None:
                    acts[0] = (act, times - 1)
                return act
        return Act()

    @property
    def talk_type(self) -> type[Talk]:
        """What serves a connection."""
        return Talk

    @property
    def port(self) -> int:
        """The TCP port."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def is_started(self) -> bool:
        """Whether it listens."""
        return self._server is not None

    @property
    def accepted(self) -> list[Mail]:
        """The mails that were accepted."""
        return [mail for mail in self.mails if mail.is_accepted]

    async def start(self, port: int = 0) -> None:
        """Listen; on a port that nobody takes while the next hop is away, unless one is named."""
        [port] = [port] if port else free_ports(1)
        context = self.context if self.tls == "implicit" else None
        self._server = await self._listen(port, context)

    async def _listen(self, port: int, context: ssl.SSLContext | None) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=context, limit=2**16)

    async def close(self) -> None:
        """Stop listening, and cut what is open."""
        assert self._server is not None
        server, self._server = self._server, None
        server.close()
        self.cut_all()
        await asyncio.gather(*(talk.task for talk in list(self._talks)), return_exceptions=True)
        await server.wait_closed()

    def cut_all(self) -> None:
        """Cut every connection."""
        for talk in list(self._talks):
            talk.task.cancel()

    def say_to_all(self, octets: bytes) -> None:
        """Say something on every connection that nobody asked for."""
        for talk in list(self._talks):
            talk.writer.write(octets)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.peers.append(str(writer.get_extra_info("peername")))
        self.open_connections += 1
        self.most_connections = max(self.most_connections, self.open_connections)
        talk = self.talk_type(self, reader, writer)
        self._talks.add(talk)
        try:
            await talk.run()
        except (Hangup, OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._talks.discard(talk)
            self.open_connections -= 1
            writer.transport.abort()
            if not talk.is_between:
                with contextlib.suppress(OSError):
                    await writer.wait_closed()


class Talk(Logins):
    """One connection."""

    def __init__(self, hop: FakeNextHop, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.hop = hop
        self.reader = reader
        self.writer = writer
        self.number = hop.connections
        self.is_too_many = hop.most_at_once is not None and hop.open_connections > hop.most_at_once
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        self.buffer = bytearray()
        self.is_encrypted = hop.tls == "implicit"
        self.is_between = False  # in a handshake: asyncio forgets to tell the stream when that fails
        self.login = ""
        self.mail: Mail | None = None

    async def run(self) -> None:
        await self.do("220 next-hop.example ESMTP", "greeting")
        while True:
            line = (await self.line()).decode()
            self.hop.commands.append(line)
            if self.hop.loses_pipelined:
                self.buffer.clear()
            verb = line.split(" ", 1)[0].upper()
            method = getattr(self, f"do_{verb.lower()}", None)
            if method is None:
                await self.send(b"500 5.5.1 what?\r\n")
            else:
                await method(line)

    # Octets.

    async def more(self) -> None:
        data = await self.reader.read(65536)
        if not data:
            raise Hangup
        self.buffer += data

    async def line(self) -> bytes:
        while (end := self.buffer.find(b"\r\n")) < 0:
            await self.more()
        line = bytes(self.buffer[:end])
        del self.buffer[: end + 2]
        return line

    async def send(self, octets: bytes) -> None:
        self.writer.write(octets)
        await self.writer.drain()

    async def do(self, usual: str, *steps: str) -> bool:
        """Do what the script says, or say the usual; tell whether that was a yes."""
        act = self.hop.act(*steps)
        if self.is_too_many and self.hop.on_too_many[0] in steps:
            act = self.hop.on_too_many[1]
        if act.seconds:
            await asyncio.sleep(act.seconds)
        octets = act.octets if act.octets is not None else f"{usual}\r\n".encode()
        if octets:
            self.hop.said.append((steps[0], octets))
            await self.send(octets)
        if act.cut:
            raise Hangup
        return octets[:1] in (b"2", b"3")

    # Commands.

    async def do_ehlo(self, line: str) -> None:
        self.mail = None
        offered = list(self.hop.extensions)
        if self.hop.tls == "starttls" and not self.is_encrypted:
            offered.append("STARTTLS")
        if self.hop.mechanisms and (self.is_encrypted or self.hop.tls == "none"):
            offered.append("AUTH " + " ".join(self.hop.mechanisms))
        lines = ["next-hop.example", *offered]
        text = "\r\n".join(f"250{'-' if each is not lines[-1] else ' '}{each}" for each in lines)
        await self.do(text, "EHLO")

    async def do_helo(self, line: str) -> None:
        self.mail = None
        await self.do("250 next-hop.example", "HELO")

    async def do_starttls(self, line: str) -> None:
        if await self.do("220 2.0.0 go ahead", "STARTTLS"):
            assert self.hop.context is not None
            if self.hop.before_tls:
                await asyncio.sleep(0.01)
                await self.send(self.hop.before_tls)
            self.is_between = True
            await self.writer.start_tls(self.hop.context)
            self.is_between = False
            self.is_encrypted = True
            self.login = ""

    async def do_auth(self, line: str) -> None:
        _, mechanism, *initial = line.split(" ")
        self.hop.used_mechanisms.append(mechanism)
        if mechanism in self.hop.refused_mechanisms:
            await self.send(f"{self.hop.refused_mechanisms[mechanism]}\r\n".encode())
            return
        name = ""
        if mechanism in self.hop.mechanisms:
            with contextlib.suppress(ValueError, scramp.ScramException):
                name = await getattr(self, "auth_" + mechanism.lower().replace("-", "_"))(*initial)
        if await self.do("235 2.7.0 welcome" if name else "535 5.7.8 wrong", "AUTH"):
            self.login = name

    async def do_mail(self, line: str) -> None:
        if await self.do("250 2.1.0 ok" if self.mail is None else "503 5.5.1 nested", "MAIL"):
            self.mail = Mail(self.number, line, is_encrypted=self.is_encrypted, login=self.login)

    async def do_rcpt(self, line: str) -> None:
        address = line.partition("<")[2].partition(">")[0]
        usual = "250 2.1.5 ok" if self.mail else "503 5.5.1 MAIL first"
        if await self.do(usual, f"RCPT {address}", "RCPT") and self.mail:
            self.mail.rcpts.append(line)

    async def do_data(self, line: str) -> None:
        is_ready = self.mail is not None and self.mail.rcpts
        if not await self.do("354 go on" if is_ready else "554 5.5.1 no valid recipients", "DATA"):
            return
        mail = self.mail or Mail(self.number, "")
        self.mail = None
        act = self.hop.act("content")
        if act.seconds:
            await asyncio.sleep(act.seconds)
        if act.octets:
            await self.send(act.octets)
        if act.cut:
            raise Hangup
        while not self.buffer.startswith(b".\r\n") and b"\r\n.\r\n" not in self.buffer[-70000:]:
            await self.more()
        end = 0 if self.buffer.startswith(b".\r\n") else self.buffer.index(b"\r\n.\r\n") + 2
        stuffed = bytes(self.buffer[:end])
        del self.buffer[: end + 3]
        mail.content = (b"\r\n" + stuffed).replace(b"\r\n.", b"\r\n")[2:]
        self.hop.mails.append(mail)
        await self.settle(mail)

    async def settle(self, mail: Mail) -> None:
        """Say after the final dot what becomes of the mail."""
        mail.is_accepted = await self.do(f"250 2.0.0 taken as {len(self.hop.mails)}", "end")

    async def do_rset(self, line: str) -> None:
        self.mail = None
        await self.do("250 2.0.0 ok", "RSET")

    async def do_noop(self, line: str) -> None:
        await self.do("250 2.0.0 ok", "NOOP")

    async def do_quit(self, line: str) -> None:
        await self.do("221 2.0.0 bye", "QUIT")
        raise Hangup
