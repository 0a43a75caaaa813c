"""Change a credential that stands: put another in its place while both work, say when it ends, restrict it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlalchemy import Connection, select, update

from gatepost.identity.accounts import AccountProblem
from gatepost.identity.credentials import (
    CredentialRow,
    as_stored,
    check_offer,
    insert_credential,
    need_credential,
)
from gatepost.identity.database import AccountsDatabase
from gatepost.identity.restrictions import Restrictions, Rules, restriction_values
from gatepost.identity.schema import accounts, credentials
from gatepost.identity.secret import generate
from gatepost.identity.store import CERTIFICATE, MECHANISM_SCHEMES
from gatepost.model.identity import Secret
from gatepost.state.keys import Keys

__all__ = ["RESTRICTIONS", "expire_credential", "restrict_credential", "rotate_credential"]

RESTRICTIONS: Final = (
    "mechanisms",
    "listeners",
    "networks",
    "senders",
    "recipients",
    "messages_per_minute",
    "not_before",
    "sandbox",
)
"""What `restrict_credential` changes, by the names of the columns."""


def rotate_credential(
    database: AccountsDatabase,
    keys: Keys,
    rules: Rules,
    identifier: str,
    *,
    now: float,
    overlap: float,
    retire_unused: float | None = None,
    expires: float | None = None,
    short: bool = False,
) -> tuple[CredentialRow, CredentialRow, Secret]:
    """Put a credential with a new secret in the place of another, which works on for a while.

    Args:
        database: where.
        keys: of the node.
        rules: what the server is set to.
        identifier: of the one that is replaced.
        now: seconds since the epoch.
        overlap: how long both work, in seconds.
        retire_unused: how long nobody must have used the old one for it to go before that; None is never.
        expires: when the new one ends; None lets it live as long as the old one was given.
        short: whether the new secret is a short one.

    Returns:
        The old one, the new one, and its secret, which cannot be had again.

    Raises:
        AccountProblem: it cannot be rotated.
        StoreUnavailable: the database cannot be read or written.
    """
    secret = generate(short=short)
    with database.writing() as connection:
        old = _need_standing(connection, identifier, now)
        if old.is_canary:
            raise AccountProblem(f"{identifier}: is a canary; add another one, and revoke it")
        if CERTIFICATE in old.schemes:
            raise AccountProblem(f"{identifier}: is a certificate; add the next one, and let this one expire")
        if old.successor is not None:
            raise AccountProblem(f"{identifier}: is being rotated already; {old.successor} takes its place")
        if old.expires is not None and expires is None:
            expires = now + old.expires - max(old.created, old.not_before or 0.0)
        account = connection.execute(select(accounts).where(accounts.c.login == old.login)).one()
        values = {
            **{name: _column(getattr(old, name)) for name in RESTRICTIONS},
            "not_before": None,
            "expires": expires,
            "label": old.label,
            "is_canary": False,
        }
        # Its verifiers serve whatever those of the old one do, so that nothing is withdrawn.
        new = insert_credential(connection, keys, rules, account, values, secret, now=now, is_chosen=False)
        end = now + overlap if old.expires is None else min(old.expires, now + overlap)
        _change(
            connection,
            identifier,
            {"successor": new.id, "rotated": now, "retire_unused": retire_unused, "expires": end, "warned": None},
        )
        return need_credential(connection, identifier), new, secret


def expire_credential(
    database: AccountsDatabase, identifier: str, expires: float | None, *, now: float
) -> CredentialRow:
    """Say when a credential ends, or that it does not; return it.

    One that is being rotated and shall not end stays, beside the one that was to take its place.

    Raises:
        AccountProblem: there is none that could be changed.
    """
    with database.writing() as connection:
        found = _need_standing(connection, identifier, now)
        if expires is not None and found.not_before is not None and expires <= found.not_before:
            raise AccountProblem(f"{identifier}: would end before it begins; revoke it, or give a later time")
        values: dict[str, Any] = {"expires": expires, "warned": None}
        if expires is None:
            values |= {"successor": None, "rotated": None, "retire_unused": None}
        _change(connection, identifier, values)
        return need_credential(connection, identifier)


def restrict_credential(
    database: AccountsDatabase,
    rules: Rules,
    identifier: str,
    given: Mapping[str, Any],
    *,
    now: float,
    lift: Collection[str] = (),
    force: bool = False,
) -> CredentialRow:
    """Change what a credential may be used for; what is not named stays.

    Args:
        database: where.
        rules: what the server is set to.
        identifier: of the credential.
        given: new values, by the names in `RESTRICTIONS`, each in place of what was there.
        now: seconds since the epoch.
        lift: names of those that shall be no more.
        force: whether to do it even if that withdraws a mechanism from a listener.

    Returns:
        What it is now.

    Raises:
        AccountProblem: it cannot be done.
    """
    with database.writing() as connection:
        old = _need_standing(connection, identifier, now)
        has_certificate = CERTIFICATE in old.schemes
        if has_certificate and ("mechanisms" in given or "mechanisms" in lift):
            raise AccountProblem(f"{identifier}: is a certificate, which is for EXTERNAL alone; leave its mechanisms")
        values = restriction_values(Restrictions(**given), rules, now)
        changed = {name: values[name] for name in given}
        nothing = restriction_values(Restrictions(), rules, now)
        changed |= {name: nothing[name] for name in lift}
        begin = changed.get("not_before")
        if begin is not None and old.expires is not None and begin >= old.expires:
            raise AccountProblem(f"{identifier}: would end before it begins; give an earlier time")
        mechanisms = changed.get("mechanisms", list(old.mechanisms))
        lacking = [
            each for each in mechanisms if each in MECHANISM_SCHEMES and MECHANISM_SCHEMES[each] not in old.schemes
        ]
        if lacking:
            raise AccountProblem(
                f"{identifier}: has no verifier for {', '.join(lacking)}, and none can be made without its secret; "
                "rotate it"
            )
        if not force and not old.is_canary and not has_certificate and "listeners" in changed:
            # It may come in where it could not before.
            check_offer(database, rules, changed["listeners"], old.schemes, now)
        _change(connection, identifier, as_stored(changed))
        return need_credential(connection, identifier)


def _need_standing(connection: Connection, identifier: str, now: float) -> CredentialRow:
    found = need_credential(connection, identifier)
    state = found.state(now)
    if state in ("revoked", "expired", "retired"):
        raise AccountProblem(f"{identifier}: is {state}; add a new one: gatepost credential add {found.login}")
    return found


def _change(connection: Connection, identifier: str, values: Mapping[str, Any]) -> None:
    connection.execute(update(credentials).where(credentials.c.id == identifier).values(**values))


def _column(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
