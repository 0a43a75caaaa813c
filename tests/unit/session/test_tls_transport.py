"""The TLS layer between a transport that only notes what it is told and a real OpenSSL client."""

from __future__ import annotations

import asyncio
import ssl
from itertools import cycle
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost.listener.tls import read_pair, server_context
from gatepost.session.tls_transport import TlsTransport
from servers import Authority


class Below(asyncio.Transport):
    """A network that notes everything."""

    def __init__(self) -> None:
        super().__init__()
        self.said = bytearray()
        self.writes = 0
        self.calls: list[str] = []
        self.is_paused = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.said += data
        self.writes += 1

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def get_write_buffer_size(self) -> int:
        return 7

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.calls.append(f"limits {high} {low}")

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 9) if name == "peername" else default


class Above(asyncio.Protocol):
    """A session that notes everything."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.pieces: list[int] = []
        self.calls: list[str] = []
        self.goes_on = False
        self.on_data = lambda: None

    def data_received(self, data: bytes) -> None:
        self.heard += data
        self.pieces.append(len(data))
        self.on_data()

    def eof_received(self) -> bool:
        self.calls.append("eof")
        return self.goes_on

    def connection_lost(self, error: Exception | None) -> None:
        self.calls.append("lost")

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")


class Line:
    """A server's layer, and a client at the other end."""

    def __init__(self, authority: Authority, version: ssl.TLSVersion, patience: float = 30.0) -> None:
        client = authority.client_context()
        client.minimum_version = client.maximum_version = version
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = client.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.below, self.above = Below(), Above()
        self.done: list[OSError | None] = []
        context = server_context([read_pair(authority.certificate, authority.key)])
        self.tls = TlsTransport(context, self.above, patience, self.done.append)
        self.tls.connection_made(self.below)

    def carry(self) -> None:
        """Let pass what both have to say."""
        self.incoming.write(bytes(self.below.said))
        self.below.said.clear()
        self.tls.data_received(self.outgoing.read())

    def shake_hands(self) -> None:
        for _ in range(4):
            try:
                self.client.do_handshake()
            except ssl.SSLWantReadError:
                self.carry()
        self.carry()
        assert self.done == [None]

    def say(self, data: bytes) -> None:
        self.client.write(data)
        self.tls.data_received(self.outgoing.read())

    def hear(self) -> bytes:
        self.incoming.write(bytes(self.below.said))
        self.below.said.clear()
        heard = b""
        while True:
            try:
                octets = self.client.read(65_536)
            except ssl.SSLWantReadError:
                return heard
            except ssl.SSLZeroReturnError:
                octets = b""
            if not octets:
                return heard + b"<closed>"
            heard += octets


VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


@pytest.fixture
async def line(authority: Authority) -> Line:
    """Return one with TLS 1.3 established."""
    line = Line(authority, ssl.TLSVersion.TLSv1_3)
    line.shake_hands()
    return line


@VERSIONS
async def test_what_is_said_arrives_both_ways(authority: Authority, version: ssl.TLSVersion):
    line = Line(authority, version)
    line.shake_hands()
    line.say(b"EHLO x\r\n")
    line.tls.write(b"250 y\r\n")
    assert (bytes(line.above.heard), line.hear()) == (b"EHLO x\r\n", b"250 y\r\n")
    assert line.tls.get_extra_info("ssl_object").version() == line.client.version()
    assert line.tls.get_extra_info("peername") == ("192.0.2.1", 9)
    assert line.tls.get_extra_info("nothing", 3) == 3


@VERSIONS
async def test_what_comes_with_the_end_of_the_handshake_comes_after_it(authority: Authority, version: ssl.TLSVersion):
    line = Line(authority, version)
    seen: list[list[OSError | None]] = []
    line.above.on_data = lambda: seen.append(list(line.done))
    while not line.done:
        try:
            line.client.do_handshake()
            line.client.write(b"EHLO x\r\n")
        except ssl.SSLWantReadError:
            pass
        line.carry()
    line.carry()
    if version == ssl.TLSVersion.TLSv1_2:
        line.client.do_handshake()
        line.say(b"EHLO x\r\n")
    assert bytes(line.above.heard) == b"EHLO x\r\n"
    assert seen == [[None]]


async def test_the_ticket_waits_for_the_first_reply(authority: Authority):
    line = Line(authority, ssl.TLSVersion.TLSv1_3)
    line.shake_hands()
    assert (line.below.writes, line.client.session.has_ticket) == (1, False)
    line.tls.write(b"220 x\r\n")
    assert line.below.writes == 2
    assert line.hear() == b"220 x\r\n"
    assert line.client.session.has_ticket


