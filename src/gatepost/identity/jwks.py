"""The public keys of a token issuer: a JWK set from a file or URL, remembered, fetched anew when that helps (RFC 7517).

A key id that we do not know makes us look again, but once a minute at most, however many such tokens come, and with one
fetch at a time.  Keys that we have go on while the issuer is away, for a bounded time, and nobody whose key we have
waits long for it.
"""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, JWKRegistry, OKPKey, RSAKey

from gatepost.errors import ConfigError, StoreUnavailable
from gatepost.identity.discovery import Discovery
from gatepost.identity.issuer_http import IssuerHttp, is_safe
from gatepost.model.clock import Clock

__all__ = ["Key", "KeySource", "discovered", "from_file", "from_url"]

Key: TypeAlias = RSAKey | ECKey | OKPKey
Fetch: TypeAlias = Callable[[], Awaitable[bytes]]

_SIZE_LIMIT: Final = 262_144
_KEY_LIMIT: Final = 64
_SMALLEST_RSA_BITS: Final = 2048
_PATIENCE: Final = 0.5
_PAUSE: Final = 2.0  # between two fetches while the issuer is away


class KeySource:
    """The keys of one issuer.

    Args:
        fetch: gets the JWK set as it is now, in bounded time; raises `OSError` or `ValueError` when it cannot.
        name: file or URL, for the log.
        clock: what time it is.
        max_age: seconds after which the set is fetched again.
        cool_down: seconds between two fetches because of unknown key ids.
        lasts: seconds for which a set counts without being fetched again.
        tell: hears why the issuer is away, and "" when it is back.
        close: lets go of what `fetch` holds.
    """

    def __init__(
        self,
        fetch: Fetch,
        name: str,
        clock: Clock,
        *,
        max_age: float = 3600,
        cool_down: float = 60,
        lasts: float = 86_400,
        tell: Callable[[str], None] | None = None,
        close: Callable[[], None] | None = None,
    ) -> None:
        self._fetch, self._name, self._clock, self._tell, self._close = fetch, name, clock, tell, close
        self._cool_down, self._lasts = cool_down, lasts
        self._max_age = min(max_age, lasts)
        self._keys: tuple[Key, ...] = ()
        self._tried_at: float | None = None
        self._fetched_at: float | None = None
        self._searched_at: float | None = None
        self._is_reachable = False
        self._fetches = 0
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: str | None) -> Sequence[Key]:
        """Return the keys with that id; without an id, all of them.

        Raises:
            StoreUnavailable: none fits, and the issuer cannot be asked.
        """
        before = self._fetches
        found = self._matching(kid)
        if self._is_due():
            await self._refresh(patient=not found)
            found = self._matching(kid)
        if not found and self._fetches == before:
            found = await self.search(kid)
        elif not found:
            # Whatever that fetch was for, it has answered for an unknown id as well.
            self._searched_at = self._clock.monotonic()
        if not found and not self._is_reachable:
            raise StoreUnavailable(f"no keys from {self._name}")
        return found

    async def search(self, kid: str | None) -> Sequence[Key]:
        """Return the keys with that id, fetched anew unless that was done lately, because those we have do not fit."""
        if self._fetching is None:
            now = self._clock.monotonic()
            is_cool = self._searched_at is None or now - self._searched_at >= self._cool_down
            if not is_cool or not self._is_reachable:
                return self._matching(kid)
            self._searched_at = now
        await self._refresh(patient=True)
        return self._matching(kid)

    def close(self) -> None:
        """Let go of what is open."""
        if self._fetching is not None:
            self._fetching.cancel()
        if self._close is not None:
            self._close()

    def _matching(self, kid: str | None) -> Sequence[Key]:
        if self._fetched_at is None or self._clock.monotonic() - self._fetched_at >= self._lasts:
            return ()
        return [key for key in self._keys if kid is None or key.get("kid") == kid]

    def _is_due(self) -> bool:
        if self._fetching is not None:
            return False
        if self._tried_at is None:
            return True
        now = self._clock.monotonic()
        if not self._is_reachable:
            return now - self._tried_at >= _PAUSE
        return self._fetched_at is None or now - self._fetched_at >= self._max_age

    async def _refresh(self, *, patient: bool) -> None:
        """Fetch the set, or wait for who does; not for long unless *patient*, and not at all for one that is away."""
        task = self._fetching
        if task is None:
            was_away = self._tried_at is not None and not self._is_reachable
            self._tried_at = self._clock.monotonic()
            task = self._fetching = asyncio.create_task(self._try())
            task.add_done_callback(self._end)
            if was_away and not patient:
                return
        await asyncio.wait({task}, timeout=None if patient else _PATIENCE)

    async def _try(self) -> None:
        try:
            keys = _parse(await self._fetch())
        except (OSError, ValueError) as error:
            if self._is_reachable or not self._fetches:
                self._told(str(error) or type(error).__name__)
            self._is_reachable = False
        else:
            if not self._is_reachable and self._fetches:
                self._told("")
            self._keys, self._fetched_at, self._is_reachable = keys, self._clock.monotonic(), True
        self._fetches += 1

    def _end(self, _task: asyncio.Task[None]) -> None:
        self._fetching = None

    def _told(self, problem: str) -> None:
        if self._tell is not None:
            self._tell(f"{self._name}: {problem}" if problem else "")


def from_file(path: Path, clock: Clock, **options: Any) -> KeySource:
    """Return the keys in a file, which is read again as it may have changed."""

    async def fetch() -> bytes:
        return await asyncio.to_thread(_read, path)

    return KeySource(fetch, str(path), clock, max_age=60, cool_down=5, **options)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_SIZE_LIMIT + 1)


def from_url(url: str, clock: Clock, http: IssuerHttp | None = None, **options: Any) -> KeySource:
    """Return the keys that an issuer publishes at *url*: https, or http on this machine.

    Raises:
        ConfigError: it is another kind of URL.
    """
    if not is_safe(url, plain=True):
        raise ConfigError(f"oauth.issuers: jwks_url {url}: keys must come by https; http is for this machine only")
    asked = http or IssuerHttp()

    async def fetch() -> bytes:
        return await asked.get(url)

    return KeySource(fetch, url, clock, close=asked.close, **options)


def discovered(discovery: Discovery, name: str, clock: Clock, http: IssuerHttp, **options: Any) -> KeySource:
    """Return the keys of an issuer that says itself where they are."""

    async def fetch() -> bytes:
        try:
            return await http.get(await discovery.endpoint("jwks_uri"))
        except (OSError, ValueError):
            discovery.doubt()
            raise

    return KeySource(fetch, name, clock, close=http.close, **options)


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
    if not isinstance(entry, dict) or entry.get("kty") not in ("RSA", "EC", "OKP"):
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
