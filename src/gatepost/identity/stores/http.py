"""A service that knows logins, asked over HTTP: it is told name and password, and says whose they are.

    POST, {"login": "tim", "password": "…"}      whose is this?
    POST, {"login": "tim"}                       who is that? (after a token, or for a session that is open)

`gatepost.identity.stores.http_answer` reads the answers.
"""

from __future__ import annotations

import asyncio
import http.cookiejar
import importlib
import json
import ssl
from typing import TYPE_CHECKING, Final

from gatepost.identity.store import Account, Checked
from gatepost.identity.stores.http_answer import parse_answer
from gatepost.identity.stores.remote import RemoteStore
from gatepost.model.clock import Clock
from gatepost.model.identity import Secret
from gatepost.model.peer import Peer
from gatepost.model.system_words import system_words
from gatepost.state.keys import Keys

if TYPE_CHECKING:
    import httpx2

__all__ = ["HttpStore"]

_ANSWER_LIMIT: Final = 65_536


class HttpStore(RemoteStore):
    """The service at *url*; what is not explained here is with `RemoteStore`.

    Args:
        url: https, or http on this machine.
        token: bearer token, if it wants one.
        context: TLS, with our certificate if it wants one; None for http.
    """

    def __init__(
        self,
        url: str,
        keys: Keys,
        clock: Clock,
        *,
        name: str = "http",
        token: Secret | None = None,
        context: ssl.SSLContext | None = None,
        timeout: float = 3.0,
        cache_seconds: float = 60.0,
        cache_entries: int = 10_000,
        connections: int = 20,
        iterations: int = 15_000,
    ) -> None:
        super().__init__(
            url,
            keys,
            clock,
            name=name,
            timeout=timeout,
            cache_seconds=cache_seconds,
            cache_entries=cache_entries,
            connections=connections,
            iterations=iterations,
        )
        # It takes a while to load, and no login shall wait for that.
        importlib.import_module("httpx2")
        self._token, self._context = token, context
        self._client: httpx2.AsyncClient | None = None

    def close(self) -> None:
        """Let go of the connections."""
        super().close()
        client, self._client = self._client, None
        if client is not None:
            task = asyncio.get_running_loop().create_task(client.aclose())
            _closing.add(task)
            task.add_done_callback(_closing.discard)

    async def _ask(self, nobody: Account, password: Secret | None, peer: Peer | None) -> Checked | None:  # noqa: ARG002
        question = {"login": nobody.login}
        if password is not None:
            question["password"] = password.reveal().decode()
        octets = await self._post(json.dumps(question).encode())
        return parse_answer(octets, nobody, has_password=password is not None)

    async def _post(self, question: bytes) -> bytes:
        import httpx2

        if self._client is None:
            headers = {"content-type": "application/json", "accept": "application/json", "accept-encoding": "identity"}
            if self._token is not None:
                headers["authorization"] = f"Bearer {self._token.reveal().decode()}"
            self._client = httpx2.AsyncClient(
                headers=headers,
                verify=self._context if self._context is not None else True,
                timeout=self._timeout,
                limits=httpx2.Limits(max_connections=self._connections, max_keepalive_connections=self._connections),
                follow_redirects=False,
                # No proxy from the environment: passwords go where the configuration says, and nowhere else.
                trust_env=False,
                # No cookie: what the service keeps of one login must not come back with the question about another.
                cookies=http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(allowed_domains=())),
            )
        try:
            async with self._client.stream("POST", self._place, content=question) as response:
                if response.status_code != 200:
                    raise ValueError(f"answered with status {response.status_code}")
                octets = b""
                async for piece in response.aiter_raw():
                    octets += piece
                    if len(octets) > _ANSWER_LIMIT:
                        raise ValueError(f"answered with more than {_ANSWER_LIMIT} octets")
                return octets
        except httpx2.HTTPError as error:
            raise OSError(system_words(error)[:200]) from None


_closing: set[asyncio.Task[None]] = set()
