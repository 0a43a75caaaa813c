"""The talk with one client: aiosmtpd's `SMTP`, one method per command (RFC 5321 §4.1, RFC 6409).

Which command is allowed when stands in `state`; who may do what is asked of the policies.  A handler written for
aiosmtpd may be given by those who embed a session.
"""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar

from gatepost.model import reply as replies
from gatepost.model.address import DOMAIN_LIMIT
from gatepost.model.reply import Reply
from gatepost.session.bdat import chunk
from gatepost.session.conversation import BYE, Command, Conversation
from gatepost.session.extensions import EXTENSIONS, Moment
from gatepost.session.hooks import wire
from gatepost.session.login import login
from gatepost.session.offer import shown
from gatepost.session.starttls import start_tls
from gatepost.session.state import State
from gatepost.session.transaction import data, mail, recipient

__all__ = ["SubmissionSession"]


@lru_cache(maxsize=64)
def _ehlo_reply(hostname: str, moment: Moment) -> Reply:
    # RFC 2034 §4: no enhanced codes in this reply.
    return Reply(250, None, (hostname, *filter(None, [each.announce(moment) for each in EXTENSIONS])))


class SubmissionSession(Conversation):
    """One connection of a client that submits mail."""

    async def smtp_EHLO(self, hostname: str) -> None:
        """RFC 5321 §4.1.1.1."""
        if not self._take_name(hostname, "EHLO"):
            return
        self.is_extended = self.session.extended_smtp = True
        reply = _ehlo_reply(
            self.hostname,
            Moment(
                is_tls=self.peer.tls is not None,
                offers_tls=self.service.tls_context is not None,
                mechanisms=shown(self),
                message_bytes=self.message_limit,
                recipients=self._recipient_limit,
                # Whatever a handler of somebody else's takes is out of our hands.
                reports=self.hooks is None or "DATA" not in self.hooks,
            ),
        )
        answer = await self.hooks.ehlo(self, hostname, reply) if self.hooks else None
        if answer is None:
            self.session.host_name = hostname
        self.answer(answer, reply)

    @property
    def _recipient_limit(self) -> int | None:
        limit = self.service.limits.recipients
        own = self.identity.max_recipients if self.identity else None
        # Whoever embeds a session may limit nothing.
        return limit if limit is None or own is None else min(limit, own)

    async def smtp_HELO(self, hostname: str) -> None:
        """RFC 5321 §4.1.1.1."""
        if not self._take_name(hostname, "HELO"):
            return
        self.is_extended = self.session.extended_smtp = False
        answer = await self.hooks.call("HELO", self, hostname) if self.hooks else None
        if answer is None:
            self.session.host_name = hostname
        self.answer(answer, Reply(250, None, (self.hostname,)))

    def _take_name(self, hostname: str, command: str) -> bool:
        # Clients send all kinds of names, and none of them matters to us: anything that can be printed will do.
        # RFC 5321 §4.5.3.1.2: no name is longer than 255.
        if not 1 <= len(hostname) <= DOMAIN_LIMIT or not hostname.isprintable():
            self.refuse(Reply.of(501, "5.5.4", f"Syntax: {command} hostname"), command, "no name")
            return False
        # RFC 5321 §4.1.4: EHLO and HELO reset like RSET.
        self.forget_transaction()
        self.state = State.GREETED
        return True

    async def smtp_NOOP(self, argument: str) -> None:
        """RFC 5321 §4.1.1.9."""
        self.answer(await self.hooks.call("NOOP", self, argument) if self.hooks else None, replies.OK)

    async def smtp_RSET(self, argument: str) -> None:
        """RFC 5321 §4.1.1.5."""
        if argument:
            self.refuse(replies.BAD_SYNTAX, "RSET", "RSET with an argument")
            return
        self.forget_transaction()
        self.answer(await self.hooks.call("RSET", self) if self.hooks else None, replies.OK)

    async def smtp_QUIT(self, argument: str) -> None:
        """RFC 5321 §4.1.1.10."""
        if argument:
            self.refuse(replies.BAD_SYNTAX, "QUIT", "QUIT with an argument")
            return
        self.answer(await self.hooks.call("QUIT", self) if self.hooks else None, replies.BYE)
        self.hang_up(BYE)

    async def smtp_VRFY(self, argument: str) -> None:
        """RFC 5321 §4.1.1.6; §7.3: it tells nobody who exists."""
        if not argument:
            self.refuse(replies.BAD_SYNTAX, "VRFY", "VRFY without an argument")
            return
        self.answer(await self.hooks.call("VRFY", self, argument) if self.hooks else None, replies.VRFY)

    async def smtp_EXPN(self, _argument: str) -> None:
        """RFC 5321 §4.1.1.7: we have no lists."""
        self.refuse(replies.NOT_IMPLEMENTED, "EXPN", "not implemented")

    async def smtp_HELP(self, _argument: str) -> None:
        """RFC 5321 §4.1.1.8."""
        self.reply(replies.HELP)

    async def smtp_STARTTLS(self, argument: str) -> None:
        """RFC 3207 §4."""
        await start_tls(self, argument)

    async def smtp_AUTH(self, argument: str) -> None:
        """RFC 4954 §4."""
        await login(self, argument)

    # RFC 5321 §4.1.1.2, §4.1.1.3, §4.1.1.4; what comes with each message has no frame of its own around it.
    smtp_MAIL: ClassVar[Command] = mail  # noqa: N815 - as aiosmtpd names commands
    smtp_RCPT: ClassVar[Command] = recipient  # noqa: N815
    smtp_DATA: ClassVar[Command] = data  # noqa: N815

    async def smtp_BDAT(self, argument: str) -> None:
        """RFC 3030 §2."""
        await chunk(self, argument)

    async def push(self, status: str | bytes) -> None:
        """Say *status*: for handlers written for aiosmtpd."""
        self.send(wire(status))
        await self._breathe()
