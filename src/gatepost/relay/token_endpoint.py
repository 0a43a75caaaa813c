"""How an issuer is asked for tokens over HTTP: bounded in time and size, at its own address and no other.

No redirect is followed, no proxy of the environment is used, and no cookie is kept: what is sent holds secrets, and
goes where the configuration says.
"""

from __future__ import annotations

import asyncio
import email.utils
import importlib
import ssl
import time
from collections.abc import Mapping
from typing import Final

from gatepost.model.system_words import system_words
from gatepost.relay.oauth_client import OAuthClient
from gatepost.relay.token_answer import Answer

__all__ = ["TokenEndpoint"]

_SIZE_LIMIT: Final = 131_072
_RETRY_LIMIT: Final = 3600.0


class TokenEndpoint:
    """The issuer that *client* is a client of.

    Raises:
        OSError: its ca_file cannot be read, or is no PEM (`ssl.SSLError`).
    """

    def __init__(self, client: OAuthClient) -> None:
        # Both take a while, and no mail shall wait for them.
        importlib.import_module("httpx2")
        self._context = ssl.create_default_context(cafile=client.ca_file)
        # RFC 8997 §3: TLS 1.2 is the least.
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._client = client

    async def ask(self, form: Mapping[str, str]) -> Answer:
        """Send *form* to the token endpoint, in our name.

        Raises:
            OSError: there is no answer, or not in time, or too long a one.
        """
        return await self.post(self._client.token_url, *self._client.signed(form))

    async def post(self, url: str, form: Mapping[str, str], login: tuple[str, str] | None = None) -> Answer:
        """Send *form* to *url*; raises as `ask` does."""
        try:
            async with asyncio.timeout(self._client.timeout):
                return await self._exchange(url, form, login)
        except TimeoutError:
            raise OSError(f"no answer within {self._client.timeout:g} seconds") from None

    async def _exchange(self, url: str, form: Mapping[str, str], login: tuple[str, str] | None) -> Answer:
        import httpx2

        try:
            # It is asked once in an hour: no connection is kept for that.
            async with (
                httpx2.AsyncClient(
                    headers={"accept": "application/json", "accept-encoding": "identity"},
                    verify=self._context,
                    timeout=None,  # ours is for everything together
                    follow_redirects=False,
                    trust_env=False,
                ) as client,
                client.stream("POST", url, data=form, auth=login) as response,
            ):
                octets = bytearray()
                async for piece in response.aiter_raw():
                    octets += piece
                    if len(octets) > _SIZE_LIMIT:
                        raise OSError(f"an answer of more than {_SIZE_LIMIT} octets")
                return response.status_code, bytes(octets), _seconds(response.headers.get("retry-after", ""))
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise OSError(system_words(error)[:200]) from None


def _seconds(text: str) -> float:
    """Return how long *text* wants us to wait."""
    # RFC 9110 §10.2.3: a number of seconds, or a date.
    if text.isascii() and text.isdigit():
        return float(min(int(text[:9]), _RETRY_LIMIT))
    try:
        moment = email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return 0.0
    return min(max(moment - time.time(), 0.0), _RETRY_LIMIT)
