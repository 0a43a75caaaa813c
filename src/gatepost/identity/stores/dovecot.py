"""Dovecot's auth service, asked for logins: it checks passwords (``AUTH``), and says who its users are (``USER``).

Passwords go to the socket that Postfix asks, too (auth-client).  Without the other one (auth-userdb) names are known by
their logins alone: it cannot be told whether a name or its password was wrong, and nothing is said of a name without a
password.  What a user may do stands in extra fields (`gatepost.identity.stores.extra_fields`).
"""

from __future__ import annotations

import base64
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Final

from gatepost.errors import Malformed, StoreUnavailable
from gatepost.identity.store import Account, Checked
from gatepost.identity.stores.dovecot_service import Address, Answer, DovecotService, escape
from gatepost.identity.stores.extra_fields import ExtraFields
from gatepost.identity.stores.remote import RemoteStore
from gatepost.model.clock import Clock
from gatepost.model.identity import Secret
from gatepost.model.peer import Peer, plain_address
from gatepost.sasl.prepare import prepare_name
from gatepost.state.keys import Keys

__all__ = ["DovecotStore"]

# It answers many questions on one connection; how many may wait hangs on this.
_AS_IF_CONNECTIONS: Final = 64
# A longer line is not read by Dovecot.
_LINE_LIMIT: Final = 8000
_PASSWORD: Final = "password"  # noqa: S105 - the id of a credential
_OUR_FIELDS: Final = frozenset({"password"})
_IS_TEMPORARY: Final = frozenset({"temp", "code=temp_fail"})


