"""Changes of one message, one after the other, in any order: each sees what the one before has left."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from gatepost.model.envelope import MessageId

__all__ = ["Turns"]


class Turns:
    """Knows which messages are being changed, and who waits for that."""

    def __init__(self) -> None:
        self._busy: dict[MessageId, asyncio.Future[None] | None] = {}

    def is_busy(self, message_id: MessageId) -> bool:
        """Tell whether somebody changes the message."""
        return message_id in self._busy

    async def wait(self, message_id: MessageId) -> None:
        """Return when nobody changes the message; take the turn before anything else happens in the loop."""
        while message_id in self._busy:
            over = self._busy[message_id]
            if over is None:
                over = self._busy[message_id] = asyncio.get_running_loop().create_future()
            # It is there for all who wait: one who goes away must not end it.
            await asyncio.shield(over)

    def take(self, message_id: MessageId) -> None:
        """Begin to change a message."""
        self._busy[message_id] = None

    def give(self, names: Iterable[MessageId]) -> None:
        """Say that messages were changed, or were not: harmless for those that nobody began to change."""
        for name in names:
            over = self._busy.pop(name, None)
            if over is not None:
                over.set_result(None)