@pytest.mark.parametrize("size", [1, 16_384, 16_385, 1_000_000])
async def test_much_is_carried_in_slices_and_handed_on_at_once(line: Line, size: int):
    data = bytes(range(256)) * (size // 256 + 1)
    line.say(data[:size])
    assert bytes(line.above.heard) == data[:size]
    assert len(line.above.pieces) == 1
    line.tls.write(data[:size])
    assert line.hear() == data[:size]


@pytest.mark.rfc("8446 §5.1")
@pytest.mark.parametrize("size", [20_000, 65_536, 262_144])
async def test_openssl_is_not_asked_for_records_that_have_not_come(line: Line, size: int):
    """To be told that it wants more would take longer than to open a record."""
    data, tls = bytes(16_384) * 64, line.tls._tls
    asked: list[int] = []

    def read(octets: int) -> bytes:
        asked.append(octets)
        return tls.read(octets)

    line.tls._tls = SimpleNamespace(read=read)  # type: ignore[assignment]
    line.client.write(data)
    octets = line.outgoing.read()
    for start in range(0, len(octets), size):
        line.tls.data_received(octets[start : start + size])
    assert bytes(line.above.heard) == data
    assert len(asked) <= 65  # now and then less than a header is left over
    assert max(asked) <= 16_384 + 261


async def test_a_record_may_come_octet_by_octet(line: Line):
    line.client.write(b"NOOP\r\n")
    for octet in line.outgoing.read():
        line.tls.data_received(bytes([octet]))
    assert bytes(line.above.heard) == b"NOOP\r\n"


async def test_pausing_is_left_to_the_transport_below(line: Line):
    line.tls.pause_reading()
    assert line.below.is_paused
    line.tls.resume_reading()
    assert not line.below.is_paused


async def test_nothing_is_handed_on_after_close(line: Line):
    line.above.on_data = line.tls.close
    line.say(b"QUIT\r\n")
    line.say(b"more")
    assert line.above.pieces == [6]
    assert line.below.calls == ["close"]
    line.tls.write(b"too late")
    line.tls.close()
    assert line.hear() == b"<closed>"
    assert line.tls.is_closing()
    line.tls.connection_lost(None)
    assert line.above.calls == ["lost"]


async def test_the_closing_alert_goes_with_the_last_reply(line: Line):
    line.tls.write(b"221 bye\r\n")
    line.tls.close()
    assert line.hear() == b"221 bye\r\n<closed>"
    assert line.above.calls == []


@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize("is_clean", [False, True])
async def test_the_end_of_input_is_told_of_and_what_came_can_still_be_answered(
    line: Line, goes_on: bool, is_clean: bool
):
    line.above.goes_on = goes_on
    line.client.write(b"QUIT\r\n")
    if is_clean:
        with pytest.raises(ssl.SSLWantReadError):
            line.client.unwrap()
        line.tls.data_received(line.outgoing.read())
    else:
        line.tls.data_received(line.outgoing.read())
        assert line.tls.eof_received() is goes_on
    assert (bytes(line.above.heard), line.above.calls) == (b"QUIT\r\n", ["eof"])
    assert line.below.calls == ([] if goes_on else ["close"])
    line.tls.write(b"221 bye\r\n")
    assert (b"221" in line.hear()) is goes_on
    line.tls.close()
    assert line.below.calls == ["close"]
    assert line.tls.eof_received() is False


async def test_a_broken_record_ends_the_connection_with_an_alert(line: Line):
    line.client.write(b"NOOP\r\n")
    line.tls.data_received(line.outgoing.read() + b"\x17\x03\x03\x00\x20" + bytes(32))
    assert line.below.calls == ["abort"]
    assert line.below.said
    line.tls.write(b"more")
    line.tls.data_received(b"more")
    line.tls.connection_lost(None)
    assert line.above.calls == ["lost"]
    assert bytes(line.above.heard) == b"NOOP\r\n"


@pytest.mark.parametrize(
    "what", [b"EHLO not tls\r\n" * 10, b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00", b"GET / HTTP/1.0\r\n\r\n"]
)
async def test_what_is_no_handshake_is_refused_and_nobody_hears_of_it_twice(authority: Authority, what: bytes):
    line = Line(authority, ssl.TLSVersion.TLSv1_3)
    line.tls.data_received(what)
    assert isinstance(line.done[0], ssl.SSLError)
    assert line.below.calls == ["close"]
    line.tls.data_received(what)
    line.tls.eof_received()
    line.tls.connection_lost(None)
    assert len(line.done) == 1
    assert line.above.calls == []


async def test_an_old_version_hears_why(authority: Authority):
    context = server_context([read_pair(authority.certificate, authority.key)], minimum_version="TLSv1.3")
    line = Line(authority, ssl.TLSVersion.TLSv1_2)
    line.tls = TlsTransport(context, line.above, 30, line.done.append)
    line.tls.connection_made(line.below)
    with pytest.raises(ssl.SSLWantReadError):
        line.client.do_handshake()
    line.carry()
    assert isinstance(line.done[0], ssl.SSLError)
    line.incoming.write(bytes(line.below.said))
    # RFC 8446 §4.2.1: protocol_version
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        line.client.do_handshake()


async def test_nothing_is_said_in_clear_before_the_handshake_is_over(authority: Authority):
    line = Line(authority, ssl.TLSVersion.TLSv1_3)
    line.tls.write(b"421 in clear")
    line.tls.pause_writing()
    line.tls.resume_writing()
    line.tls.close()
    assert not line.below.said
    assert line.below.calls == ["close"]
    line.tls.connection_lost(None)
    assert isinstance(line.done[0], ConnectionResetError)
    assert line.above.calls == []


@pytest.mark.parametrize("how", ["eof", "lost", "abort"])
async def test_a_client_that_leaves_in_the_handshake_is_told_of_once(authority: Authority, how: str):
    line = Line(authority, ssl.TLSVersion.TLSv1_3)
    with pytest.raises(ssl.SSLWantReadError):
        line.client.do_handshake()
    line.tls.data_received(line.outgoing.read())
    if how == "eof":
        assert line.tls.eof_received() is False
    elif how == "abort":
        line.tls.abort()
        assert line.below.calls == ["abort"]
    line.tls.connection_lost(ConnectionResetError("reset") if how == "lost" else None)
    assert [type(each) for each in line.done] == [ConnectionResetError]
    assert line.above.calls == []


async def test_a_handshake_has_its_time(authority: Authority):
    line = Line(authority, ssl.TLSVersion.TLSv1_3, patience=0.01)
    await asyncio.sleep(0.05)
    assert isinstance(line.done[0], TimeoutError)
    assert line.below.calls == ["close"]


async def test_a_handshake_that_is_over_leaves_no_timer(authority: Authority):
    line = Line(authority, ssl.TLSVersion.TLSv1_3, patience=0.01)
    line.shake_hands()
    await asyncio.sleep(0.05)
    assert line.done == [None]
    assert line.below.calls == []


async def test_what_the_transport_below_knows_is_passed_on(line: Line):
    line.tls.pause_writing()
    line.tls.resume_writing()
    assert line.above.calls == ["pause", "resume"]
    line.tls.set_write_buffer_limits(high=5)
    assert line.below.calls == ["limits 5 None"]
    assert line.tls.get_write_buffer_size() == 7
    other = Above()
    line.tls.set_protocol(other)
    assert line.tls.get_protocol() is other
    line.say(b"x")
    assert bytes(other.heard) == b"x"
    line.tls.connection_lost(None)
    assert line.tls.get_write_buffer_size() == 0
    line.tls.pause_reading()
    line.tls.resume_reading()
    line.tls.set_write_buffer_limits()
    line.tls.abort()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.binary(max_size=40_000), max_size=5),
    st.lists(st.integers(1, 5_000) | st.integers(10_000, 50_000), min_size=1, max_size=4),
    st.sampled_from([ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]),
)
def test_however_it_is_cut_it_arrives_as_it_was(
    authority: Authority, messages: list[bytes], sizes: list[int], version: ssl.TLSVersion
):
    async def run() -> None:
        line = Line(authority, version)
        line.shake_hands()
        for message in messages:
            if message:
                line.client.write(message)
        octets, cuts = line.outgoing.read(), cycle(sizes)
        while octets:
            size = next(cuts)
            line.tls.data_received(octets[:size])
            octets = octets[size:]
        assert bytes(line.above.heard) == b"".join(messages)
        line.tls.close()

    asyncio.run(run())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=400), max_size=6), st.booleans())
def test_no_octets_raise_or_get_through_in_clear(authority: Authority, pieces: list[bytes], after_handshake: bool):
    async def run() -> None:
        line = Line(authority, ssl.TLSVersion.TLSv1_3)
        if after_handshake:
            line.shake_hands()
        for piece in pieces:
            line.tls.data_received(piece)
        line.tls.eof_received()
        line.tls.connection_lost(None)
        assert not line.above.heard
        assert len(line.done) == 1

    asyncio.run(run())
