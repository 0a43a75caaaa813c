"""The discard transport: takes mail and throws it away, for tests and for addresses that nobody is to write to.

Nothing of the message is read, and nothing of it is kept; each recipient is told of by an event of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from gatepost.model.delivery import Discarded, Handover, RemoteReply, Result
from gatepost.relay.transport import Delivery

__all__ = ["Discard"]


class Discard:
    """A way that leads nowhere.

    Args:
        name: name of the route it serves.
        takes_sandbox: whether mail that must stay in a sandbox may go here.
    """

    def __init__(self, name: str, *, takes_sandbox: bool = False) -> None:
        self.name = name
        self.takes_sandbox = takes_sandbox

    async def deliver(self, delivery: Delivery) -> Sequence[Result]:
        """Throw the message away; return one result per recipient, which says so."""
        reply = RemoteReply.ours(250, "2.0.0", "discarded, as the configuration says")
        return [Discarded(reply, self.name, Handover.DELIVERED)] * len(delivery.recipients)

    async def close(self) -> None:
        """Do nothing: nothing is open."""
