"""Extra fields of a user as Dovecot has them: ``allow_nets``, ``nologin``, and those of ours, ``gatepost_…=``.

They stand in the eighth field of a passwd-file's line, and in what Dovecot's auth service answers.  Each of ours must
be known: one that was passed over could have been a restriction.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeVar
from urllib.parse import unquote

from gatepost.errors import Malformed
from gatepost.identity.store import Account, Credential
from gatepost.model.identity import Secret, SenderPattern, parse_sender_pattern

__all__ = ["ACCOUNT_FIELDS", "ExtraFields"]

T = TypeVar("T")

ACCOUNT_FIELDS: Final = frozenset(
    {"senders", "disabled", "max_message_bytes", "max_recipients", "null_sender"},
)
"""Those of ours that say something of the account, without ``gatepost_``."""
_CREDENTIAL_FIELDS: Final = frozenset(
    {"recipients", "messages_per_minute", "not_before"}
    | {"credential", "mechanisms", "listeners", "only_senders", "expires", "revoked", "sandbox"}
)


class ExtraFields:
    """The extra fields of a user.

    Args:
        texts: each as ``name=value`` or ``name``.
        known: names of more fields of ours, which only one kind of store has.

    Raises:
        ValueError: one of ours is not known, or is there twice.
    """

    def __init__(self, texts: Iterable[str], known: frozenset[str] = frozenset()) -> None:
        ours: dict[str, str] = {}
        self._networks = ""
        self.is_without_login = False
        for text in texts:
            name, _, value = text.partition("=")
            if name == "allow_nets":
                self._networks = value
                if not value:
                    raise ValueError("has an empty allow_nets; write networks, or remove it")
            elif name == "nologin":
                self.is_without_login = True
            elif name.startswith("gatepost_"):
                key = name.removeprefix("gatepost_")
                if key not in ACCOUNT_FIELDS | _CREDENTIAL_FIELDS | known:
                    raise ValueError(f"has the field gatepost_{ascii(key)[1:-1][:30]}, which is none of gatepost's")
                if key in ours:
                    raise ValueError(f"has the field {name} twice")
                ours[key] = unquote(value)
        self._ours: Mapping[str, str] = ours

    def account(self, login: str, salt: bytes, iterations: int) -> Account:
        """Return the account that they describe, without credentials: one that is an address may write as itself."""
        senders = self.senders("senders")
        if senders is None:
            try:
                senders = (parse_sender_pattern(login),) if "@" in login else ()
            except Malformed:
                senders = ()
        reason = self.text("disabled")
        return Account(
            login,
            salt,
            iterations,
            is_active=reason is None and not self.is_without_login,
            state_reason=(reason or "") if not self.is_without_login else "nologin",
            senders=senders,
            max_message_bytes=self.number("max_message_bytes"),
            max_recipients=self.number("max_recipients"),
            null_sender=self.flag("null_sender"),
        )

    def credential(self, identifier: str, verifiers: Mapping[str, Secret]) -> Credential:
        """Return the credential that they restrict."""
        return Credential(
            identifier,
            self.text("credential") or "",
            verifiers,
            mechanisms=self.words("mechanisms"),
            listeners=self.words("listeners"),
            networks=self.networks(),
            senders=self.senders("only_senders") or (),
            recipients=self.senders("recipients") or (),
            messages_per_minute=self.number("messages_per_minute"),
            not_before=self.moment("not_before"),
            expires=self.moment("expires"),
            revoked=self.moment("revoked"),
            sandbox=bool(self.flag("sandbox")),
        )

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._ours)

    def text(self, name: str) -> str | None:
        return self._ours.get(name)

    def words(self, name: str) -> frozenset[str]:
        return frozenset(each for each in self._ours.get(name, "").split(",") if each)

    def number(self, name: str) -> int | None:
        return self._read(name, _whole, "a whole number above 0")

    def flag(self, name: str) -> bool | None:
        return self._read(name, lambda text: {"": True, "yes": True, "no": False}[text], "yes or no")

    def moment(self, name: str) -> float | None:
        return self._read(name, _moment, "a time in UTC such as 2027-12-31T12:00:00")

    def senders(self, name: str) -> tuple[SenderPattern, ...] | None:
        return self._read(name, _senders, "addresses, *@domain or *, between commas")

    def networks(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        try:
            return tuple(ipaddress.ip_network(each) for each in self._networks.split(",") if each)
        except ValueError:
            raise ValueError("has something else than networks in allow_nets; write such as 192.0.2.0/24") from None

    def _read(self, name: str, read: Callable[[str], T], what: str) -> T | None:
        value = self._ours.get(name)
        if value is None:
            return None
        try:
            return read(value)
        except (ValueError, KeyError, OverflowError):
            raise ValueError(f"has no proper gatepost_{name}; write {what}") from None


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or not 0 < int(text) < 1 << 62:
        raise ValueError(text)
    return int(text)


def _moment(text: str) -> float:
    moment = dt.datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()


def _senders(text: str) -> tuple[SenderPattern, ...]:
    return tuple(parse_sender_pattern(each) for each in text.split(",") if each)
