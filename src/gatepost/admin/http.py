"""A small HTTP server for questions without a body: GET and HEAD of some paths (RFC 9110, RFC 9112).

One request a connection; what a client may cost is bounded: its header in size, its request and its reading in time,
all connections in number.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final, cast
from urllib.parse import urlsplit

import h11

__all__ = ["Answer", "HttpConnection", "HttpServer", "Question"]

_HEADER_BYTES: Final = 8_192
_CONNECTIONS: Final = 256
_REQUEST_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 10.0
_LINGER_SECONDS: Final = 5.0  # for a client to read what it was told
_METHODS: Final = (b"GET", b"HEAD")
_JSON: Final = "application/json"

_log = logging.getLogger("gatepost.admin")


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said.

    Args:
        status: code.
        body: text.
        content_type: of the body.
    """

    status: int
    body: str
    content_type: str = _JSON


Question = Callable[[], Awaitable[Answer]]

_BAD: Final = Answer(400, '{"error":"bad request"}\n')
_UNKNOWN: Final = Answer(404, '{"error":"not found"}\n')
_WRONG_METHOD: Final = Answer(405, '{"error":"GET and HEAD only"}\n')
_SLOW: Final = Answer(408, '{"error":"the request took too long"}\n')
_BODY: Final = Answer(413, '{"error":"no body, please"}\n')
_LONG: Final = Answer(431, '{"error":"the header is too long"}\n')
_BUSY: Final = Answer(503, '{"error":"too many connections"}\n')
_LATE: Final = Answer(503, '{"error":"no answer in time"}\n')


class HttpServer:
    """Answers questions.

    Args:
        questions: who answers what, by path.
        connections: how many at once.
        request_seconds: how long a client may take to ask.
        answer_seconds: how long the answer may take to find.
    """

    def __init__(
        self,
        questions: Mapping[str, Question],
        *,
        connections: int = _CONNECTIONS,
        request_seconds: float = _REQUEST_SECONDS,
        answer_seconds: float = _ANSWER_SECONDS,
    ) -> None:
        self.questions = questions
        self.connections_limit = connections
        self.request_seconds = request_seconds
        self.answer_seconds = answer_seconds
        self.connections: set[HttpConnection] = set()

    def connect(self) -> HttpConnection:
        """Make the protocol of a new connection."""
        return HttpConnection(self)

    async def answer(self, path: str) -> Answer:
        """Find the answer to a question."""
        question = self.questions[path]
        try:
            async with asyncio.timeout(self.answer_seconds):
                return await question()
        except TimeoutError:
            return _LATE

    def close(self) -> None:
        """Hang up on everybody."""
        for connection in list(self.connections):
            connection.abort()


class HttpConnection(asyncio.Protocol):
    """One connection.

    Args:
        server: whose it is.
    """

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=2 * _HEADER_BYTES)
        self._received = 0
        self._transport: asyncio.Transport | None = None
        self._request: h11.Request | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the request."""
        self._transport = cast("asyncio.Transport", transport)
        if len(self._server.connections) >= self._server.connections_limit:
            # Nobody lingers beyond the limit, whether or not that reaches the client.
            self._say(_BUSY)
            self._transport.close()
            return
        self._wait(self._server.request_seconds, self._time_out)
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Forget it."""
        self._server.connections.discard(self)
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """Take a piece of the request; what comes after it is passed over."""
        if self._is_answered or self._task is not None:
            return
        data = data[: _HEADER_BYTES - self._received]
        self._received += len(data)
        try:
            self._http.receive_data(data)
            event = self._http.next_event()
        except h11.RemoteProtocolError:
            self._say(_BAD)
            return
        if isinstance(event, h11.Request):
            self._request = event
            self._decide(event)
        elif self._received == _HEADER_BYTES:
            # RFC 6585 §5: 431 for a header that is too long.
            self._say(_LONG)

    def eof_received(self) -> bool:
        """Let a client that has asked, and says no more, hear its answer."""
        return self._task is not None and not self._is_answered

    def _decide(self, request: h11.Request) -> None:
        path = _path(request.target)
        if path is None:
            self._say(_BAD)
        elif path not in self._server.questions:
            self._say(_UNKNOWN)
        elif request.method not in _METHODS:
            self._say(_WRONG_METHOD)
        elif _announces_body(request):
            self._say(_BODY)
        else:
            self._task = asyncio.get_running_loop().create_task(self._find(path))
            self._task.add_done_callback(_tell_of_trouble)

    async def _find(self, path: str) -> None:
        answer = Answer(500, '{"error":"trouble of our own; see the log"}\n')
        try:
            answer = await self._server.answer(path)
        finally:
            self._say(answer)

    def _say(self, answer: Answer) -> None:
        """Write the answer, and hang up once it was read."""
        if self._transport is None or self._is_answered:
            return
        self._is_answered = True
        body = answer.body.encode()
        headers = [
            ("Date", formatdate(usegmt=True)),
            ("Content-Type", answer.content_type),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("Connection", "close"),
        ]
        if answer is _WRONG_METHOD:
            # RFC 9110 §15.5.6: 405 comes with the methods that there are.
            headers.append(("Allow", "GET, HEAD"))
        response = h11.Response(status_code=answer.status, headers=headers)
        # RFC 9110 §9.3.2: HEAD gets the header alone.
        is_head = self._request is not None and self._request.method == b"HEAD"
        writer = h11.Connection(h11.SERVER)
        octets = writer.send(response) or b""
        self._transport.write(octets if is_head else octets + body)
        # RFC 9112 §9.6: closed at once, with octets of the client unread, the answer might be lost on its way.
        self._transport.write_eof()
        self._wait(_LINGER_SECONDS, self.abort)

    def _time_out(self) -> None:
        if self._task is None:
            self._say(_SLOW)

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, then)

    def abort(self) -> None:
        """Hang up at once."""
        if self._transport is not None:
            self._transport.abort()


def _announces_body(request: h11.Request) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0 ") != b"")
        for name, value in request.headers
    )


def _path(target: bytes) -> str | None:
    """Return the path that is asked for, without its query; None if there is none."""
    text = target.decode("latin-1")
    if not text.startswith("/"):
        # RFC 9112 §3.2.2: a server takes the absolute form, too.
        try:
            text = urlsplit(text).path
        except ValueError:
            return None
    path = text.partition("?")[0]
    return path if path.startswith("/") else None


def _tell_of_trouble(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("a question could not be answered", exc_info=error)
