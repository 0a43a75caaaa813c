"""The public keys of a token issuer: a JWK set from a file or URL, remembered, fetched anew when that helps (RFC 7517).

A key id that we do not know makes us look again, but once a minute at most, however many such tokens come.  Keys that
we have go on while the issuer is away.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import warnings
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, JWKRegistry, OKPKey, RSAKey

from gatepost.errors import ConfigError, StoreUnavailable
from gatepost.model.clock import Clock

__all__ = ["Key", "KeySource", "from_file", "from_url"]

Key: TypeAlias = RSAKey | ECKey | OKPKey
Fetch: TypeAlias = Callable[[], Awaitable[bytes]]

_SIZE_LIMIT: Final = 262_144
_KEY_LIMIT: Final = 64
_TIMEOUT_SECONDS: Final = 5.0
_SMALLEST_RSA_BITS: Final = 2048

_log = logging.getLogger("gatepost.identity")


class KeySource:
    """The keys of one issuer.

    Args:
        fetch: gets the JWK set as it is now; raises `OSError` or `ValueError` when it cannot.
        name: file or URL, for the log.
        clock: what time it is.
        max_age: seconds after which the set is fetched again.
        cool_down: seconds between two fetches because of unknown key ids.
        pause: seconds between two fetches while there are no keys at all.
    """

    def __init__(
        self, fetch: Fetch, name: str, clock: Clock, *, max_age: float = 3600, cool_down: float = 60, pause: float = 5
    ) -> None:
        self._fetch, self._name, self._clock = fetch, name, clock
        self._max_age, self._cool_down, self._pause = max_age, cool_down, pause
        self._keys: tuple[Key, ...] = ()
        self._tried_at: float | None = None
        self._fetched_at: float | None = None
        self._is_reachable = False
        self._lock = asyncio.Lock()

    async def find(self, kid: str | None) -> Sequence[Key]:
        """Return the keys with that id; without an id, all of them.

        Raises:
            StoreUnavailable: none fits, and the issuer cannot be asked.
        """
        if self._is_due(self._max_age):
            await self._refresh(self._max_age)
        found = self._matching(kid)
        if not found and self._is_due(self._cool_down):
            await self._refresh(self._cool_down)
            found = self._matching(kid)
        if not found and not self._is_reachable:
            raise StoreUnavailable(f"no keys from {self._name}")
        return found

    def _matching(self, kid: str | None) -> Sequence[Key]:
        return [key for key in self._keys if kid is None or key.get("kid") == kid]

    def _is_due(self, age: float) -> bool:
        if self._tried_at is None:
            return True
        now = self._clock.monotonic()
        if not self._is_reachable:
            return now - self._tried_at >= (self._cool_down if self._keys else self._pause)
        return self._fetched_at is None or now - self._fetched_at >= age

    async def _refresh(self, age: float) -> None:
        async with self._lock:
            if not self._is_due(age):  # somebody else did it while we waited
                return
            self._tried_at = self._clock.monotonic()
            try:
                async with asyncio.timeout(_TIMEOUT_SECONDS):
                    keys = _parse(await self._fetch())
            except (OSError, ValueError) as error:  # TimeoutError is an OSError
                self._is_reachable = False
                _log.warning("no keys of token issuer", extra={"source": self._name, "problem": repr(error)})
                return
            self._keys, self._fetched_at, self._is_reachable = keys, self._clock.monotonic(), True


def from_file(path: Path, clock: Clock) -> KeySource:
    """Return the keys in a file, which is read again as it may have changed."""

    async def fetch() -> bytes:
        return await asyncio.to_thread(_read, path)

    return KeySource(fetch, str(path), clock, max_age=60, cool_down=5)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_SIZE_LIMIT + 1)


def from_url(url: str, clock: Clock) -> KeySource:
    """Return the keys that an issuer publishes at *url*: https, or http on this machine.

    Raises:
        ConfigError: it is another kind of URL.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
        raise ConfigError(f"oauth.issuers: jwks_url {url}: keys must come by https; http is for this machine only")

    async def fetch() -> bytes:
        import httpx2

        try:
            async with (
                httpx2.AsyncClient(timeout=_TIMEOUT_SECONDS, follow_redirects=False) as client,
                client.stream("GET", url, headers={"accept": "application/json"}) as response,
            ):
                if response.status_code != 200:
                    raise ValueError(f"status {response.status_code}")
                octets = b""
                async for piece in response.aiter_bytes():
                    octets += piece
                    if len(octets) > _SIZE_LIMIT:
                        break
                return octets
        except httpx2.HTTPError as error:
            raise OSError(repr(error)) from None

    return KeySource(fetch, url, clock)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _parse(octets: bytes) -> tuple[Key, ...]:
    if len(octets) > _SIZE_LIMIT:
        raise ValueError(f"larger than {_SIZE_LIMIT} octets")
    try:
        document = json.loads(octets)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("no JWK set")
    keys = []
    for entry in entries[:_KEY_LIMIT]:
        key = _parse_key(entry)
        if key is not None:
            keys.append(key)
    if not keys:
        raise ValueError("no key that can be used")
    return tuple(keys)


def _parse_key(entry: Any) -> Key | None:
    # RFC 7517 §5: keys of a kind that we do not know are left out, not an error.  Shared secrets are left out too: a
    # public document cannot hold one.
    if not isinstance(entry, dict) or entry.get("kty") not in {"RSA", "EC", "OKP"}:
        return None
    public = {name: value for name, value in entry.items() if name not in {"d", "p", "q", "dp", "dq", "qi", "oth"}}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # of a short RSA key, which is refused right below
            key = JWKRegistry.import_key(public)
            bits: int = getattr(key.public_key, "key_size", 0)
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    if isinstance(key, RSAKey):
        # RFC 7518 §3.3: a key of 2048 bits or larger MUST be used.
        return key if bits >= _SMALLEST_RSA_BITS else None
    return key if isinstance(key, ECKey | OKPKey) else None
