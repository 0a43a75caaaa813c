"""What the attributes of an entry in a directory say of an account (`gatepost.identity.stores.ldap`).

A value that cannot be read may be a restriction that must not be passed over: the account is disabled then, and the
reason says which attribute it was.  A sender that cannot be read is just none.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from gatepost.errors import Malformed
from gatepost.identity.store import Account, Credential
from gatepost.model.identity import SenderPattern, parse_sender_pattern
from gatepost.sasl.prepare import prepare_name

__all__ = ["PASSWORD", "AttributeNames", "account_of"]

T = TypeVar("T")

PASSWORD: Final = "password"  # noqa: S105 - the id of a credential
"""Id of the one credential that an entry has."""

_FALSE: Final = frozenset(("false", "no", "0", "active", "enabled"))
_TRUE: Final = frozenset(("true", "yes", "1"))
_TEXT_LIMIT: Final = 200
_VALUES_LIMIT: Final = 1000
# RFC 4517 §3.3.13: YYYYMMDDHH[MM[SS]][.fraction](Z or +hhmm).
_GENERALIZED: Final = re.compile(r"(\d{10})(\d\d)?(\d\d)?(?:[.,](\d+))?(?:Z|([+-])(\d\d)(\d\d)?)", re.ASCII)
_NUMBER: Final = re.compile(r"-?\d{1,19}", re.ASCII)
_DAY: Final = 86_400.0
_SECONDS_LIMIT: Final = 10**11
# Active Directory counts in 100 ns since 1601, and writes "never" in two ways.
_FILETIME_EPOCH: Final = 11_644_473_600
_FILETIME_NEVER: Final = (0, (1 << 63) - 1)
_ACCOUNT_DISABLE: Final = 0x2


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeNames:
    """Which attribute says what; empty for nothing that does.

    Args:
        login: what the account is called, whichever of its logins was given.
        senders: whom the account may write as; each value is one, and ``smtp:`` before it is left out.
        disabled: that the account may not be used, and why; `userAccountControl` is read as Active Directory means it.
        password: without it the entry has no password.
        label: what the credential is called.
        not_before: when it begins.
        expires: when it ends.
        mechanisms: the only ones it may be used with.
        listeners: the only ones it may come in by.
        networks: the only ones it may come from.
        only_senders: what it narrows the account's senders to.
        recipients: whom it may write to.
        messages_per_minute: how many messages it may send in a minute.
        sandbox: whether its mail goes to the sandbox only.
        max_message_bytes: the account's own limit.
        max_recipients: the account's own limit a message.
        null_sender: whether the account may use the null reverse-path.
    """

    login: str = ""
    senders: tuple[str, ...] = ("mail", "mailAlternateAddress")
    disabled: str = ""
    password: str = ""
    label: str = ""
    not_before: str = ""
    expires: str = ""
    mechanisms: str = ""
    listeners: str = ""
    networks: str = ""
    only_senders: str = ""
    recipients: str = ""
    messages_per_minute: str = ""
    sandbox: str = ""
    max_message_bytes: str = ""
    max_recipients: str = ""
    null_sender: str = ""

    @property
    def wanted(self) -> tuple[str, ...]:
        """All that a search has to ask for."""
        single = [str(getattr(self, each.name)) for each in dataclasses.fields(self) if each.name != "senders"]
        # RFC 4511 §4.5.1.8: "1.1" asks for no attribute; an empty list would ask for all.
        return tuple(dict.fromkeys([each for each in (*self.senders, *single) if each])) or ("1.1",)


def account_of(values: Mapping[str, Sequence[bytes]], names: AttributeNames, nobody: Account) -> Account:
    """Return the account that an entry describes.

    Args:
        values: of its attributes, by name in lower case.
        names: which attribute says what.
        nobody: an account with the login that was asked for, and no facts.
    """
    read = _Reader(values)
    credential = Credential(
        PASSWORD,
        read.one(names.label, _text) or "",
        mechanisms=frozenset(read.all(names.mechanisms, str.upper)),
        listeners=frozenset(read.all(names.listeners, _text)),
        networks=tuple(read.all(names.networks, ipaddress.ip_network)),
        senders=tuple(read.all(names.only_senders, parse_sender_pattern)),
        recipients=tuple(read.all(names.recipients, parse_sender_pattern)),
        messages_per_minute=read.one(names.messages_per_minute, _positive),
        not_before=read.one(names.not_before, _moment(names.not_before)),
        expires=read.one(names.expires, _moment(names.expires)),
        sandbox=read.one(names.sandbox, _flag) is True,
    )
    has_password = not names.password or bool(values.get(names.password.lower()))
    account = dataclasses.replace(
        nobody,
        login=_name(read, names.login) or nobody.login,
        senders=_senders(values, names.senders),
        max_message_bytes=read.one(names.max_message_bytes, _positive),
        max_recipients=read.one(names.max_recipients, _positive),
        null_sender=read.one(names.null_sender, _flag),
        credentials=(credential,) if has_password else (),
    )
    is_active, reason = _state(read, names.disabled)
    if read.problem:
        is_active, reason = False, read.problem
    return dataclasses.replace(account, is_active=is_active, state_reason=reason)


class _Reader:
    """Reads values, and remembers the first that cannot be read."""

    def __init__(self, values: Mapping[str, Sequence[bytes]]) -> None:
        self._values = values
        self.problem = ""

    def all(self, name: str, read: Callable[[str], T]) -> list[T]:
        """Read each value of an attribute."""
        found: list[T] = []
        for each in self._values.get(name.lower(), ())[:_VALUES_LIMIT] if name else ():
            try:
                found.append(read(each.decode().strip()))
            except (ValueError, OverflowError):
                self.problem = self.problem or f"{name} in the directory has a value that cannot be read"
        if name and len(self._values.get(name.lower(), ())) > _VALUES_LIMIT:
            self.problem = self.problem or f"{name} in the directory has too many values"
        return found

    def one(self, name: str, read: Callable[[str], T | None]) -> T | None:
        """Read the value of an attribute that may have one."""
        found = self.all(name, read)
        if len(found) > 1:
            self.problem = self.problem or f"{name} in the directory has several values"
        return found[0] if found else None


def _name(read: _Reader, name: str) -> str | None:
    found = read.one(name, prepare_name)
    if name and found is None:
        read.problem = read.problem or f"{name} in the directory has no value"
    return found


def _senders(values: Mapping[str, Sequence[bytes]], names: Sequence[str]) -> tuple[SenderPattern, ...]:
    found: dict[SenderPattern, None] = {}
    for name in names:
        for each in values.get(name.lower(), ())[:_VALUES_LIMIT]:
            text = each.decode("utf-8", "replace").strip()
            # Active Directory's proxyAddresses: "SMTP:" for the first, "smtp:" for the others, and other kinds.
            if text[:5].lower() == "smtp:":
                text = text[5:]
            try:
                found[parse_sender_pattern(text)] = None
            except Malformed:
                continue
    return tuple(found)


def _state(read: _Reader, name: str) -> tuple[bool, str]:
    if name.lower() == "useraccountcontrol":
        flags = read.one(name, int)
        return not (flags or 0) & _ACCOUNT_DISABLE, ""
    reasons = [each for each in read.all(name, _text) if each.lower() not in _FALSE]
    return not reasons, next((each for each in reasons if each.lower() not in _TRUE), "")


def _text(value: str) -> str:
    return "".join([each if each.isprintable() else " " for each in value[:_TEXT_LIMIT]])


def _flag(value: str) -> bool:
    if value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    raise ValueError


def _positive(value: str) -> int:
    if _NUMBER.fullmatch(value) is None or int(value) <= 0:
        raise ValueError
    return int(value)


def _moment(name: str) -> Callable[[str], float | None]:
    """Return how a time in the attribute *name* is read, in seconds since the epoch; None is never."""
    if name.lower() == "shadowexpire":
        return _days
    if name.lower() == "accountexpires":
        return _filetime
    return _generalized


def _days(value: str) -> float | None:
    days = _number(value)
    return None if days < 0 else days * _DAY


def _filetime(value: str) -> float | None:
    ticks = _number(value)
    return None if ticks in _FILETIME_NEVER else ticks / 10_000_000 - _FILETIME_EPOCH


def _generalized(value: str) -> float:
    found = _GENERALIZED.fullmatch(value)
    if found is None:
        seconds = _number(value)
        # More is no count of seconds, but a time without its zone.
        if seconds >= _SECONDS_LIMIT:
            raise ValueError
        return float(seconds)
    hour, minute, second, fraction, sign, hours, minutes = found.groups()
    moment = dt.datetime.strptime(f"{hour}+0000", "%Y%m%d%H%z").timestamp()
    moment += int(minute or 0) * 60 + int(second or 0)
    if fraction:
        # RFC 4517 §3.3.13: a fraction of the last unit that is there.
        moment += float(f"0.{fraction}") * (1 if second else 60 if minute else 3600)
    offset = int(hours or 0) * 3600 + int(minutes or 0) * 60
    return moment + offset if sign == "-" else moment - offset


def _number(value: str) -> int:
    if _NUMBER.fullmatch(value) is None:
        raise ValueError
    return int(value)
