"""Credentials, as those see them who keep them: add, list, show, revoke (command line, admin page).

A secret is shown once, when it is made; what is kept of it is in `gatepost.identity.verifiers`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, func, insert, select, update

from gatepost.errors import Malformed
from gatepost.identity.accounts import AccountProblem, prepared_login
from gatepost.identity.database import AccountsDatabase
from gatepost.identity.restrictions import Restrictions, Rules, restriction_values
from gatepost.identity.schema import accounts, credentials, verifiers
from gatepost.identity.sealing import Sealer
from gatepost.identity.secret import generate, weakness
from gatepost.identity.store import ARGON2ID, CERTIFICATE, HMAC_MD5, MECHANISM_SCHEMES, SCRAM_SHA_256, Credential
from gatepost.identity.verifiers import Check, Checkable, make, matching
from gatepost.model.identity import Secret
from gatepost.sasl.prepare import prepare_password
from gatepost.state.keys import Keys

__all__ = [
    "CredentialRow",
    "Restrictions",
    "Rules",
    "add_credential",
    "as_stored",
    "check_offer",
    "check_room",
    "insert_credential",
    "list_credentials",
    "need_credential",
    "revoke_credential",
    "show_credential",
    "withdrawn_by",
]

_STANDING_LIMIT: Final = 50


@dataclass(frozen=True, slots=True)
class CredentialRow:
    """One credential."""

    id: str
    login: str
    label: str
    origin: str
    mechanisms: tuple[str, ...]
    listeners: tuple[str, ...]
    networks: tuple[str, ...]
    senders: tuple[str, ...]
    sandbox: bool
    created: float
    expires: float | None
    revoked: float | None
    schemes: tuple[str, ...]  # of the verifiers that it has
    recipients: tuple[str, ...] = ()
    messages_per_minute: int | None = None
    not_before: float | None = None
    is_canary: bool = False
    successor: str | None = None  # what takes its place, while it is being rotated and afterwards
    rotated: float | None = None
    retire_unused: float | None = None

    def state(self, now: float) -> str:
        """Return ``active``, ``pending``, ``canary``, ``retiring``, ``retired``, ``expired`` or ``revoked``."""
        is_over = self.expires is not None and now >= self.expires
        if self.successor is not None:
            return "retired" if is_over or self.revoked is not None else "retiring"
        if self.revoked is not None:
            return "revoked"
        if self.is_canary:
            return "canary"
        if is_over:
            return "expired"
        return "pending" if self.not_before is not None and now < self.not_before else "active"


def add_credential(
    database: AccountsDatabase,
    keys: Keys,
    rules: Rules,
    login: str,
    *,
    now: float,
    label: str = "",
    restrictions: Restrictions | None = None,
    chosen: Secret | None = None,
    short: bool = False,
    force: bool = False,
    canary: bool = False,
) -> tuple[CredentialRow, Secret]:
    """Add a credential to an account; return it, and its secret, which cannot be had again.

    Args:
        database: where.
        keys: of the node.
        rules: what the server is set to.
        login: whose.
        now: seconds since the epoch.
        label: what its owner calls it.
        restrictions: what it may be used for.
        chosen: a secret that somebody chose; None makes one.
        short: whether the one that is made is short.
        force: whether to add it even if that withdraws a mechanism from a listener.
        canary: whether it is a trap, which lets nobody in.

    Raises:
        AccountProblem: it cannot be added.
        StoreUnavailable: the database cannot be read or written.
    """
    name = prepared_login(login)
    values = restriction_values(restrictions or Restrictions(), rules, now)
    secret = generate(short=short) if chosen is None else _prepared(chosen, name)
    values |= {"label": label, "is_canary": canary}
    with database.writing() as connection:
        account = connection.execute(select(accounts).where(accounts.c.login == name)).one_or_none()
        if account is None:
            raise AccountProblem(f"{name}: no such account; add it first: gatepost account add {name}")
        # Nobody logs in with a canary, so that it withdraws nothing.
        offer = None if force or canary else database
        added = insert_credential(
            connection, keys, rules, account, values, secret, now=now, is_chosen=chosen is not None, offer=offer
        )
        return added, secret


def insert_credential(
    connection: Connection,
    keys: Keys,
    rules: Rules,
    account: Row[Any],
    values: Mapping[str, Any],
    secret: Secret,
    *,
    now: float,
    is_chosen: bool,
    offer: AccountsDatabase | None = None,
) -> CredentialRow:
    """Write down a credential that *secret* opens; return it.

    Args:
        connection: in which to write.
        keys: of the node.
        rules: what the server is set to.
        account: whose.
        values: of its columns, as they are stored.
        secret: prepared already.
        now: seconds since the epoch.
        is_chosen: whether a person chose the secret.
        offer: where to look whether it withdraws a mechanism from a listener; None does not look.

    Raises:
        AccountProblem: it cannot be added.
    """
    _check_others(connection, account, secret, now, is_chosen=is_chosen)
    made = make(
        secret,
        is_chosen=is_chosen,
        mechanisms=[each for each in rules.mechanisms if not values["mechanisms"] or each in values["mechanisms"]],
        salt=account.salt,
        iterations=account.iterations,
        argon2=rules.argon2,
    )
    if offer is not None:
        check_offer(offer, rules, values["listeners"], made, now)
    identifier = secrets.token_hex(6)
    if HMAC_MD5 in made:
        made[HMAC_MD5] = Secret(Sealer(keys).seal(identifier, HMAC_MD5, made[HMAC_MD5]))
    row = {"id": identifier, "account_id": account.id, "created": now, "revoked": None}
    row["origin"] = "chosen" if is_chosen else "generated"
    connection.execute(insert(credentials).values(**row, **as_stored(values)))
    for scheme, verifier in made.items():
        connection.execute(
            insert(verifiers).values(credential_id=identifier, scheme=scheme, value=verifier.reveal()),
        )
    return need_credential(connection, identifier)


def as_stored(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return *values* as the columns hold them: lists as JSON."""
    return {key: json.dumps(value) if isinstance(value, list) else value for key, value in values.items()}


