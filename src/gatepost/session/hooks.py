"""The hooks of a handler written for aiosmtpd, when somebody embeds a session with one (``handle_RCPT`` and so on).

Never reached from the configuration.  A handler sees aiosmtpd's own `Session` and `Envelope`, answers with reply text,
and its answer replaces ours.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from gatepost.errors import Misuse
from gatepost.model.envelope import Receipt
from gatepost.model.reply import Reply
from gatepost.spool.spool import Settlement, Status

if TYPE_CHECKING:
    from gatepost.session.conversation import Conversation

__all__ = ["Hooks"]

_PREFIX: Final = "handle_"


class Hooks:
    """The ``handle_…`` methods of a handler.

    Args:
        handler: the handler object, or None.
    """

    def __init__(self, handler: object | None) -> None:
        self._hooks: dict[str, Callable[..., Awaitable[Any]]] = (
            {}
            if handler is None
            else {
                name.removeprefix(_PREFIX): getattr(handler, name)
                for name in dir(type(handler))
                if name.startswith(_PREFIX)
            }
        )

    def __bool__(self) -> bool:
        return bool(self._hooks)

    def __contains__(self, name: str) -> bool:
        return name in self._hooks

    async def call(self, name: str, session: Conversation, *arguments: object) -> bytes | None:
        """Call ``handle_<name>``; return its reply as it goes on the wire, or None if there is no such hook."""
        hook = self._hooks.get(name)
        if hook is None:
            return None
        return wire(await hook(session, session.session, session.envelope, *arguments))

    async def ehlo(self, session: Conversation, hostname: str, reply: Reply) -> bytes | None:
        """Let ``handle_EHLO`` change the lines of the reply, or None if there is no such hook."""
        hook = self._hooks.get("EHLO")
        if hook is None:
            return None
        lines = bytes(reply).decode().splitlines()
        return b"".join(wire(line) for line in await hook(session, session.session, session.envelope, hostname, lines))

    async def take(self, session: Conversation, receipt: Receipt) -> None:
        """Give a kept message to ``handle_DATA``, say its answer, and let go of the message."""
        spool = session.service.spool
        entry = spool.entry(receipt.id)
        if entry is None:
            raise Misuse("a message vanished from the spool before its handler saw it")
        try:
            async with spool.content(entry) as content:
                octets = b"".join([chunk async for chunk in content.chunks()])
            session.envelope.content = session.envelope.original_content = octets
            answer = await self.call("DATA", session)
        finally:
            settled = tuple(replace(each, status=Status.DELIVERED) for each in entry.progress)
            await spool.settle(receipt.id, Settlement(settled, due=entry.due))
        session.send(answer if answer is not None else b"")

    async def exception(self, error: Exception) -> bytes | None:
        """Let ``handle_exception`` find the reply to *error*, or None if there is no such hook."""
        hook = self._hooks.get("exception")
        return None if hook is None else wire(await hook(error))


def wire(status: str | bytes) -> bytes:
    """Turn a handler's reply into octets."""
    return (status.encode() if isinstance(status, str) else bytes(status)).rstrip(b"\r\n") + b"\r\n"
