"""A next hop in a thread of its own, for tests that block; and the marks of the messages it took."""

from __future__ import annotations

import asyncio
import re
import threading
from collections import Counter
from typing import Self

from next_hop import Act, FakeNextHop, say

__all__ = ["ThreadedNextHop"]

LATER = say("451 4.2.0 later")
_MARK = re.compile(rb"^X-Mark: (\S+)\r\n", re.MULTILINE)


class ThreadedNextHop:
    """A `FakeNextHop` that lives while the block does."""

    def __init__(self) -> None:
        self.hop = FakeNextHop()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="next hop", daemon=True)

    @property
    def port(self) -> int:
        """The TCP port."""
        return self.hop.port

    @property
    def marks(self) -> Counter[str]:
        """How often each message was taken."""
        found = [_MARK.search(mail.content) for mail in list(self.hop.accepted)]
        return Counter(match[1].decode() for match in found if match)

    def defer(self, act: Act = LATER) -> None:
        """Take no mail for now."""
        self.hop.on("MAIL", act)

    def take(self) -> None:
        """Take mail again."""
        self.hop.usual()

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.hop.start(), self._loop).result(60)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.hop.close(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
