"""The small HTTP server against clients of every kind: curious, wrong, slow, hostile, too many."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatepost.admin.http import Answer, HttpServer

SECONDS = 60.0


async def hello() -> Answer:
    return Answer(200, '{"hello":"you"}\n')


async def large() -> Answer:
    return Answer(200, "x" * 5_000_000, "text/plain")


async def never() -> Answer:
    await asyncio.sleep(3600)
    raise AssertionError


async def broken() -> Answer:
    raise OSError("no secret of ours")


class Client:
    """Talks octets."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def ask(self, octets: bytes, *, half_close: bool = False) -> bytes:
        """Send *octets*; return all that comes until the end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(octets)
            if half_close:
                writer.write_eof()
            async with asyncio.timeout(SECONDS):
                return await reader.read()
        finally:
            writer.close()

    async def get(self, path: str, method: str = "GET", more: str = "") -> tuple[int, dict[str, str], bytes]:
        """Ask as one should; return status, headers and body."""
        answer = await self.ask(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode())
        head, _, body = answer.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return int(first.split()[1]), headers, body


@pytest.fixture
def server(request: pytest.FixtureRequest) -> HttpServer:
    """Return one that is patient, unless a test wants it otherwise."""
    patience = getattr(request, "param", 2 * SECONDS)
    return HttpServer(
        {"/hello": hello, "/large": large, "/never": never, "/broken": broken},
        connections=20,
        request_seconds=patience,
        answer_seconds=patience,
    )


@pytest.fixture
async def client(server: HttpServer) -> AsyncIterator[Client]:
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    listening = await asyncio.get_running_loop().create_server(server.connect, sock=sock)
    yield Client(sock.getsockname()[1])
    listening.close()
    server.close()
    async with asyncio.timeout(SECONDS):
        while server.connections:
            await asyncio.sleep(0.01)


@pytest.mark.rfc("9112 §9.6")
async def test_a_question_gets_its_answer_and_nothing_about_us(client: Client) -> None:
    status, headers, body = await client.get("/hello")
    assert (status, body) == (200, b'{"hello":"you"}\n')
    assert sorted(headers) == ["cache-control", "connection", "content-length", "content-type", "date"]
    assert headers["content-length"] == "16"
    assert headers["connection"] == "close"


@pytest.mark.rfc("9110 §9.3.2")
async def test_head_gets_the_header_alone(client: Client) -> None:
    status, headers, body = await client.get("/hello", "HEAD")
    assert (status, headers["content-length"], body) == (200, "16", b"")


@pytest.mark.rfc("9112 §3.2.2")
@pytest.mark.parametrize("target", ["/hello?now=1", "http://somewhere/hello", "http://somewhere:80/hello?x"])
async def test_a_query_and_the_absolute_form_mean_the_same(client: Client, target: str) -> None:
    assert (await client.get(target))[0] == 200


@pytest.mark.parametrize("path", ["/", "/hello/", "//hello", "/Hello", "/../hello", "/hello%2f", "/hell%6f", "/docs"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_any_other_path_is_not_there(client: Client, path: str, method: str) -> None:
    assert (await client.get(path, method))[0] == 404


@pytest.mark.rfc("9110 §15.5.6")
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW"])
async def test_other_methods_are_told_which_there_are(client: Client, method: str) -> None:
    status, headers, _ = await client.get("/hello", method)
    assert (status, headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "more", ["Content-Length: 5\r\n", "Content-Length: 99999999999\r\n", "Transfer-Encoding: chunked\r\n"]
)
async def test_a_body_is_not_taken(client: Client, more: str) -> None:
    assert (await client.get("/hello", more=more))[0] == 413


async def test_an_empty_body_is_none(client: Client) -> None:
    assert (await client.get("/hello", more="Content-Length: 0\r\n"))[0] == 200


async def test_the_answer_about_a_body_arrives_also_while_the_body_does(client: Client) -> None:
    head = b"GET /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    assert (await client.ask(head + b"x" * 1_000_000)).startswith(b"HTTP/1.1 413 ")


@pytest.mark.rfc("6585 §5")
@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
async def test_a_header_that_is_too_long_is_refused(client: Client, end: bytes) -> None:
    answer = await client.ask(b"GET /hello HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 100_000 + end)
    assert answer.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "octets",
    [
        b"\r\n\r\n\x00",
        b"EHLO client.example\r\n\r\n",
        b"GET /hello\r\n\r\n",
        b"GET /hello HTTP/1.1\r\n\r\n",  # RFC 9112 §3.2: without Host
        b"GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"GET /he llo HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET hello HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://[x/hello HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n",
    ],
)
async def test_nonsense_is_a_bad_request(client: Client, octets: bytes) -> None:
    answer = await client.ask(octets)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 505 "))


async def test_the_older_version_is_served(client: Client) -> None:
    assert (await client.ask(b"GET /hello HTTP/1.0\r\n\r\n")).endswith(b'{"hello":"you"}\n')


async def test_a_second_request_on_a_connection_is_passed_over(client: Client) -> None:
    request = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
    assert (await client.ask(request * 3)).count(b"HTTP/1.1 200") == 1


async def test_a_request_may_come_octet_by_octet(client: Client) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    for octet in b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n":
        writer.write(bytes([octet]))
        await asyncio.sleep(0)
    assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
    writer.close()


@pytest.mark.parametrize("server", [0.4], indirect=True)
async def test_a_client_that_says_no_more_hears_its_answer(client: Client) -> None:
    octets = b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n"
    assert (await client.ask(octets, half_close=True)).startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize("server", [0.4], indirect=True)
@pytest.mark.parametrize("octets", [b"", b"GET /hel", b"GET /hello HTTP/1.1\r\nHost: x\r\n"])
async def test_a_client_that_is_slow_to_ask_is_left(client: Client, octets: bytes) -> None:
    assert (await client.ask(octets)).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("octets", [b"", b"GET /hel"])
async def test_a_client_that_goes_before_it_asked_is_forgotten(
    client: Client, server: HttpServer, octets: bytes
) -> None:
    await client.ask(octets, half_close=True)
    async with asyncio.timeout(SECONDS):
        while server.connections:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("server", [0.4], indirect=True)
async def test_an_answer_that_takes_too_long_is_given_up(client: Client) -> None:
    assert (await client.get("/never"))[0] == 503


async def test_trouble_of_ours_is_told_without_its_text(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    status, _, body = await client.get("/broken")
    assert status == 500
    assert b"secret" not in body
    assert "no secret of ours" in caplog.text


async def test_a_large_answer_arrives_whole(client: Client) -> None:
    _, headers, body = await client.get("/large")
    assert len(body) == int(headers["content-length"]) == 5_000_000


async def test_too_many_connections_are_turned_away_and_the_next_is_served(client: Client, server: HttpServer) -> None:
    held = [await asyncio.open_connection("127.0.0.1", client.port) for _ in range(server.connections_limit)]
    for _ in range(30):
        assert (await client.ask(b"")).startswith(b"HTTP/1.1 503 ")
    assert len(server.connections) == server.connections_limit
    for _, writer in held:
        writer.close()
    async with asyncio.timeout(SECONDS):
        while server.connections:
            await asyncio.sleep(0.01)
    assert (await client.get("/hello"))[0] == 200


@pytest.mark.parametrize("server", [0.4], indirect=True)
async def test_a_client_that_reads_nothing_is_left(
    client: Client, server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatepost.admin.http._LINGER_SECONDS", 0.2)
    sock = socket.create_connection(("127.0.0.1", client.port))
    sock.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(0.1)
    async with asyncio.timeout(SECONDS):
        while server.connections:
            await asyncio.sleep(0.01)
    sock.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300) | st.binary(max_size=50).map(lambda rest: b"GET /hello HTTP/1.1\r\n" + rest))
async def test_whatever_comes_gets_an_answer_of_http_or_nothing(client: Client, octets: bytes) -> None:
    answer = await client.ask(octets, half_close=True)
    assert not answer or answer.startswith(b"HTTP/1.1 ")
