"""A store that somebody else keeps, and that is asked for each login: what it said is remembered, and it may be away.

A yes is remembered for a while, by a keyed hash of name and password; a no never is.  While the service is away it is
asked every two seconds for a name that nobody can have.
"""

from __future__ import annotations

import abc
import asyncio
import hashlib
from collections import OrderedDict
from typing import Any, ClassVar, Final

from gatepost.errors import StoreUnavailable
from gatepost.identity.decoys import Decoys
from gatepost.identity.store import MECHANISM_SCHEMES, Account, Checked, Survey
from gatepost.model.clock import Clock
from gatepost.model.identity import Secret
from gatepost.model.peer import Peer
from gatepost.state.keys import Keys

__all__ = ["RemoteStore"]

# Names below .invalid are never assigned to anybody.
_PROBE: Final = "probe@gatepost.invalid"
_PROBE_SECONDS: Final = 2.0
_WAITING_PER_CONNECTION: Final = 8
_EVERYWHERE: Final = frozenset({frozenset[str]()})


class RemoteStore(abc.ABC):
    """What is the same for each service that is asked.

    Args:
        place: what it is called in the log: its address.
        keys: of the node.
        clock: what time it is.
        name: of the store.
        timeout: seconds that a question may take.
        cache_seconds: how long a yes is remembered; 0 is not at all.
        cache_entries: how many at once.
        connections: to the service at once.
        iterations: SCRAM iteration count of accounts: it has no verifiers, but the names that it knows look alike.
    """

    is_told_addresses: ClassVar[bool] = False
    """Whether an answer may hang on where somebody comes from; then a yes counts for that address alone."""

    def __init__(
        self,
        place: str,
        keys: Keys,
        clock: Clock,
        *,
        name: str,
        timeout: float,
        cache_seconds: float,
        cache_entries: int,
        connections: int,
        iterations: int,
    ) -> None:
        self.name = name
        self._place, self._clock = place, clock
        self._timeout, self._connections, self._iterations = timeout, connections, iterations
        self._cache_seconds, self._cache_entries = cache_seconds, cache_entries
        self._decoys = Decoys(keys)
        self._key = keys.derive(f"{type(self).__name__} answers")
        self._opened: OrderedDict[bytes, tuple[float, Checked]] = OrderedDict()
        self._accounts: OrderedDict[str, tuple[float, Account]] = OrderedDict()
        self._waiting = 0
        self._problem = ""
        self._probed_at: float | None = None
        self._probing: set[asyncio.Task[None]] = set()
        self._surveyed_at: float | None = None

    @abc.abstractmethod
    async def _ask(self, nobody: Account, password: Secret | None, peer: Peer | None) -> Checked | None:
        """Ask whose name and *password* that is, or whose the name is; *nobody* is an account without facts.

        Args:
            nobody: has the name.
            password: as it came over the wire; None only asks whose the name is.
            peer: who brought the password.

        Raises:
            OSError: the service cannot be asked.
            ValueError: it answered with what is no answer.
            StoreUnavailable: nothing can be said of this one; the service is there for all others.
        """

    async def find(self, login: str) -> Account | None:
        """Return the account with that prepared name, as it was `cache_seconds` ago at most."""
        known = self._accounts.get(login)
        if known is not None and self._clock.monotonic() < known[0]:
            return known[1]
        if self._problem:
            # Who asks without a password asks for many names in turn; the probe will tell when that makes sense again.
            raise StoreUnavailable(self._problem)
        checked = await self._question(login, None)
        if checked is None:
            self._accounts.pop(login, None)
            return None
        self._remember(self._accounts, login, checked.account)
        return checked.account

    async def check(self, login: str, password: Secret, peer: Peer | None = None) -> Checked | None:
        """Have the service check the password of a prepared name; None if nobody has that name."""
        tag = self._tag(login, password, peer.address if peer is not None and self.is_told_addresses else "")
        known = self._opened.get(tag)
        if known is not None and self._clock.monotonic() < known[0]:
            self._opened.move_to_end(tag)
            return known[1]
        checked = await self._question(login, password, peer)
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
        """Let go of what is open."""
        for task in self._probing:
            task.cancel()

    def _tag(self, login: str, password: Secret, address: str) -> bytes:
        hashed = hashlib.blake2b(key=self._key, digest_size=32)
        for part in (login.encode(), password.reveal(), address.encode()):
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
        if self._probing or (self._probed_at is not None and now - self._probed_at < _PROBE_SECONDS):
            return
        self._probed_at = now
        task = asyncio.create_task(self._try())
        self._probing.add(task)
        task.add_done_callback(self._probing.discard)

    async def _try(self) -> None:
        try:
            await self._question(_PROBE, None)
        except StoreUnavailable as error:
            self._problem = str(error)

    async def _question(self, login: str, password: Secret | None, peer: Peer | None = None) -> Checked | None:
        if self._waiting >= self._connections * _WAITING_PER_CONNECTION:
            raise StoreUnavailable(f"{self._place}: too many questions wait for an answer")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._timeout):
                nobody = Account(login, self._decoys.salt(login), self._iterations)
                checked = await self._ask(nobody, password, peer)
        except TimeoutError:
            self._problem = f"{self._place}: no answer within {self._timeout:g} seconds"
        except (OSError, ValueError) as error:
            self._problem = f"{self._place}: {error}"
        else:
            self._problem = ""
            return checked
        finally:
            self._waiting -= 1
        raise StoreUnavailable(self._problem)
