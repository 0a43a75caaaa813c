"""How an issuer of tokens is asked over HTTP: bounded in time, size and number, at its own address and no other.

No redirect is followed, no proxy of the environment is used and no cookie is kept: what is asked goes where the
configuration says, or where the issuer itself says, by https (`is_safe`).
"""

from __future__ import annotations

import asyncio
import http.cookiejar
import ipaddress
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import quote_plus, urlsplit

from gatepost.model.identity import Secret
from gatepost.model.system_words import system_words

if TYPE_CHECKING:
    import httpx2

__all__ = ["IssuerHttp", "NotThere", "is_safe"]

_SIZE_LIMIT: Final = 262_144
_URL_LIMIT: Final = 2000
_WAITING_PER_CONNECTION: Final = 8


class NotThere(ValueError):
    """The issuer has nothing at that address."""


class IssuerHttp:
    """Connections to one issuer.

    Args:
        context: TLS; None for the system's certificates.
        timeout: seconds that a question may take, with everything.
        connections: at once; eight times as many questions may wait.
    """

    def __init__(self, context: ssl.SSLContext | None = None, *, timeout: float = 3.0, connections: int = 20) -> None:
        self._context, self._timeout, self._connections = context, timeout, connections
        self._client: httpx2.AsyncClient | None = None
        self._waiting = 0

    async def get(self, url: str) -> bytes:
        """Fetch a document.

        Raises:
            OSError: it cannot be had, or not in time.
            NotThere: there is none.
            ValueError: what came is no answer, or too large.
        """
        return await self._ask("GET", url, None, None)

    async def post(self, url: str, form: Mapping[str, str], login: str, password: Secret) -> bytes:
        """Send a *form*, logged in as a client of the issuer; raises as `get` does."""
        # RFC 6749 §2.3.1: both are encoded as in a form before they become a name and password of HTTP Basic.
        return await self._ask("POST", url, form, (quote_plus(login), quote_plus(password.reveal())))

    def close(self) -> None:
        """Let go of the connections."""
        client, self._client = self._client, None
        if client is not None:
            task = asyncio.get_running_loop().create_task(client.aclose())
            _closing.add(task)
            task.add_done_callback(_closing.discard)

    async def _ask(self, method: str, url: str, form: Mapping[str, str] | None, login: tuple[str, str] | None) -> bytes:
        if self._waiting >= self._connections * _WAITING_PER_CONNECTION:
            raise OSError("too many questions wait for an answer")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._timeout):
                return await self._exchange(method, url, form, login)
        except TimeoutError:
            raise OSError(f"no answer within {self._timeout:g} seconds") from None
        finally:
            self._waiting -= 1

    async def _exchange(
        self, method: str, url: str, form: Mapping[str, str] | None, login: tuple[str, str] | None
    ) -> bytes:
        import httpx2

        if self._client is None:
            self._client = httpx2.AsyncClient(
                headers={"accept": "application/json", "accept-encoding": "identity"},
                verify=self._context if self._context is not None else True,
                timeout=None,  # ours is for everything together
                limits=httpx2.Limits(max_connections=self._connections, max_keepalive_connections=self._connections),
                follow_redirects=False,
                trust_env=False,
                cookies=http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(allowed_domains=())),
            )
        try:
            async with self._client.stream(method, url, data=form, auth=login) as response:
                if response.status_code == 404:
                    raise NotThere("status 404")
                if response.status_code != 200:
                    raise ValueError(f"status {response.status_code}")
                octets = bytearray()
                async for piece in response.aiter_raw():
                    octets += piece
                    if len(octets) > _SIZE_LIMIT:
                        raise ValueError(f"larger than {_SIZE_LIMIT} octets")
                return bytes(octets)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise OSError(system_words(error)[:200]) from None


def is_safe(url: object, *, plain: bool) -> bool:
    """Tell whether *url* is one that we ask: https; with *plain* also http on this machine."""
    if not isinstance(url, str) or len(url) > _URL_LIMIT or not url.isascii() or not url.isprintable():
        return False
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or port == 0 or parts.username is not None or parts.password is not None:
        return False
    return parts.scheme == "https" or (plain and parts.scheme == "http" and _is_loopback(host))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


_closing: set[asyncio.Task[None]] = set()
