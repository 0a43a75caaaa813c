"""The frame of a session: one command after the other, each with one reply, to the goodbye (RFC 5321 §3, §4.2).

What the commands mean stands in `smtp`; here is what they all use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from aiosmtpd.smtp import Envelope as HandlerEnvelope
from aiosmtpd.smtp import Session as HandlerSession

from gatepost.errors import Malformed, Misuse
from gatepost.model import reply as replies
from gatepost.model.envelope import Transaction
from gatepost.model.identity import Identity
from gatepost.model.peer import Peer
from gatepost.model.reply import Reply
from gatepost.model.verdict import Refuse, Verdict
from gatepost.observe.events import CommandRefused, SessionClosed, SessionOpened, SessionRevoked
from gatepost.session.bdat import refuse_chunk
from gatepost.session.chunk import Chunks
from gatepost.session.failures import reply_to, tell_trouble
from gatepost.session.hooks import Hooks
from gatepost.session.moment import wait_until
from gatepost.session.patience import closing_words, longest
from gatepost.session.peer import read_peer
from gatepost.session.service import LEAST_DELAY, Service
from gatepost.session.state import State, refusal
from gatepost.session.wire import LINE_LIMIT, Gone, Wire

__all__ = ["BYE", "Conversation"]

# Why a session ends as it should.
BYE = "quit"

# A client that was silent for so many seconds, outside of a transaction, is idle.
_AT_REST = 1.0
# So many replies are gathered into one write, at most.
_REPLIES_LIMIT = 100
# Commands that wait for nobody, unless a policy does.
_AT_ONCE = frozenset({b"EHLO", b"MAIL", b"RCPT", b"RSET", b"NOOP"})
# Commands with which a client says its name, and the one after which not the next line is a command, but its octets.
_IN_ANY_ENCODING = frozenset({"EHLO", "HELO", "BDAT"})
_SPACE = ord(" ")
_ENDS_OF_LINE = (b"\r\n", b"\n")
# Commands as most clients write them.
_USUAL = {
    name.encode(): name for name in ("EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "QUIT")
}


Command = Callable[[Any, str], Awaitable[None]]


class Conversation(Wire):
    """One connection, from greeting to goodbye.

    Args:
        service: what it shares with the other sessions of its listener.
        handler: a handler written for aiosmtpd; only for those who embed a session.  With a ``handle_DATA`` the
            message is the handler's: it is kept until the handler answered, and not relayed.
        loop: the event loop; the running one by default.

    Raises:
        ValueError: without an authority there must be a handler that takes the messages.
    """

    commands: ClassVar[dict[str, Command]] = {}

    def __init_subclass__(cls) -> None:
        """Make the table of commands, once for a class: the method ``smtp_<NAME>`` answers NAME."""
        super().__init_subclass__()
        cls.commands = {name.removeprefix("smtp_"): getattr(cls, name) for name in dir(cls) if name.startswith("smtp_")}

    def __init__(
        self, service: Service, handler: object | None = None, loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        super().__init__(loop or asyncio.get_running_loop())
        self.service = service
        hooks = Hooks(handler)
        self.hooks = hooks or None
        self.event_handler = handler
        if service.authority is None and "DATA" not in hooks:
            raise ValueError("a session without an authority needs a handler with handle_DATA")
        self.hostname = service.hostname
        self.id = next(service.names)
        self.peer = Peer("", 0, service.listener)
        self.named: tuple[str, int] | None = None  # address and port of the client, as a proxy in front of us said
        self.state = State.CONNECTED
        self.identity: Identity | None = None
        self.mechanism = ""  # by which they proved it
        self.is_outdated = False  # accounts have changed since somebody was last looked up here
        self.transaction: Transaction | None = None
        self.chunks = Chunks()
        self.is_extended = False
        self.auth_failures = 0
        self.messages = 0
        self._nonsense = 0
        self._before_login = 0
        self._refusals = 0
        self.failures = 0
        self._began = self.received_at
        self._end = ""
        self._farewell: Reply | None = None
        self.patience = service.limits.login_patience
        self.set_clock()

    # From greeting to goodbye

    def connection_lost(self, error: Exception | None) -> None:
        """End everything that belongs to the session."""
        super().connection_lost(error)
        # Who said QUIT in one go with the message reads our answers to both, as far as anybody can tell.
        if self.unheard and self._end != BYE and self.service.unheard is not None:
            for fingerprint, message in self.unheard:
                self.service.unheard.note(fingerprint, message)
        if not self.is_keeping:
            self.service.sessions.discard(self)

    async def _handle_client(self) -> None:
        service = self.service
        began = self.loop.time()
        self.look_at_peer()
        service.sessions.add(self)
        service.emit(SessionOpened(session=self.id, listener=service.listener, peer=self.peer.address))
        try:
            await self._converse()
        except Gone as gone:
            self._end = self._end or str(gone)
            if gone.timed_out:
                # RFC 5321 §3.8: 421 before we close.
                reply, self._end = closing_words(self)
                self.reply(reply)
        finally:
            self.chunks.forget()
            if self._farewell is not None:
                self.reply(self._farewell)
            self.take_leave(is_expected=self._end == BYE and not self._buffer)
            if self.transport is None:
                service.sessions.discard(self)
            service.emit(
                SessionClosed(
                    session=self.id,
                    peer=self.peer.address,
                    reason=self._end or "hung up",
                    seconds=round(self.loop.time() - began, 3),
                    messages=self.messages,
                )
            )

    async def _converse(self) -> None:
        if self.service.turns_away:
            self.reply(replies.SHUTTING_DOWN)
            self.hang_up("shutting down")
            return
        # RFC 5321 §4.2, RFC 2034 §4: the greeting has our name and no enhanced code.
        self.send(f"220 {self.hostname} ESMTP gatepost\r\n".encode())
        while not self._end and self.transport is not None:
            if self._is_writing_paused:
                await self._breathe()
            try:
                line = await self._read_line()
            except Malformed as error:
                self.refuse(reply_to(error), "", "")
                self.count_nonsense()
                continue
            if self.identity is None and self._is_idling():
                break
            await self._answer_line(line)
            if self.failures >= self.service.limits.refused_commands and not self._end:
                self.reply(replies.TOO_MANY_REFUSALS)
                self.hang_up("too many refused commands")
            elif len(self._out) >= _REPLIES_LIMIT:
                # Many commands came in one go: their client may not read, and others have work for the loop, too.
                await self._give_way()

    def set_clock(self) -> None:
        """Say when the session ends at the latest, as it stands now."""
        self.closes_at = self._began + longest(self)

    def _answers_at_once(self, data: bytes) -> bool:
        # Most commands wait for nobody.  Woken for each, the task would cost more than their answers.
        service = self.service
        limits = service.limits
        if (
            data[:4].upper() not in _AT_ONCE
            or data.find(b"\n") != len(data) - 1  # a group of commands, or half a line
            or len(data) > LINE_LIMIT
            # an unknown command may end the session, which is the task's to do
            or (data[4] != _SPACE and data[4:] not in _ENDS_OF_LINE)
            or self._discarding
            or self._is_writing_paused
            or self.hooks
            or service.is_draining
            or not service.policies.is_immediate
            or (self.identity is None and self._before_login >= limits.commands_before_login)
            or self.failures + 1 >= limits.refused_commands
        ):
            return False
        if self.identity is None:
            self._before_login += 1
        answering = self._answer_line(data[:-2] if data.endswith(b"\r\n") else data[:-1])
        try:
            answering.send(None)
        except StopIteration:
            self.flush()
            self._answered_at = self.received_at
            self._deadline = self.received_at + self.patience
            return True
        answering.close()
        raise Misuse("a policy waited that is not said to")

    def _is_idling(self) -> bool:
        """Count a command without a login, and hang up after too many: nobody's log or loop is filled by strangers."""
        self._before_login += 1
        if self.service.authority is None or self._before_login <= self.service.limits.commands_before_login:
            return False
        self.reply(replies.TOO_MANY_COMMANDS)
        self.hang_up("too many commands without a login")
        return True

    async def _answer_line(self, line: bytes) -> None:
        """Answer one command."""
        name, _, rest = line.partition(b" ")
        command = _USUAL.get(name) or name.upper().decode("ascii", "replace").rstrip("\t")
        method = self.commands.get(command)
        service = self.service
        no = refusal(
            command,
            self.state,
            needs_tls=service.require_tls and self.peer.tls is None,
            needs_login=service.authority is not None and self.identity is None and method is not None,
        )
        if method is None:
            self.refuse(no or replies.UNKNOWN_COMMAND, "", "")
            self.count_nonsense()
            return
        if no is not None:
            if command == "BDAT":
                await refuse_chunk(self, rest.decode("latin-1").strip(" \t"), no)
            else:
                self.refuse(no, command, str(no))
            return
        trouble: Exception | None = None
        try:
            # RFC 6531 §3.4: arguments are UTF-8, of which ASCII is a part.  Names of machines come in any encoding.
            argument = rest.decode(errors="replace" if command in _IN_ANY_ENCODING else "strict")
            await method(self, argument.strip(" \t"))
        except UnicodeDecodeError:
            self.refuse(Reply.of(501, "5.5.2", "Argument is not UTF-8"), command, "not UTF-8")
        except Malformed as error:
            self.refuse(reply_to(error), command, error.reason)
        except Gone:
            raise
        except Exception as error:  # noqa: BLE001 - one of the three places: a command must not end the server
            trouble = error
        if trouble is not None:
            await tell_trouble(self, command, trouble)

    # What commands use

    def reply(self, reply: Reply) -> None:
        """Say *reply* as it is."""
        self.send(reply.wire)

    def refuse(self, reply: Reply, command: str, reason: str) -> Reply:
        """Say a 4yz or 5yz *reply* with a support id; tell of it if *command* is named; return what was said."""
        self._refusals += 1
        self.failures += reply.code >= 500
        said = reply.with_support_id(f"gp-{self.id}.{self._refusals}")
        self.send(said.wire)
        if command:
            self.service.emit(
                CommandRefused(
                    session=self.id,
                    peer=self.peer.address,
                    login=self.identity.account if self.identity else "",
                    command=command,
                    reply=str(said),
                    reason=reason,
                )
            )
        return said

    def answer(self, answer: bytes | None, reply: Reply) -> bool:
        """Say a handler's *answer*, if there is one, else *reply*; tell whether it was positive."""
        self.send(reply.wire if answer is None else answer)
        return answer is None or answer[:1] in (b"2", b"3")

    def says_no(self, verdict: Verdict, command: str) -> bool:
        """Say the no of a policy, if it is one."""
        if isinstance(verdict, Refuse):
            self.refuse(verdict.reply, command, verdict.reason)
            return True
        return False

    def count_nonsense(self) -> None:
        """Count an unknown command or the like, and hang up after too many."""
        self._nonsense += 1
        if self._nonsense >= self.service.limits.unknown_commands:
            self.reply(replies.TOO_MANY_ERRORS)
            self.hang_up("too many unknown commands")

    def hang_up(self, reason: str) -> None:
        """End the session once what was said is written."""
        self._end = self._end or reason

    @property
    def is_leaving(self) -> bool:
        """Whether it ends as soon as what was said is written."""
        return bool(self._end)

    def dismiss(self) -> None:
        """Say that the server stops, and hang up, unless a transaction or its client is on its way."""
        is_at_rest = self.state <= State.GREETED and self.loop.time() - self.received_at >= _AT_REST
        if is_at_rest and not self._end:
            self.reply(replies.SHUTTING_DOWN)
            self.hang_up("shutting down")
            self.take_leave()

    def revoke(self, reason: str) -> None:
        """End the session at once, because its login does not count any more.

        A message that comes in is cut off.  One that is being kept was complete before: its client hears of it first.
        """
        identity = self.identity
        if self._end or identity is None:
            return
        self._refusals += 1
        said = replies.LOGIN_REVOKED.with_support_id(f"gp-{self.id}.{self._refusals}")
        self.service.emit(
            SessionRevoked(
                session=self.id,
                listener=self.peer.listener,
                peer=self.peer.address,
                login=identity.account,
                credential=identity.credential,
                label=identity.label,
                reason=reason,
                reply=str(said),
            )
        )
        self.cut_off(said, reason)

    def cut_off(self, reply: Reply, reason: str) -> None:
        """Say *reply* and hang up, in the middle of whatever it may be but for the keeping of a message."""
        task = self._handler_coroutine
        if self._end or task is None:
            return
        self._farewell = reply
        self.hang_up(reason)
        if not self.is_keeping:
            task.cancel()

    async def read_response(self) -> bytes:
        """Write what was said and return the client's next line, in an exchange of AUTH."""
        return await self._read_line(in_exchange=True)

    async def wait_for_moment_of_no(self) -> None:
        """Wait until the moment at which a failed login is answered, counted from the client's last line."""
        self.flush()
        delay = self.service.limits.failure_delay * (self.auth_failures + 1)
        await wait_until(self.received_at + max(LEAST_DELAY, delay))

    @property
    def message_limit(self) -> int:
        """Largest message that is taken now, in octets."""
        limit = self.service.limits.message_bytes
        own = self.identity.max_message_bytes if self.identity else None
        return limit if own is None else min(limit, own)

    def look_at_peer(self) -> None:
        """Read the facts about the connection from its transport, at the start and after a handshake."""
        if self.transport is None:
            return
        self.peer, self.session.peer = read_peer(self.transport, self.service.listener, self.named)
        tls = self.peer.tls
        self.session.ssl = {"cipher": tls.cipher} if tls else None

    def forget_transaction(self) -> None:
        """Go back to before MAIL."""
        self.transaction = None
        self.set_clock()
        self.chunks.forget()
        if self.hooks:
            self.envelope = HandlerEnvelope()
        self.state = min(self.state, State.GREETED)

    def forget_everything(self) -> None:
        """Go back to before EHLO (RFC 3207 §4.2)."""
        self.forget_transaction()
        self.state = State.CONNECTED
        self.is_extended = False
        self.session = HandlerSession(self.loop)
        self.look_at_peer()
