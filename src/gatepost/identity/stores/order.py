"""All stores, asked in their order: the first that knows a name speaks for it; and which of them are away.

While a store is away, a name that the others do not know may be one of its own: nobody can say no to it.  That it is so
must not tell which names the others do know, so every no is left open meanwhile (`Found.doubt`), and a yes counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from gatepost.errors import StoreUnavailable
from gatepost.identity.renewal import RenewingStore
from gatepost.identity.store import Account, CertificateStore, Credential, PasswordStore, Store
from gatepost.model.identity import Secret
from gatepost.model.peer import Peer
from gatepost.observe.events import Event, StoreAway, StoreBack

__all__ = ["Found", "StoresInOrder"]


class Found(NamedTuple):
    """What the stores say of a name.

    Args:
        account: whose it is; None for nobody, as far as is known.
        doubt: which stores are away; empty if none is.
        is_checked: whether the store has checked the password itself.
        opened: the credential that the password opened then; None is a no.
        keeper: the store that knows the name, if it can make verifiers anew.
    """

    account: Account | None
    doubt: str = ""
    is_checked: bool = False
    opened: Credential | None = None
    keeper: RenewingStore | None = None


class StoresInOrder:
    """The stores of an authority.

    Args:
        stores: in the order in which they are asked.
        emit: hears that one is away, and that it is back.
    """

    def __init__(self, stores: Sequence[Store], emit: Callable[[Event], None] | None = None) -> None:
        self._stores = tuple(stores)
        # Asked once: of a protocol it takes longer than to look a name up.
        self._checking = {number: each for number, each in enumerate(stores) if isinstance(each, PasswordStore)}
        self._renewing = {number: each for number, each in enumerate(stores) if isinstance(each, RenewingStore)}
        self._holding = {number: each for number, each in enumerate(stores) if isinstance(each, CertificateStore)}
        self._emit = emit
        self._away: dict[int, str] = {}

    def __iter__(self) -> Iterator[Store]:
        return iter(self._stores)

    @property
    def away(self) -> tuple[str, ...]:
        """Names of the stores that could not be asked when they were last."""
        return tuple([self._stores[number].name for number in sorted(self._away)])

    def is_away(self, number: int, error: StoreUnavailable) -> None:
        """Note that a store could not be asked."""
        if number not in self._away:
            self._away[number] = str(error)
            if self._emit is not None:
                self._emit(StoreAway(self._stores[number].name, str(error)))

    def is_back(self, number: int) -> None:
        """Note that a store could be asked."""
        if self._away.pop(number, None) is not None and self._emit is not None:
            self._emit(StoreBack(self._stores[number].name))

    async def find(self, login: str) -> Account | None:
        """Return the account with that prepared name.

        Raises:
            StoreUnavailable: nobody can say who that is, as a store that may know is away.
        """
        found = await self.look(login)
        if found.account is None and found.doubt:
            raise StoreUnavailable(found.doubt)
        return found.account

    async def look(self, login: str, password: Secret | None = None, peer: Peer | None = None) -> Found:
        """Look a prepared name up; have its *password* checked, too, by a store that does so itself.

        Args:
            login: the name.
            password: as it came over the wire; None only looks.
            peer: who asks.

        Raises:
            StoreUnavailable: the first store is away, so that nothing can be said of any name.
        """
        for number, store in enumerate(self._stores):
            try:
                checking = self._checking.get(number)
                if password is not None and checking is not None:
                    checked = await checking.check(login, password, peer)
                    found = Found(checked.account, "", True, checked.credential) if checked is not None else None
                else:
                    account = await store.find(login)
                    keeper = self._renewing.get(number)
                    found = Found(account, "", False, None, keeper) if account is not None else None
            except StoreUnavailable as error:
                self.is_away(number, error)
                if not number:
                    raise
                # Those after it are not asked: it would have spoken first.
                break
            # One that checks passwords itself may have answered out of its memory.
            if self._away and not isinstance(store, PasswordStore):
                self.is_back(number)
            if found is not None:
                return found if not self._away else found._replace(doubt=self._doubt())
        return Found(None, self._doubt())

    async def holder(self, fingerprint: str) -> str:
        """Return whose credential a client certificate is, by prepared name; empty for nobody's.

        Raises:
            StoreUnavailable: a store is away that may hold it, perhaps as one that was revoked.
        """
        for number, store in self._holding.items():
            try:
                login = await store.holder(fingerprint)
            except StoreUnavailable as error:
                self.is_away(number, error)
                raise
            if login is not None:
                return login
        return ""

    def close(self) -> None:
        """Let go of what is open."""
        for store in self._stores:
            store.close()

    def _doubt(self) -> str:
        if not self._away:
            return ""
        return "; ".join([f"store {self._stores[number].name} away: {why}" for number, why in self._away.items()])
