"""A service that knows logins, asked over HTTP: it is told name and password, and says whose they are.

    POST, {"login": "tim", "password": "…"}      whose is this?
    POST, {"login": "tim"}                       who is that? (after a token, or for a session that is open)

`gatepost.identity.stores.http_answer` reads the answers.  A yes is remembered for a while, by a keyed hash of name and
password; a no never is.  While the service is away it is asked every two seconds for a name that nobody can have.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from gatepost.errors import StoreUnavailable
from gatepost.identity.decoys import Decoys
from gatepost.identity.store import MECHANISM_SCHEMES, Account, Checked, Survey
from gatepost.identity.stores.http_answer import parse_answer
from gatepost.model.clock import Clock
from gatepost.model.identity import Secret
from gatepost.state.keys import Keys

if TYPE_CHECKING:
    import httpx2

__all__ = ["HttpStore"]

# Names below .invalid are never assigned to anybody.
_PROBE: Final = "probe@gatepost.invalid"
_PROBE_SECONDS: Final = 2.0
_ANSWER_LIMIT: Final = 65_536
_WAITING_PER_CONNECTION: Final = 8
_EVERYWHERE: Final = frozenset({frozenset[str]()})


class HttpStore:
    """The service at *url*.

    Args:
        url: https, or http on this machine.
        keys: of the node.
        clock: what time it is.
        name: of the store.
        token: bearer token, if it wants one.
        context: TLS, with our certificate if it wants one; None for http.
        timeout: seconds that a question may take.
        cache_seconds: how long a yes is remembered; 0 is not at all.
        cache_entries: how many at once.
        connections: to the service at once.
        iterations: SCRAM iteration count of accounts: it has no verifiers, but the names that it knows look alike.
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
        self.name = name
        self._url, self._clock, self._token, self._context = url, clock, token, context
        self._timeout, self._connections, self._iterations = timeout, connections, iterations
        self._cache_seconds, self._cache_entries = cache_seconds, cache_entries
        self._decoys = Decoys(keys)
        self._key = keys.derive("http store")
        self._opened: OrderedDict[bytes, tuple[float, Checked]] = OrderedDict()
        self._accounts: OrderedDict[str, tuple[float, Account]] = OrderedDict()
        self._client: httpx2.AsyncClient | None = None
        self._waiting = 0
        self._problem = ""
        self._probed_at: float | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._surveyed_at: float | None = None

    async def find(self, login: str) -> Account | None:
        """Return the account with that prepared name, as it was `cache_seconds` ago at most."""
        known = self._accounts.get(login)
        if known is not None and self._clock.monotonic() < known[0]:
            return known[1]
        if self._problem:
            # Who asks without a password asks for many names in turn; the probe will tell when that makes sense again.
            raise StoreUnavailable(self._problem)
        checked = await self._ask(login, None)
        if checked is None:
            self._accounts.pop(login, None)
            return None
        self._remember(self._accounts, login, checked.account)
        return checked.account

    async def check(self, login: str, password: Secret) -> Checked | None:
        """Have the service check the password of a prepared name; None if nobody has that name."""
        tag = self._tag(login, password)
        known = self._opened.get(tag)
        if known is not None and self._clock.monotonic() < known[0]:
            self._opened.move_to_end(tag)
            return known[1]
        checked = await self._ask(login, password)
        if checked is None:
            self._accounts.pop(login, None)
            return None
        self._remember(self._accounts, login, checked.account)
        if checked.credential is not None:
            self._remember(self._opened, tag, checked)
        else:
            self._opened.pop(tag, None)
        return checked

    async def has_changed(self) -> bool:
        """Tell whether it is time to look at open sessions again; try whether a service that was away is back."""
        if self._problem:
            self._probe()
            raise StoreUnavailable(self._problem)
        if self._surveyed_at is None:
            return True
        # Nobody tells us of changes: whoever is logged in is asked about as often as a yes is.
        return bool(self._accounts) and self._clock.monotonic() - self._surveyed_at >= max(self._cache_seconds, 1.0)

    async def survey(self, now: float) -> Survey:  # noqa: ARG002 - it says the same at all times
        """It gives no verifiers away: mechanisms that need one cannot be offered beside it."""
        self._surveyed_at = self._clock.monotonic()
        return Survey(dict.fromkeys(MECHANISM_SCHEMES.values(), _EVERYWHERE))

    def close(self) -> None:
        """Let go of the connections."""
        for task in self._tasks:
            task.cancel()
        client, self._client = self._client, None
        if client is not None:
            task = asyncio.get_running_loop().create_task(client.aclose())
            _closing.add(task)
            task.add_done_callback(_closing.discard)

    def _tag(self, login: str, password: Secret) -> bytes:
        hashed = hashlib.blake2b(key=self._key, digest_size=32)
        for part in (login.encode(), password.reveal()):
            hashed.update(len(part).to_bytes(8, "big"))
            hashed.update(part)
        return hashed.digest()

    def _remember(self, cache: OrderedDict[Any, Any], key: object, value: object) -> None:
        if self._cache_seconds <= 0 or self._cache_entries <= 0:
            return
        cache[key] = (self._clock.monotonic() + self._cache_seconds, value)
        cache.move_to_end(key)
        if len(cache) > self._cache_entries:
            cache.popitem(last=False)

    def _probe(self) -> None:
        now = self._clock.monotonic()
        if self._tasks or (self._probed_at is not None and now - self._probed_at < _PROBE_SECONDS):
            return
        self._probed_at = now
        task = asyncio.create_task(self._try())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _try(self) -> None:
        try:
            await self._ask(_PROBE, None)
        except StoreUnavailable as error:
            self._problem = str(error)

    async def _ask(self, login: str, password: Secret | None) -> Checked | None:
        question = {"login": login}
        if password is not None:
            question["password"] = password.reveal().decode()
        if self._waiting >= self._connections * _WAITING_PER_CONNECTION:
            raise StoreUnavailable(f"{self._url}: too many questions wait for an answer")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._timeout):
                octets = await self._post(json.dumps(question).encode())
            nobody = Account(login, self._decoys.salt(login), self._iterations)
            checked = parse_answer(octets, nobody, has_password=password is not None)
        except TimeoutError:
            self._problem = f"{self._url}: no answer within {self._timeout:g} seconds"
        except OSError as error:
            self._problem = f"{self._url}: {error}"
        except ValueError as error:
            self._problem = f"{self._url}: {error}"
        else:
            self._problem = ""
            return checked
        finally:
            self._waiting -= 1
        raise StoreUnavailable(self._problem)

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
            )
        try:
            async with self._client.stream("POST", self._url, content=question) as response:
                if response.status_code != 200:
                    raise ValueError(f"answered with status {response.status_code}")
                octets = b""
                async for piece in response.aiter_raw():
                    octets += piece
                    if len(octets) > _ANSWER_LIMIT:
                        raise ValueError(f"answered with more than {_ANSWER_LIMIT} octets")
                return octets
        except httpx2.HTTPError as error:
            raise OSError(f"{type(error).__name__}: {error}"[:200]) from None


_closing: set[asyncio.Task[None]] = set()
