"""The content of a message that comes in chunks: count the octets, and judge them like those after DATA (RFC 3030).

A `DataReader` that looks for no end and takes no dots away.  What belongs together may be cut by a chunk anywhere, also
between CR and LF.
"""

from __future__ import annotations

from gatepost.model import reply as replies
from gatepost.session.data import ContentLimits, DataReader
from gatepost.spool.spool import Incoming

__all__ = ["ChunkReader", "Chunks"]


class ChunkReader(DataReader):
    """Reads the chunks of one message.

    Args:
        incoming: takes the body.
        limit: largest message, in octets.
        limits: what else bounds it.

    Attributes:
        incoming: where the body went.
    """

    __slots__ = ("_ends_line", "_is_last", "_left", "incoming")

    def __init__(self, incoming: Incoming, limit: int, limits: ContentLimits) -> None:
        super().__init__(incoming.write, limit, limits)
        self.incoming = incoming
        self._left = 0
        self._is_last = False
        self._ends_line = True

    def expect(self, octets: int, *, is_last: bool) -> None:
        """Begin a chunk of so many octets."""
        self._left = octets
        self._is_last = is_last
        # RFC 1870 §6.3: chunks that would be too much together are read all the same, and not kept.
        if self.size + len(self._carry) + octets > self._limit:
            self.fail(replies.MESSAGE_TOO_BIG)

    def feed(self, data: bytes) -> bytes | None:
        """Take what arrived; return what follows the chunk, or None as long as some of it is missing."""
        # RFC 3030 §2: a chunk is as long as it says, whatever is in it.
        rest = data[self._left :]
        if rest:
            data = data[: self._left]
        self._left -= len(data)
        buffer = self._carry + data
        if buffer:
            self._ends_line = buffer.endswith(b"\r\n")
        if self._left or not self._is_last:
            # The LF may stand in the next chunk.
            self._carry = b"\r" if buffer.endswith(b"\r") else b""
            self._take(buffer[:-1] if self._carry else buffer, has_dots=False)
            return None if self._left else rest
        if not self._ends_line:
            # RFC 5321 §4.1.1.4: a message goes on to the next hop as lines, and the last one ends with CRLF as well.
            buffer += b"\r\n"
            self._limit += 2
        self._carry = b""
        self._take(buffer, has_dots=False)
        if self._in_header and self.fault is None:
            self.header = bytes(self._head[2:])
        return rest


class Chunks:
    """What a session holds of a message that comes in chunks.

    Attributes:
        reader: reads them; None where none came.
        have_failed: whether one failed, so that those after it may be on their way.
    """

    __slots__ = ("have_failed", "reader")

    def __init__(self) -> None:
        self.reader: ChunkReader | None = None
        self.have_failed = False

    def forget(self) -> None:
        """Keep nothing of what is not kept yet."""
        self.have_failed = False
        if self.reader is not None:
            self.reader.incoming.abort()
            self.reader = None
