"""What a service that knows logins may answer (`gatepost.identity.stores.http`): JSON, read strictly.

    {"account": null}                                             nobody has that name
    {"account": {…}, "opened": "laptop"}                          the password opens that credential
    {"account": {…}, "opened": null}                              it opens none

A key that is not known is an error: it may be a restriction that must not be passed over.  So is one that stands twice,
for nobody knows which of the two is meant.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable
from typing import Any, Final, TypeVar

from gatepost.identity.store import Account, Checked, Credential
from gatepost.identity.strict_json import parse_json
from gatepost.model.identity import SenderPattern, parse_sender_pattern

__all__ = ["PASSWORD", "parse_answer"]

T = TypeVar("T")

PASSWORD: Final = "password"  # noqa: S105 - the id of a credential
"""Id of the one credential of an account of which no credentials are named."""

_CREDENTIAL_LIMIT: Final = 64
_LIST_LIMIT: Final = 1000
_TEXT_LIMIT: Final = 1000


def parse_answer(octets: bytes, nobody: Account, *, has_password: bool) -> Checked | None:
    """Read an answer.

    Args:
        octets: as they came.
        nobody: an account with the login that was asked for, and no facts.
        has_password: whether a password was asked about, too.

    Returns:
        Whose name it is, and what the password opened; None for nobody.

    Raises:
        ValueError: it is no such answer; the text says what of it is wrong.
    """
    facts = _Facts(parse_json(octets), "the answer")
    described = facts.take("account", lambda value: value)
    opened = facts.take("opened", _text) if has_password or "opened" in facts else None
    facts.end()
    if described is None:
        if opened is not None:
            raise ValueError("opened names a credential of nobody")
        return None
    account = _account(_Facts(described, "account"), nobody)
    credential = next((each for each in account.credentials if each.id == opened), None) if opened is not None else None
    if opened is not None and credential is None:
        raise ValueError("opened names no credential of the account")
    return Checked(account, credential)


class _Facts:
    """An object, of which every key is looked at."""

    def __init__(self, value: object, what: str) -> None:
        if not isinstance(value, dict):
            raise ValueError(f"{what} is no object")
        self._left: dict[str, Any] = dict(value)
        self._what = what

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def take(self, name: str, read: Callable[[Any], T]) -> T | None:
        """Read the value of a key that must be there; None is nothing."""
        if name not in self._left:
            raise ValueError(f"{self._what} has no {name}")
        return self.maybe(name, read)

    def maybe(self, name: str, read: Callable[[Any], T]) -> T | None:
        """Read the value of a key, if it is there."""
        value = self._left.pop(name, None)
        if value is None:
            return None
        try:
            return read(value)
        except (ValueError, TypeError, OverflowError):
            raise ValueError(f"{name} of {self._what} has a wrong value") from None

    def end(self) -> None:
        """Make sure that nothing was passed over."""
        if self._left:
            raise ValueError(f"{self._what} has a key that is not known: {ascii(min(self._left))[:40]}")


def _account(facts: _Facts, nobody: Account) -> Account:
    named = facts.maybe("credentials", _list)
    credentials = [_credential(_Facts(each, "credential")) for each in named] if named is not None else None
    if credentials is None:
        credentials = [Credential(PASSWORD)]
    if len({each.id for each in credentials}) < len(credentials) or len(credentials) > _CREDENTIAL_LIMIT:
        raise ValueError("credentials of account are too many, or two have one id")
    is_active = facts.maybe("active", _flag)
    account = Account(
        nobody.login,
        nobody.salt,
        nobody.iterations,
        is_active=is_active is not False,
        state_reason=facts.maybe("reason", _text) or "",
        senders=facts.maybe("senders", _senders) or (),
        max_message_bytes=facts.maybe("max_message_bytes", _whole),
        max_recipients=facts.maybe("max_recipients", _whole),
        null_sender=facts.maybe("null_sender", _flag),
        credentials=tuple(credentials),
    )
    facts.end()
    return account


def _credential(facts: _Facts) -> Credential:
    identifier = facts.take("id", _text)
    if not identifier:
        raise ValueError("credential has no id")
    credential = Credential(
        identifier,
        facts.maybe("label", _text) or "",
        mechanisms=facts.maybe("mechanisms", _texts) or frozenset(),
        listeners=facts.maybe("listeners", _texts) or frozenset(),
        networks=facts.maybe("networks", _networks) or (),
        senders=facts.maybe("senders", _senders) or (),
        recipients=facts.maybe("recipients", _senders) or (),
        messages_per_minute=facts.maybe("messages_per_minute", _whole),
        not_before=facts.maybe("not_before", _moment),
        expires=facts.maybe("expires", _moment),
        sandbox=facts.maybe("sandbox", _flag) is True,
    )
    facts.end()
    return credential


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list) or len(value) > _LIST_LIMIT:
        raise TypeError
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _TEXT_LIMIT or not value.isprintable():
        raise TypeError
    return value


def _texts(value: Any) -> frozenset[str]:
    return frozenset([_text(each) for each in _list(value)])


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 62:
        raise TypeError
    return value


def _moment(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError
    return float(value)


def _senders(value: Any) -> tuple[SenderPattern, ...]:
    return tuple([parse_sender_pattern(_text(each)) for each in _list(value)])


def _networks(value: Any) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple([ipaddress.ip_network(_text(each)) for each in _list(value)])
