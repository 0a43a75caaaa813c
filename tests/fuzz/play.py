"""Plays one dialog against a server, and judges every answer to it."""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import dataclass, field

from fuzz.dialogs import Dialog, pieces
from fuzz.reference import Reference, differences
from fuzz.replies import Broken
from fuzz.wires import MemoryWire, SocketWire, Wire
from gatepost.testing import RunningServer
from servers import Authority

__all__ = ["Outcome", "Player"]


@dataclass
class Outcome:
    """How a dialog went: the codes it got, and what was kept of it."""

    codes: list[int] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)


class Player:
    """Plays dialogs.

    Args:
        server: it runs in this loop.
        authority: who made its certificate.

    Attributes:
        patience: how long to wait for what must come, in seconds.
        plays: how many there were.
    """

    def __init__(self, server: RunningServer, authority: Authority) -> None:
        self._server = server
        self._context = authority.client_context()
        self._facts = _tls_facts(authority)
        self._has_chunking = False
        self.patience = 60.0
        self.plays = 0

    async def look_around(self) -> None:
        """Learn what the server can do."""
        wire = await SocketWire(self._context).connect(self._server.ports["submissions"], is_encrypted=True)
        try:
            await wire.reply(self.patience)
            await wire.send(b"EHLO x\r\n")
            reply = await wire.reply(self.patience)
            self._has_chunking = reply is not None and b"CHUNKING" in reply.lines
        finally:
            await wire.hang_up()

    async def play(self, made: Dialog) -> Outcome:
        """Say a dialog.  Raises `Broken`."""
        self.plays += 1
        wire = await self._wire(made)
        reference = Reference(has_chunking=self._has_chunking, is_encrypted=made.is_encrypted)
        outcome = Outcome()
        try:
            await self._settle(wire, reference, outcome)
            for line in made.before:
                await _say(wire, reference, line)
                await self._settle(wire, reference, outcome)
            if made.before and outcome.codes[-1] >= 400:
                raise Broken(f"no way into the state: {outcome.codes}")
            for piece in pieces(made.hostile, made.cuts):
                await _say(wire, reference, piece)
            await self._settle(wire, reference, outcome)
            if reference.wants_tls:
                await self._go_on_in_tls(made, wire, reference, outcome)
            await self._part(wire, reference, outcome)
        finally:
            await wire.hang_up()
        for kept in reference.kept:
            difference = differences(kept, await self._arrived(kept.id))
            if difference:
                raise Broken(f"the message is kept otherwise than it was sent: {difference}")
            outcome.contents.append(kept.content)
        return outcome

    async def _wire(self, made: Dialog) -> Wire:
        name = "submissions" if made.is_encrypted else "submission"
        if made.by_socket:
            wire = SocketWire(self._context)
            return await wire.connect(self._server.ports[name], is_encrypted=made.is_encrypted)
        listener = next(each for each in self._server.worker.listeners if each.service.listener == name)
        return MemoryWire(listener.service, self._facts if made.is_encrypted else None)

    async def _settle(self, wire: Wire, reference: Reference, outcome: Outcome) -> None:
        """Hear all that is due for what was said."""
        while reference.is_reply_due():
            reply = await wire.reply(self.patience)
            if reply is not None:
                outcome.codes.append(reply.code)
                reference.took(reply)
            else:
                raise Broken("a reset in place of a reply" if wire.was_reset else "it hung up without a word")
        if reference.is_over:
            await wire.end(self.patience)
            if not wire.replies.is_between:
                raise Broken(f"a reply after the last one: {wire.replies.rest!r}")

    async def _go_on_in_tls(self, made: Dialog, wire: Wire, reference: Reference, outcome: Outcome) -> None:
        if reference.has_rest or not made.by_socket:
            # What followed in clear was taken for a handshake, or refused with 421: either way it is not answered.
            outcome.codes[-1] = 421
            if wire.replies.rest[:1] not in (b"", b"\x15", b"\x16"):
                raise Broken(f"said in clear after STARTTLS: {wire.replies.rest!r}")
            return
        await wire.start_tls()
        reference.in_tls()
        await _say(wire, reference, made.inside)
        await self._settle(wire, reference, outcome)

    async def _part(self, wire: Wire, reference: Reference, outcome: Outcome) -> None:
        """End what was begun, and say goodbye: a reply too many or too few shows here at last."""
        while not (reference.is_over or reference.wants_tls):
            needs = reference.needs
            if needs is None:
                return
            await _say(wire, reference, needs or b"QUIT\r\n")
            await self._settle(wire, reference, outcome)
            if not needs and not reference.is_over:
                raise Broken("no goodbye")

    async def _arrived(self, message_id: str) -> bytes:
        """Return what the sandbox got of a message."""
        path = self._server.sandbox / f"{message_id}.eml"
        deadline = time.monotonic() + self.patience
        while not path.exists():
            if time.monotonic() > deadline:
                raise Broken(f"{message_id} got its 250 and does not arrive")
            await asyncio.sleep(0.002)
        return path.read_bytes()


async def _say(wire: Wire, reference: Reference, octets: bytes) -> None:
    reference.sent(octets)
    await wire.send(octets)


def _tls_facts(authority: Authority) -> ssl.SSLObject:
    """Return the server's end of a TLS connection that was made in memory."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)
    one, other = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(one, other, server_side=True)
    client = authority.client_context().wrap_bio(other, one, server_hostname="localhost")
    for end in (client, server, client, server):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return server