def list_credentials(database: AccountsDatabase, login: str | None = None) -> list[CredentialRow]:
    """Return the credentials of an account, or of all: by login, oldest first.

    Raises:
        AccountProblem: there is no such account.
    """
    statement = _SELECTED.order_by(accounts.c.login, credentials.c.created, credentials.c.id)
    with database.reading() as connection:
        if login is not None:
            name = prepared_login(login)
            if connection.execute(select(accounts.c.id).where(accounts.c.login == name)).one_or_none() is None:
                raise AccountProblem(f"{name}: no such account; see `gatepost account list`")
            statement = statement.where(accounts.c.login == name)
        return [_row(connection, each) for each in connection.execute(statement).all()]


def show_credential(database: AccountsDatabase, identifier: str) -> CredentialRow:
    """Return one credential.  Raises `AccountProblem` if there is none."""
    with database.reading() as connection:
        return need_credential(connection, identifier)


def revoke_credential(database: AccountsDatabase, identifier: str, *, now: float) -> CredentialRow:
    """End a credential for good; return it.  Raises `AccountProblem` if there is none that could be ended."""
    with database.writing() as connection:
        found = need_credential(connection, identifier)
        if found.revoked is not None:
            raise AccountProblem(f"{identifier}: is revoked already")
        connection.execute(update(credentials).where(credentials.c.id == identifier).values(revoked=now))
        return need_credential(connection, identifier)


def _prepared(chosen: Secret, login: str) -> Secret:
    try:
        password = prepare_password(chosen.reveal().decode())
    except UnicodeDecodeError:
        raise AccountProblem("the secret is not UTF-8; choose another one") from None
    except Malformed as error:
        raise AccountProblem(f"the secret cannot be used: {error}; choose another one") from None
    problem = weakness(password.decode(), login)
    if problem:
        raise AccountProblem(f"the secret is weak: {problem}; choose another one, or let one be made")
    return Secret(password)


def check_room(connection: Connection, account: Row[Any]) -> None:
    """See that an account may have one credential more.  Raises `AccountProblem` if it may not."""
    standing = select(func.count()).where(credentials.c.account_id == account.id, credentials.c.revoked.is_(None))
    count = connection.execute(standing).scalar_one()
    if count >= _STANDING_LIMIT:
        raise AccountProblem(f"{account.login}: has {count} credentials; revoke some first")


