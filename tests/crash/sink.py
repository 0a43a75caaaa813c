"""A next hop that goes up and down, and notes each message it took: ``time mark id recipient``, a line for each.

Usage: sink.py PORT.  SIGUSR1 takes it down, with all its connections, and is noted as ``time``; SIGUSR2 brings it up
again.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time

_ID = re.compile(rb"\sid ([^\s;]+)")


class Connection(asyncio.Protocol):
    """One client; knows just enough of SMTP."""

    def __init__(self, open_ones: set[Connection]) -> None:
        self.buffer = bytearray()
        self.in_data = False
        self.recipients: list[bytes] = []
        self.open_ones = open_ones
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.open_ones.add(self)
        transport.write(b"220 sink\r\n")

    def connection_lost(self, error: Exception | None) -> None:
        self.open_ones.discard(self)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while True:
            if self.in_data:
                end = self.buffer.find(b"\r\n.\r\n")
                if end < 0:
                    return
                content = bytes(self.buffer[: end + 2])
                del self.buffer[: end + 5]
                self.in_data = False
                mark = content.split(b"X-Mark: ", 1)[1].split(b"\r\n", 1)[0]
                assert content.endswith(b"end of " + mark + b"\r\n"), "a message arrived that is not whole"
                found = _ID.search(content)
                assert found is not None, "a message arrived without our Received field"
                # Before the reply: what we said yes to is noted, whatever becomes of us.
                for recipient in self.recipients:
                    os.write(1, b"%f %s %s %s\n" % (time.time(), mark, found[1], recipient))
                self.transport.write(b"250 2.0.0 ok\r\n")
                continue
            end = self.buffer.find(b"\n")
            if end < 0:
                return
            line = bytes(self.buffer[:end]).upper()
            del self.buffer[: end + 1]
            if line.startswith(b"EHLO"):
                self.transport.write(b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 0\r\n")
            elif line.startswith(b"MAIL"):
                self.recipients = []
                self.transport.write(b"250 2.0.0 ok\r\n")
            elif line.startswith(b"RCPT"):
                self.recipients.append(line[line.index(b"<") + 1 : line.index(b">")].lower())
                self.transport.write(b"250 2.0.0 ok\r\n")
            elif line.startswith(b"DATA"):
                self.in_data = True
                self.transport.write(b"354 go on\r\n")
            elif line.startswith(b"QUIT"):
                self.transport.write(b"221 bye\r\n")
                self.transport.close()
                return
            else:
                self.transport.write(b"250 2.0.0 ok\r\n")


async def main() -> None:
    """Serve until somebody ends us."""
    loop = asyncio.get_running_loop()
    orders: asyncio.Queue[bool] = asyncio.Queue()
    loop.add_signal_handler(signal.SIGUSR1, orders.put_nowait, False)
    loop.add_signal_handler(signal.SIGUSR2, orders.put_nowait, True)
    orders.put_nowait(True)
    open_ones: set[Connection] = set()
    server: asyncio.Server | None = None
    while True:
        is_up = await orders.get()
        if is_up and server is None:
            server = await loop.create_server(lambda: Connection(open_ones), "127.0.0.1", int(sys.argv[1]))
        elif not is_up and server is not None:
            server.close()
            server = None
            os.write(1, b"%f\n" % time.time())
            for each in list(open_ones):
                each.transport.abort()


if __name__ == "__main__":
    asyncio.run(main())
