"""A directory (LDAP): the entry of a login is looked up as the service account, and the password is tried with a bind.

A name that nobody has takes the same steps as a wrong password: a bind is tried for it, too, with an entry that is not
there and a password that was not given.
"""

from __future__ import annotations

import dataclasses
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from gatepost.identity.ldap.directory import INVALID_NAME, NO_SUCH_OBJECT, Directory
from gatepost.identity.ldap.filter import Filter, parse_filter
from gatepost.identity.ldap.messages import Entry
from gatepost.identity.ldap.names import named
from gatepost.identity.ldap.server import Server
from gatepost.identity.store import Account, Checked
from gatepost.identity.stores.ldap_account import AttributeNames, account_of
from gatepost.identity.stores.remote import RemoteStore
from gatepost.model.clock import Clock
from gatepost.model.identity import Secret
from gatepost.model.peer import Peer
from gatepost.observe.events import Event, StoreAmbiguous
from gatepost.state.keys import Keys

__all__ = ["ANY_ENTRY", "LdapStore", "Where"]

ANY_ENTRY: Final = "(objectClass=*)"
"""The filter that every entry fits."""


@dataclass(frozen=True, slots=True)
class Where:
    """Where the entry of a login is.

    Args:
        base: what the search begins at; with a template, nothing.
        scope: how far below the base: "base", "one" or "sub".
        filter: which entry it is, with ``{login}``; with a template, what else must hold of it.
        template: the entry's distinguished name, with ``{login}``; then nothing is searched for.
    """

    base: str = ""
    scope: str = "sub"
    filter: Filter = field(default_factory=lambda: parse_filter(ANY_ENTRY))
    template: str = ""


class LdapStore(RemoteStore):
    """The directory on *servers*; what is not explained here is with `RemoteStore`.

    Args:
        servers: those that hold the same entries; tried in turn.
        where: where the entries are.
        context: TLS with ldaps, and with ldap if it begins TLS; None for a directory on this machine.
        starts_tls: whether ldap begins TLS.
        service: name and password of the service account; None to look entries up anonymously.
        attributes: which attribute says what.
        emit: hears of a login that several entries have.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        where: Where,
        keys: Keys,
        clock: Clock,
        *,
        name: str = "ldap",
        context: ssl.SSLContext | None = None,
        starts_tls: bool = True,
        service: tuple[str, Secret] | None = None,
        attributes: AttributeNames | None = None,
        emit: Callable[[Event], None] | None = None,
        timeout: float = 3.0,
        cache_seconds: float = 60.0,
        cache_entries: int = 10_000,
        connections: int = 10,
        iterations: int = 15_000,
    ) -> None:
        super().__init__(
            "directory",
            keys,
            clock,
            name=name,
            timeout=timeout,
            cache_seconds=cache_seconds,
            cache_entries=cache_entries,
            connections=connections,
            iterations=iterations,
        )
        self._where = where
        self._attributes = attributes or AttributeNames()
        self._wanted = self._attributes.wanted
        self._emit = emit
        # One of several servers that says nothing leaves the others their share of the time.
        share = timeout / max(1, len(servers))
        self._directory = Directory(
            servers, context, starts_tls=starts_tls, service=service, timeout=share, connections=connections
        )
        self._nobody = Secret(self._key.hex()[:16].encode())

    def close(self) -> None:
        """Let go of the connections."""
        super().close()
        self._directory.close()

    async def _ask(self, nobody: Account, password: Secret | None, peer: Peer | None) -> Checked | None:  # noqa: ARG002
        entries = await self._look_up(nobody.login)
        # RFC 4518 §2.6.1: a directory sees no spaces around a value, and one for several: limits would count by each.
        if "" in nobody.login.split(" "):
            entries = []
        account, name, tried = None, self._decoy_name(nobody.login), self._nobody
        if len(entries) == 1:
            account = account_of(entries[0].values, self._attributes, nobody)
            # RFC 4513 §5.1.2: an empty password is refused before it gets into a bind.
            if password:
                name, tried = entries[0].name, password
        elif entries:
            # Nobody can tell whose password it would be, nor whose mail.
            reason = "several entries in the directory have this login"
            account = dataclasses.replace(nobody, is_active=False, state_reason=reason)
            if self._emit is not None:
                self._emit(StoreAmbiguous(self.name, nobody.login))
        if password is not None:
            is_right = await self._directory.opens(name, tried)
            if account is not None and is_right and tried is password and account.credentials:
                return Checked(account, account.credentials[0])
        return Checked(account, None) if account is not None else None

    async def _look_up(self, login: str) -> list[Entry]:
        where = self._where
        written = where.filter.written(login)
        if not where.template:
            return await self._directory.search(where.base, where.scope, written, self._wanted)
        # There may be no such name, or a login may make none: that is nobody, and no trouble of the directory.
        return await self._directory.search(
            named(where.template, login), "base", written, self._wanted, (NO_SUCH_OBJECT, INVALID_NAME)
        )

    def _decoy_name(self, login: str) -> bytes:
        if self._where.template:
            return named(self._where.template, login + self._nobody.reveal().decode()).encode()
        return f"cn={self._nobody.reveal().decode()},{self._where.base}".rstrip(",").encode()
