"""Accounts, as those see them who keep them: add, list, show, suspend, disable, enable, remove (command line)."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, delete, func, insert, select, update

from gatepost.errors import GatepostError, Malformed
from gatepost.identity.database import AccountsDatabase
from gatepost.identity.decoys import Decoys
from gatepost.identity.schema import accounts, credentials
from gatepost.model.address import parse_mailbox
from gatepost.model.identity import parse_sender_pattern
from gatepost.sasl.prepare import prepare_name
from gatepost.state.keys import Keys

__all__ = [
    "AccountProblem",
    "AccountRow",
    "add_account",
    "change_account",
    "list_accounts",
    "pattern_texts",
    "prepared_login",
    "remove_account",
    "sender_texts",
    "set_contact",
    "set_state",
    "show_account",
]


class AccountProblem(GatepostError):
    """What was asked for accounts or credentials cannot be done: what is wrong, and what to do."""


@dataclass(frozen=True, slots=True)
class AccountRow:
    """One account."""

    login: str
    state: str
    state_reason: str
    senders: tuple[str, ...]
    max_message_bytes: int | None
    max_recipients: int | None
    null_sender: bool | None
    created: float
    credentials: int  # those that are not revoked
    suspended_until: float | None = None
    contact: str = ""

    def state_at(self, now: float) -> str:
        """Return ``active``, ``disabled`` or ``suspended``."""
        if self.state == "active" and self.suspended_until is not None and now < self.suspended_until:
            return "suspended"
        return self.state


def add_account(
    database: AccountsDatabase,
    keys: Keys,
    login: str,
    *,
    now: float,
    senders: Sequence[str] = (),
    max_message_bytes: int | None = None,
    max_recipients: int | None = None,
    null_sender: bool | None = None,
    iterations: int = 15_000,
    contact: str = "",
) -> AccountRow:
    """Add an account, without a credential; with no *senders* it may write as its login, if that is an address.

    Raises:
        AccountProblem: the login or a sender cannot be used, or the account is there already.
    """
    name = prepared_login(login)
    allowed = sender_texts(senders or _own_senders(name))
    with database.writing() as connection:
        if _find(connection, name) is not None:
            raise AccountProblem(f"{name}: there is such an account already; see `gatepost account show {name}`")
        values: dict[str, Any] = {
            "login": name,
            "state": "active",
            "state_reason": "",
            "senders": json.dumps(allowed),
            "max_message_bytes": max_message_bytes,
            "max_recipients": max_recipients,
            "null_sender": null_sender,
            # The salt that the world was shown while there was no such account.
            "salt": Decoys(keys).salt(name),
            "iterations": iterations,
            "created": now,
            "contact": _contact_text(contact),
        }
        connection.execute(insert(accounts).values(**values))
        return _need(connection, name)


def list_accounts(database: AccountsDatabase) -> list[AccountRow]:
    """Return all accounts, by login."""
    with database.reading() as connection:
        return [_row(each) for each in connection.execute(_selected().order_by(accounts.c.login))]


def show_account(database: AccountsDatabase, login: str) -> AccountRow:
    """Return one account.  Raises `AccountProblem` if there is none."""
    name = prepared_login(login)
    with database.reading() as connection:
        return _need(connection, name)


def set_state(
    database: AccountsDatabase, login: str, *, active: bool, reason: str = "", suspended_until: float | None = None
) -> bool:
    """Let an account log in, or not, or not before some time; tell whether that is new.

    Raises:
        AccountProblem: there is none.
    """
    name = prepared_login(login)
    state = "active" if active else "disabled"
    with database.writing() as connection:
        found = _need(connection, name)
        if (found.state, found.state_reason, found.suspended_until) == (state, reason, suspended_until):
            return False
        connection.execute(
            update(accounts)
            .where(accounts.c.login == name)
            .values(state=state, state_reason=reason, suspended_until=suspended_until),
        )
        return True


def set_contact(database: AccountsDatabase, login: str, contact: str) -> AccountRow:
    """Say who is to be told of an account, or nobody if it is empty; return the account.

    Raises:
        AccountProblem: there is no such account, or that is no address.
    """
    name, text = prepared_login(login), _contact_text(contact)
    with database.writing() as connection:
        _need(connection, name)
        connection.execute(update(accounts).where(accounts.c.login == name).values(contact=text))
        return _need(connection, name)


def change_account(
    database: AccountsDatabase, login: str, given: Mapping[str, Any], lifted: Collection[str] = ()
) -> AccountRow:
    """Change what an account may do; return the account.

    Args:
        database: where it is.
        login: whose it is.
        given: senders, max_message_bytes, max_recipients and null_sender, where they are to be others.
        lifted: which of these are to be as if they had never been given.

    Raises:
        AccountProblem: there is no such account, or a sender cannot be used.
    """
    name = prepared_login(login)
    values: dict[str, Any] = dict.fromkeys(lifted) | dict(given)
    if "senders" in values:
        values["senders"] = json.dumps(sender_texts(values["senders"] or _own_senders(name)))
    with database.writing() as connection:
        _need(connection, name)
        connection.execute(update(accounts).where(accounts.c.login == name).values(**values))
        return _need(connection, name)


def remove_account(database: AccountsDatabase, login: str) -> AccountRow:
    """Remove an account with its credentials; return what it was.  Raises `AccountProblem` if there is none."""
    name = prepared_login(login)
    with database.writing() as connection:
        found = _need(connection, name)
        connection.execute(delete(accounts).where(accounts.c.login == name))
        return found


def prepared_login(login: str) -> str:
    """Return *login* as it is stored and compared.  Raises `AccountProblem` if it cannot be one."""
    try:
        return prepare_name(login)
    except Malformed as error:
        raise AccountProblem(f"{login}: cannot be a login: {error}") from None


def sender_texts(senders: Sequence[str]) -> list[str]:
    """Return sender patterns as they are stored.  Raises `AccountProblem` if one is none."""
    return pattern_texts(senders, "sender")


def _own_senders(name: str) -> list[str]:
    """Return whom a login may write as where nothing is said: itself, if it is an address."""
    return [name] if "@" in name else []


def pattern_texts(patterns: Sequence[str], what: str) -> list[str]:
    """Return patterns of addresses as they are stored.  Raises `AccountProblem` if one is none."""
    texts = []
    for each in patterns:
        try:
            texts.append(str(parse_sender_pattern(each)))
        except Malformed as error:
            reason = str(error).partition("; ")[0]
            raise AccountProblem(f"{each}: cannot be a {what}: {reason}; write name@domain, *@domain or *") from None
    return list(dict.fromkeys(texts))


def _contact_text(contact: str) -> str:
    """Return an address as it is stored.  Raises `AccountProblem` if it is none."""
    try:
        return str(parse_mailbox(contact)) if contact else ""
    except Malformed as error:
        raise AccountProblem(f"{contact}: cannot be a contact: {error}; write name@domain") from None


def _selected() -> Select[Any]:
    standing = (
        select(func.count())
        .where(credentials.c.account_id == accounts.c.id, credentials.c.revoked.is_(None))
        .scalar_subquery()
    )
    return select(accounts, standing.label("credentials"))


def _find(connection: Connection, name: str) -> AccountRow | None:
    found = connection.execute(_selected().where(accounts.c.login == name)).one_or_none()
    return None if found is None else _row(found)


def _need(connection: Connection, name: str) -> AccountRow:
    found = _find(connection, name)
    if found is None:
        raise AccountProblem(f"{name}: no such account; see `gatepost account list`")
    return found


def _row(row: Any) -> AccountRow:
    return AccountRow(
        login=row.login,
        state=row.state,
        state_reason=row.state_reason,
        senders=tuple(json.loads(row.senders)),
        max_message_bytes=row.max_message_bytes,
        max_recipients=row.max_recipients,
        null_sender=row.null_sender,
        created=row.created,
        credentials=row.credentials,
        suspended_until=row.suspended_until,
        contact=row.contact,
    )