def _check_others(connection: Connection, account: Row[Any], secret: Secret, now: float, *, is_chosen: bool) -> None:
    own = select(credentials).where(credentials.c.account_id == account.id, credentials.c.revoked.is_(None))
    others = connection.execute(own).all()
    check_room(connection, account)
    if not is_chosen:
        return
    for each in others:
        if each.origin == "chosen" and (each.expires is None or now < each.expires):
            raise AccountProblem(
                f"{account.login}: has a chosen secret already; revoke it first: gatepost credential revoke {each.id}"
            )
    held: dict[str, list[Checkable]] = {SCRAM_SHA_256: [], ARGON2ID: []}
    kept = select(verifiers).where(verifiers.c.credential_id.in_([each.id for each in others]))
    for row in connection.execute(kept):
        if row.scheme in held:
            held[row.scheme].append(Checkable(Credential(row.credential_id), Secret(row.value)))
    scram, argon2id = tuple(held[SCRAM_SHA_256]), tuple(held[ARGON2ID])
    check = Check(account.salt, account.iterations, scram, argon2id, opens=(True,) * (len(scram) + len(argon2id)))
    same = matching(check, secret)
    if same is not None:
        raise AccountProblem(
            f"{account.login}: credential {check.all[same].credential.id} has the same secret; choose another one"
        )


def check_offer(
    database: AccountsDatabase, rules: Rules, only: Sequence[str], made: Collection[str], now: float
) -> None:
    """See that a credential for the listeners *only* (all, if empty) with verifiers *made* withdraws no mechanism.

    Raises:
        AccountProblem: it would.
    """
    withdrawn = withdrawn_by(database, rules, only, made, now)
    if withdrawn:
        raise AccountProblem(
            f"this credential would have no verifier for {', '.join(withdrawn)}, so that it could be offered to nobody "
            "there any more; give --listener or more of --mechanism, or --force"
        )


def withdrawn_by(
    database: AccountsDatabase | None, rules: Rules, only: Sequence[str], made: Collection[str], now: float
) -> list[str]:
    """Return what nobody would be offered any more for a credential such as `check_offer` has, and where.

    Without a *database* there are no credentials yet.
    """
    return [
        f"{mechanism} on {listener}"
        for listener, on in rules.listeners.items()
        for mechanism, scheme in MECHANISM_SCHEMES.items()
        if mechanism in on
        and scheme not in made
        and (not only or listener in only)
        and (database is None or not database.obstacles(scheme, listener, now, limit=1))
    ]


_SELECTED: Final = select(credentials, accounts.c.login).join(accounts, accounts.c.id == credentials.c.account_id)


def need_credential(connection: Connection, identifier: str) -> CredentialRow:
    """Return one credential.  Raises `AccountProblem` if there is none."""
    found = connection.execute(_SELECTED.where(credentials.c.id == identifier)).one_or_none()
    if found is None:
        raise AccountProblem(f"{identifier}: no such credential; see `gatepost credential list`")
    return _row(connection, found)


def _row(connection: Connection, row: Row[Any]) -> CredentialRow:
    kept = select(verifiers.c.scheme).where(verifiers.c.credential_id == row.id).order_by(verifiers.c.scheme)
    schemes = tuple(connection.execute(kept).scalars())
    return CredentialRow(
        id=row.id,
        login=row.login,
        label=row.label,
        origin="certificate" if CERTIFICATE in schemes else row.origin,
        mechanisms=tuple(json.loads(row.mechanisms)),
        listeners=tuple(json.loads(row.listeners)),
        networks=tuple(json.loads(row.networks)),
        senders=tuple(json.loads(row.senders)),
        sandbox=row.sandbox,
        created=row.created,
        expires=row.expires,
        revoked=row.revoked,
        schemes=schemes,
        recipients=tuple(json.loads(row.recipients)),
        messages_per_minute=row.messages_per_minute,
        not_before=row.not_before,
        is_canary=row.is_canary,
        successor=row.successor,
        rotated=row.rotated,
        retire_unused=row.retire_unused,
    )