class DovecotStore(RemoteStore):
    """The auth service at *address*; what is not explained here is with `RemoteStore`.

    Args:
        address: of its auth-client.
        userdb: its auth-userdb; None to ask for nothing but passwords.
        timeout: longer than Dovecot holds back a no.
        cache_entries: how many users are remembered; with no *userdb*, all who are logged in should have room.
    """

    is_told_addresses: ClassVar[bool] = True

    def __init__(
        self,
        address: Address,
        keys: Keys,
        clock: Clock,
        *,
        name: str = "dovecot",
        userdb: Path | None = None,
        timeout: float = 5.0,
        cache_seconds: float = 60.0,
        cache_entries: int = 10_000,
        iterations: int = 15_000,
    ) -> None:
        # Dovecot knows its clients by their process; of workers in containers all might be process 1.
        process = secrets.randbelow((1 << 31) - 1) + 1
        self._auth = DovecotService(address, f"VERSION\t1\t1\nCPID\t{process}\n", "DONE", "MECH\tPLAIN")
        self._userdb = DovecotService(userdb, "VERSION\t1\t1\n", "SPID") if userdb is not None else None
        super().__init__(
            str(self._auth),
            keys,
            clock,
            name=name,
            timeout=timeout,
            cache_seconds=cache_seconds,
            cache_entries=cache_entries,
            connections=_AS_IF_CONNECTIONS,
            iterations=iterations,
        )
        self._seen: OrderedDict[str, Account] = OrderedDict()

    async def find(self, login: str) -> Account | None:
        """Return the account with that prepared name, as it was `cache_seconds` ago at most.

        With nobody to ask it is as it was at their last login: whoever is logged in must not be taken for nobody.
        """
        if self._userdb is not None:
            return await super().find(login)
        if login not in self._seen:
            raise StoreUnavailable(f"{self._place}: says nothing of a name without a password; give userdb_socket")
        return self._seen[login]

    def close(self) -> None:
        """Let go of the connections."""
        super().close()
        self._auth.close()
        if self._userdb is not None:
            self._userdb.close()

    async def _ask(self, nobody: Account, password: Secret | None, peer: Peer | None) -> Checked | None:
        if password is None:
            await self._auth.connect()
            if self._userdb is None:  # to see whether it is back
                await self._judge(nobody.login, Secret(b"probe"), None)
                return None
            account = await self._look_up(nobody)
            return Checked(account, None) if account is not None else None
        answer = await self._judge(nobody.login, password, peer)
        if answer is not None and answer.kind == "OK" and "nologin" not in answer.words:
            account = await self._account_of(nobody, answer)
            if account is not None:
                return Checked(account, next(iter(account.credentials), None))
        elif self._userdb is not None:
            account = await self._look_up(nobody)
            return Checked(account, None) if account is not None else None
        # It does not say whether it knows the name.
        return Checked(nobody, None)

    async def _judge(self, login: str, password: Secret, peer: Peer | None) -> Answer | None:
        """Return OK or FAIL; None for a password that Dovecot could not even read."""
        response = base64.b64encode(b"\0" + login.encode() + b"\0" + password.reveal()).decode()
        # Failures are counted here, by address: Dovecot's penalty would hold up everybody else behind it.
        words = ["PLAIN", "service=smtp", "nologin", "no-penalty"]
        if peer is not None:
            if peer.tls is not None:
                words.append("secured")
            words += [f"rip={escape(plain_address(peer.address).partition('%')[0])}", f"rport={peer.port}"]
        line = "\t".join([*words, f"resp={response}"])
        if b"\0" in password.reveal() or len(line) > _LINE_LIMIT:
            return None
        return _judged(await self._auth.ask("AUTH", line), ("OK", "FAIL"))

    async def _account_of(self, nobody: Account, answer: Answer) -> Account | None:
        """Return whose password was right: Dovecot may know them by another name than the one that they gave."""
        name = next((each.partition("=")[2] for each in answer.words if each.startswith("user=")), nobody.login)
        if self._userdb is not None:
            return await self._look_up(replace(nobody, login=_prepared(name)))
        account = _read(nobody, name, answer.words)
        self._seen[account.login] = account
        self._seen.move_to_end(account.login)
        if len(self._seen) > self._cache_entries:
            self._seen.popitem(last=False)
        return account

    async def _look_up(self, nobody: Account) -> Account | None:
        """Ask who has a name."""
        assert self._userdb is not None
        if not nobody.login or len(nobody.login.encode()) > _LINE_LIMIT // 2:
            return None
        words = f"{escape(nobody.login)}\tservice=smtp"
        answer = _judged(await self._userdb.ask("USER", words), ("USER", "NOTFOUND", "FAIL"))
        # A FAIL that is not temporary is somebody who may not come in.
        if answer.kind != "USER":
            return None
        return _read(nobody, answer.words[0] if answer.words else "", answer.words[1:])


def _judged(answer: Answer, kinds: Sequence[str]) -> Answer:
    """Return *answer*, if it is of one of the *kinds*, and a judgement; raise ValueError if not."""
    if answer.kind not in kinds:
        raise ValueError(f"answered with {ascii(answer.kind)[:20]}")
    if answer.kind == "FAIL" and not _IS_TEMPORARY.isdisjoint(answer.words):
        raise ValueError("has a trouble of its own; see the log of Dovecot")
    return answer


def _read(nobody: Account, name: str, words: Sequence[str]) -> Account:
    """Return the account that an answer describes; raise StoreUnavailable, for this user alone, if that cannot be."""
    account = replace(nobody, login=_prepared(name))
    try:
        extras = ExtraFields(words, _OUR_FIELDS)
        account = extras.account(account.login, nobody.salt, nobody.iterations)
        if extras.flag("password") is False:
            return account
        return replace(account, credentials=(extras.credential(_PASSWORD, {}),))
    except ValueError as error:
        # Not a trouble of Dovecot's: the others are asked for as before.
        raise StoreUnavailable(f"user {ascii(name)[:100]} {error}") from None


def _prepared(name: str) -> str:
    try:
        return prepare_name(name)
    except Malformed:
        raise StoreUnavailable(f"knows a user {ascii(name)[:100]}, which is no name") from None
