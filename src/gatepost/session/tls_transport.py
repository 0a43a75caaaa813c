"""TLS between a socket's transport and a session: OpenSSL on two memory buffers (RFC 8446).

In place of the event loop's own layer, because its buffers grow with what passes and never shrink, and because what
waits to be said is said together here: the session ticket with the first reply, the closing alert with the last one.
The same on asyncio and uvloop.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any, Final, cast

__all__ = ["TlsTransport"]

# RFC 8446 §5.1: the most that one record carries.
_RECORD: Final = 16_384
# RFC 8446 §5.1, §5.2: what stands before each record, and how long one can be with that.
_HEADER: Final = 5
_APPLICATION_DATA: Final = b"\x17\x03\x03"
_SLICE: Final = _HEADER + _RECORD + 256


class TlsTransport:
    """The server's side of TLS: a protocol to the transport below, a transport to the protocol above.

    It is both in all but name (`as_protocol`, `as_transport`): what inherits from asyncio's classes cannot be compiled.
    Nothing of the protocol above is called before the handshake has come to its end.

    Args:
        context: of the listener.
        protocol: who gets what comes, and hears of the end.
        patience: how long the handshake may take, in seconds.
        done: called once: with None when there is TLS, before the first octet that came in it; or with the reason why
            there is none, and then nobody hears of anything more.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        protocol: asyncio.Protocol,
        patience: float,
        done: Callable[[OSError | None], None],
    ) -> None:
        self._protocol = protocol
        self._patience = patience
        self._done: Callable[[OSError | None], None] | None = done
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._below: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_up = False
        self._is_in_record = True  # as far as we know: part of one came, and is in OpenSSL's own buffer
        self._missing = 0  # octets of a record that OpenSSL is not asked for yet, because only its begin came
        self._is_closing = False

    @property
    def as_protocol(self) -> asyncio.Protocol:
        """This, for whoever wants a protocol."""
        return cast("asyncio.Protocol", self)

    @property
    def as_transport(self) -> asyncio.Transport:
        """This, for whoever wants a transport."""
        return cast("asyncio.Transport", self)

    # What the transport below tells us

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the client's part of the handshake."""
        self._below = cast("asyncio.Transport", transport)
        self._timer = asyncio.get_running_loop().call_later(self._patience, self._time_out)

    def data_received(self, data: bytes) -> None:
        """Take what came over the network, and hand on at once all that it held."""
        pieces: list[bytes] = []
        end: Callable[[], object] | None = None
        if len(data) <= _SLICE:
            end = self._decrypt(data, pieces)
            if end is None and len(pieces) == 1:
                self._protocol.data_received(pieces[0])
                return
        else:
            # OpenSSL's buffers stay as large as what they once held: it is given a record at a time.
            view = memoryview(data)
            start = 0
            while start < len(data) and end is None:
                stop = start + (self._missing or _SLICE)
                end = self._decrypt(view[start:stop], pieces)
                start = stop
        if pieces:
            self._protocol.data_received(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if end is not None:
            end()

    def _decrypt(self, data: bytes | memoryview, pieces: list[bytes]) -> Callable[[], object] | None:
        """Append what *data* holds; return what is to be done after that, if it was the last that can come."""
        if self._is_closing:
            return None
        incoming = self._incoming
        incoming.write(data)
        if not self._is_up and not self._shake_hands():
            return None
        if self._missing > len(data):
            self._missing -= len(data)
            return None
        self._missing = 0
        while waiting := incoming.pending:
            if not self._is_in_record and _HEADER <= waiting <= len(data):
                # RFC 8446 §5.2: the length of a record stands before it.  To be told that it wants more takes longer.
                begin = len(data) - waiting
                missing = _HEADER + (data[begin + 3] << 8 | data[begin + 4]) - waiting
                if 0 < missing <= _SLICE and data[begin : begin + 3] == _APPLICATION_DATA:
                    self._missing = missing
                    return None
            try:
                # What a record holds is shorter than it is: no more room is asked for, unless its begin came before.
                octets = self._tls.read(_RECORD if self._is_in_record else waiting)
            except ssl.SSLWantReadError:
                self._is_in_record = True
                return None
            except ssl.SSLError:
                return self._break_off
            if not octets:
                return self._end_of_input
            self._is_in_record = False
            pieces.append(octets)
        return None

    def _break_off(self) -> None:
        """Tell the client of a fatal error, and send nothing more (RFC 8446 §6.2)."""
        self._flush()
        self.abort()

    def _shake_hands(self) -> bool:
        """Go on with the handshake; tell whether it is over and well."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except OSError as error:
            self._give_up(error)
            return False
        # All that OpenSSL has to say now in TLS 1.3 is a ticket, which can go with the first reply.
        if self._tls.version() != "TLSv1.3":
            self._flush()
        self._is_up = True
        self._tell(None)
        return not self._is_closing

    def _time_out(self) -> None:
        self._give_up(TimeoutError(f"no handshake within {self._patience:g} s"))

    def _give_up(self, reason: OSError) -> None:
        self._is_closing = True
        self._flush()  # RFC 8446 §6.2: the alert that says why
        if self._below is not None:
            self._below.close()
        self._tell(reason)

    def _tell(self, reason: OSError | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        done, self._done = self._done, None
        if done is not None:
            done(reason)

    def eof_received(self) -> bool:
        """Note that nothing more comes; without a closing alert (RFC 8446 §6.1) it may have been cut off."""
        if not self._is_up and not self._is_closing:
            self._give_up(ConnectionResetError("the client hung up in the handshake"))
        return self._end_of_input()

    def _end_of_input(self) -> bool:
        if self._is_closing:
            return False
        goes_on = bool(self._protocol.eof_received())
        if not goes_on:
            self.close()
        return goes_on

    def connection_lost(self, error: Exception | None) -> None:
        """Pass the end on."""
        self._is_closing = True
        self._below = None
        if self._is_up:
            self._protocol.connection_lost(error)
        else:
            self._tell(ConnectionResetError(str(error or "the client hung up in the handshake")))

    def pause_writing(self) -> None:
        """Pass it on: the client does not read."""
        if self._is_up:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        if self._is_up:
            self._protocol.resume_writing()

    # What the protocol above asks for

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Send *data*; there is nothing to send it in before the handshake is over, and after `close`."""
        if self._is_closing or not self._is_up:
            return
        if len(data) <= _RECORD:
            self._tls.write(data)
            if self._below is not None:
                self._below.write(self._outgoing.read())
            return
        view = memoryview(data)
        for start in range(0, len(data), _RECORD):
            self._tls.write(view[start : start + _RECORD])
            self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending and self._below is not None:
            self._below.write(self._outgoing.read())

    def close(self) -> None:
        """Send what was written and the closing alert (RFC 8446 §6.1), then hang up; nothing more is received."""
        if self._say_goodbye() and self._below is not None:
            self._below.close()

    def can_write_eof(self) -> bool:
        """Tell that `write_eof` works."""
        return True

    def write_eof(self) -> None:
        """Do as `close` does, but leave it to the client to hang up; what still comes is not looked at."""
        if self._say_goodbye() and self._below is not None:
            self._below.write_eof()

    def _say_goodbye(self) -> bool:
        """Send the closing alert; tell whether it was not sent before."""
        if self._is_closing:
            return False
        self._is_closing = True
        if self._is_up:
            with contextlib.suppress(ssl.SSLError):  # it would wait for the client's own alert
                self._tls.unwrap()
        self._flush()
        return True

    def abort(self) -> None:
        """Hang up at once."""
        self._is_closing = True
        if self._below is not None:
            self._below.abort()

    def is_closing(self) -> bool:
        """Tell whether it is closed, or about to be."""
        return self._is_closing

    def pause_reading(self) -> None:
        """Receive nothing more for a while."""
        if self._below is not None:
            self._below.pause_reading()

    def resume_reading(self) -> None:
        """Receive again."""
        if self._below is not None:
            self._below.resume_reading()

    def get_write_buffer_size(self) -> int:
        """Return how many octets wait to be sent."""
        return 0 if self._below is None else self._below.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Say when the protocol is told to pause."""
        if self._below is not None:
            self._below.set_write_buffer_limits(high, low)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol above."""
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Let another protocol take the place above."""
        self._protocol = cast("asyncio.Protocol", protocol)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return a fact of the connection: `ssl_object`, or what the transport below knows."""
        if name == "ssl_object":
            return self._tls
        return default if self._below is None else self._below.get_extra_info(name, default)
