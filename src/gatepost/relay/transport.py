"""The contract of a transport: take one message to one next hop, and say what came of it for each recipient."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from gatepost.model.delivery import Result
from gatepost.model.envelope import Envelope, MessageId, Recipient
from gatepost.model.value import value

__all__ = ["Content", "Delivery", "Transport"]


class Content(Protocol):
    """The octets of a message: header first, CRLF line endings, not dot-stuffed.

    Attributes:
        size_bytes: how many there are.
        inline: all of them, if the message is small and lies in memory anyway; otherwise None.
    """

    size_bytes: int
    inline: bytes | None

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the content from its start; can be called again."""
        ...


def _always() -> bool:
    return True


@value(frozen=True, slots=True)
class Delivery:
    """One message for some of its recipients, all at one next hop.

    Args:
        message_id: its name in the spool.
        envelope: as accepted, with all its recipients.
        recipients: those to deliver to now.
        content: what to send.
        goes_on: tells whether another transaction may begin, where several are needed.
    """

    message_id: MessageId
    envelope: Envelope
    recipients: tuple[Recipient, ...]
    content: Content
    goes_on: Callable[[], bool] = _always


class Transport(Protocol):
    """A way to a next hop."""

    name: str

    async def deliver(self, delivery: Delivery) -> Sequence[Result]:
        """Try once; return one result per recipient, in their order.

        Never raises for trouble with the next hop or the route: that is a `Deferred`.
        """
        ...

    async def close(self) -> None:
        """Let go of kept connections."""
        ...
