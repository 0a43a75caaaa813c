"""Make verifiers anew that are not as they would be made today: at a login, beside it, when the password is at hand.

    a hash that another program made          becomes what a chosen secret keeps
    an argon2id hash of another cost          is made with today's
    SCRAM records with too few iterations     are made with today's count; those of one account move together

The login does not wait for it, and nothing is lost when it does not come about: the next login tries again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from gatepost.errors import StoreUnavailable
from gatepost.identity.decoys import Decoys
from gatepost.identity.passwords import HashingPool
from gatepost.identity.sealing import Sealer
from gatepost.identity.store import ARGON2ID, HASH, HMAC_MD5, SCRAM_SCHEMES, Account, Credential
from gatepost.identity.verifiers import Argon2, make
from gatepost.model.identity import Secret
from gatepost.observe.events import CredentialRenewed, Event
from gatepost.sasl.prepare import password_forms
from gatepost.sasl.scram import derive, parse_record
from gatepost.state.keys import Keys

__all__ = ["Renewal", "Renewals", "RenewingStore", "next_scheme"]

_WAITING_LIMIT: Final = 256
# Of longer passwords these schemes look at a part only: what somebody mistyped behind it must not become the password.
_TRUNCATING: Final = {b"{BLF-CRYPT}": 72, b"{DES-CRYPT}": 8}
_IMPORTED_STATES: Final = b"{CRAM-MD5}"

_log = logging.getLogger("gatepost.identity")


def next_scheme(scheme: str) -> str:
    """Return the scheme of a record that waits until all of its account can be used with the new count."""
    return f"{scheme} (next)"


@dataclass(frozen=True, slots=True)
class Renewal:
    """A change of verifiers; it holds only if nothing of what it is made of has changed meanwhile.

    Args:
        account: as it was at the login.
        credential: that was used.
        made: verifiers to write down, by scheme.
        gone: schemes of rows that go.
        salt: of the account, from now on.
        iterations: of the account, from now on; if that is new, *made* waits for the other records of the account.
    """

    account: Account
    credential: Credential
    made: Mapping[str, Secret]
    gone: Collection[str]
    salt: bytes
    iterations: int

    @property
    def moves(self) -> bool:
        """Whether salt and count of the account change."""
        return (self.salt, self.iterations) != (self.account.salt, self.account.iterations)


@runtime_checkable
class RenewingStore(Protocol):
    """A store whose verifiers can be made anew."""

    async def renew(self, renewal: Renewal) -> bool:
        """Write *renewal* down; tell whether it was.  Raises `StoreUnavailable`."""
        ...


class Renewals:
    """Makes verifiers anew, one after the other.

    Args:
        pool: in which to hash.
        keys: of the node.
        mechanisms: those that are on.
        iterations: SCRAM iteration count of new records.
        argon2: cost of argon2id for new hashes.
        emit: hears of what was done.
    """

    def __init__(
        self,
        pool: HashingPool,
        keys: Keys,
        mechanisms: Collection[str],
        iterations: int,
        argon2: Argon2,
        emit: Callable[[Event], None],
    ) -> None:
        self._pool = pool
        self._decoys = Decoys(keys)
        self._sealer = Sealer(keys)
        self._mechanisms = tuple(mechanisms)
        self._iterations = iterations
        self._argon2 = argon2
        self._emit = emit
        self._waiting: dict[tuple[int, str], tuple[RenewingStore, Account, Credential, Secret]] = {}
        self._task: asyncio.Task[None] | None = None

    def is_due(self, account: Account, credential: Credential) -> bool:
        """Tell whether verifiers of *credential* should be made anew."""
        return HASH in credential.verifiers or (
            account.iterations < self._iterations and self._is_behind(account, credential)
        )

    def ask(self, store: RenewingStore, account: Account, credential: Credential, password: Secret) -> None:
        """Make them anew, soon; nothing waits for it.

        Args:
            store: that holds the account.
            account: as it was when the password was checked.
            credential: which it opened.
            password: as it came over the wire.
        """
        key = id(store), credential.id
        if key in self._waiting or len(self._waiting) >= _WAITING_LIMIT:
            return
        self._waiting[key] = store, account, credential, password
        if self._task is None:
            self._task = asyncio.create_task(self._work())

    async def settled(self) -> None:
        """Wait until nothing waits."""
        while self._task is not None:
            await asyncio.wait([self._task])

    def close(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()

    async def _work(self) -> None:
        try:
            while self._waiting:
                key, (store, account, credential, password) = next(iter(self._waiting.items()))
                try:
                    await self._renew(store, account, credential, password)
                except StoreUnavailable as error:
                    _log.info("verifier not made anew", extra={"credential": credential.id, "problem": str(error)})
                finally:
                    self._waiting.pop(key, None)
        finally:
            self._task = None

    async def _renew(self, store: RenewingStore, account: Account, credential: Credential, password: Secret) -> None:
        renewal = await self._pool.run(lambda: self._make(account, credential, password))
        if renewal is not None and await store.renew(renewal):
            self._emit(
                CredentialRenewed(
                    account.login, credential.id, credential.label, _kind(credential), tuple(sorted(renewal.made))
                )
            )

    def _make(self, account: Account, credential: Credential, password: Secret) -> Renewal | None:
        secret = Secret(password_forms(password.reveal())[0])
        if HASH not in credential.verifiers:
            salt = self._decoys.salt(account.login)
            held = [each for each in SCRAM_SCHEMES if each in credential.verifiers]
            records = {each: derive(secret.reveal(), salt, self._iterations, each) for each in held}
            made = {each: Secret(record.encode()) for each, record in records.items()}
            return Renewal(account, credential, made, (), salt, self._iterations)
        old = credential.verifiers[HASH].reveal()
        if any(old.startswith(each) and len(password.reveal()) > limit for each, limit in _TRUNCATING.items()):
            return None
        allowed = [each for each in self._mechanisms if not credential.mechanisms or each in credential.mechanisms]
        made = make(
            secret,
            is_chosen=True,
            mechanisms=allowed,
            salt=account.salt,
            iterations=account.iterations,
            argon2=self._argon2,
        )
        if not made:
            return None
        if HMAC_MD5 in made:
            made[HMAC_MD5] = Secret(self._sealer.seal(credential.id, HMAC_MD5, made[HMAC_MD5]))
        gone = (HASH, ARGON2ID, HMAC_MD5) if old.startswith(_IMPORTED_STATES) else (HASH, ARGON2ID)
        return Renewal(account, credential, made, gone, account.salt, account.iterations)

    def _is_behind(self, account: Account, credential: Credential) -> bool:
        """Tell whether its records are yet to be made, or could take their place by now."""
        if not any(each in credential.verifiers for each in SCRAM_SCHEMES):
            return False
        # With a canary the account never moves: nobody brings its secret, and it must be known when somebody does.
        standing = [each for each in account.credentials if each.revoked is None]
        return not self._is_ready(credential) or all(map(self._is_ready, standing))

    def _is_ready(self, credential: Credential) -> bool:
        for scheme in SCRAM_SCHEMES:
            if scheme in credential.verifiers:
                made = credential.verifiers.get(next_scheme(scheme))
                if made is None or parse_record(made.reveal().decode()).iterations != self._iterations:
                    return False
        return True


def _kind(credential: Credential) -> str:
    """Return the scheme of what was there, for the log."""
    text = credential.verifiers.get(HASH)
    return text.reveal().decode().partition("}")[0][1:] if text is not None else "SCRAM"
