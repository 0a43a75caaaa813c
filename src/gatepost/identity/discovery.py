"""What an issuer publishes about itself: where its keys are, and where tokens are asked about.

As OpenID Connect Discovery 1.0 and RFC 8414 have it.  The document is read once an hour at most, and again when what it
named last does not answer; what was read goes on while the issuer is away.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from gatepost.identity.issuer_http import IssuerHttp, NotThere, is_safe
from gatepost.model.clock import Clock

__all__ = ["Discovery", "well_known"]

_MAX_AGE: Final = 3600.0
_PAUSE: Final = 2.0


class Discovery:
    """The document of one issuer.

    Args:
        issuer: as configured; the document must name the same.
        http: how it is asked.
        clock: what time it is.
        url: where the document is, if not at its usual place.
    """

    def __init__(self, issuer: str, http: IssuerHttp, clock: Clock, url: str = "") -> None:
        self._issuer, self._http, self._clock = issuer, http, clock
        self._urls = (url,) if url else well_known(issuer)
        self._plain = self._urls[0].startswith("http://")
        self._document: Mapping[str, Any] = {}
        self._read_at: float | None = None
        self._failed_at: float | None = None
        self._problem = ""
        self._lock = asyncio.Lock()

    async def endpoint(self, name: str) -> str:
        """Return an address that the issuer names.

        Raises:
            OSError: the document cannot be had, and never was.
            ValueError: it is none, is of another issuer, or names no such address.
        """
        if not self._is_fresh():
            async with self._lock:
                if not self._is_fresh():
                    await self._read()
        url = self._document.get(name)
        if not is_safe(url, plain=self._plain):
            raise ValueError(f"its {name} is missing, or not https")
        assert isinstance(url, str)
        return url

    def doubt(self) -> None:
        """Read the document again at the next occasion: what it named does not answer."""
        self._read_at = None

    def _is_fresh(self) -> bool:
        if self._read_at is not None and self._clock.monotonic() - self._read_at < _MAX_AGE:
            return True
        if self._failed_at is None or self._clock.monotonic() - self._failed_at >= _PAUSE:
            return False
        if not self._document:
            raise OSError(self._problem)
        return True

    async def _read(self) -> None:
        try:
            document = self._parse(await self._fetch())
        except (OSError, ValueError) as error:
            self._failed_at, self._problem = self._clock.monotonic(), str(error)
            if not self._document:
                raise
        else:
            self._document, self._read_at, self._failed_at = document, self._clock.monotonic(), None

    async def _fetch(self) -> bytes:
        *others, last = self._urls
        for url in others:
            try:
                return await self._http.get(url)
            except NotThere:
                continue
        return await self._http.get(last)

    def _parse(self, octets: bytes) -> Mapping[str, Any]:
        try:
            document = json.loads(octets)
        except RecursionError:
            raise ValueError("its configuration is nested too deeply") from None
        except ValueError:
            raise ValueError("its configuration is no JSON") from None
        if not isinstance(document, dict):
            raise ValueError("its configuration is no JSON object")
        # OpenID Connect Discovery §4.3, RFC 8414 §3.3: it must name exactly the issuer that was asked for.
        if document.get("issuer") != self._issuer:
            raise ValueError("its configuration is that of another issuer")
        return document


def well_known(issuer: str) -> tuple[str, ...]:
    """Return where the document of an issuer is: by OpenID Connect Discovery, then by RFC 8414."""
    # OpenID Connect Discovery §4: a slash at the end goes, and the rest follows.
    start = issuer.rstrip("/")
    parts = urlsplit(start)
    # RFC 8414 §3.1: there it stands between host and path.
    return (
        f"{start}/.well-known/openid-configuration",
        f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{parts.path}",
    )
