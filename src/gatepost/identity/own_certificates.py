"""Credentials that are client certificates: an account logs in with one by EXTERNAL, and with nothing else.

The certificate itself is no secret and is not kept, but its fingerprint.  A credential made of it has what all have:
label, restrictions, end, last use, revocation.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID
from sqlalchemy import insert, select

from gatepost.identity.accounts import AccountProblem, prepared_login
from gatepost.identity.credentials import CredentialRow, as_stored, check_room, need_credential
from gatepost.identity.database import AccountsDatabase
from gatepost.identity.restrictions import Restrictions, Rules, restriction_values
from gatepost.identity.schema import accounts, credentials, verifiers
from gatepost.identity.store import CERTIFICATE, certificate_id

__all__ = ["add_certificate"]


class _Facts(NamedTuple):
    """What is kept of a certificate."""

    fingerprint: str
    expires: float
    name: str


def add_certificate(
    database: AccountsDatabase,
    rules: Rules,
    login: str,
    certificate: bytes,
    *,
    now: float,
    label: str = "",
    restrictions: Restrictions | None = None,
    canary: bool = False,
) -> CredentialRow:
    """Let an account log in with a client certificate; return the credential that it is.

    Args:
        database: where.
        rules: what the server is set to.
        login: whose.
        certificate: as PEM; what follows the first one, such as its chain, is not looked at.
        now: seconds since the epoch.
        label: what its owner calls it; its common name, if not given.
        restrictions: what it may be used for; it ends with the certificate, if not before.
        canary: whether it is a trap, which lets nobody in.

    Raises:
        AccountProblem: it cannot be added.
        StoreUnavailable: the database cannot be read or written.
    """
    name = prepared_login(login)
    asked = restrictions or Restrictions()
    if set(asked.mechanisms) - {"EXTERNAL"}:
        raise AccountProblem("a certificate is for EXTERNAL alone; leave --mechanism out")
    facts = _read(certificate)
    if now >= facts.expires:
        raise AccountProblem("the certificate has expired; issue a new one")
    end = facts.expires if asked.expires is None else min(asked.expires, facts.expires)
    values = restriction_values(dataclasses.replace(asked, expires=end), rules, now, has_certificate=True)
    identifier = certificate_id(facts.fingerprint)
    with database.writing() as connection:
        account = connection.execute(select(accounts).where(accounts.c.login == name)).one_or_none()
        if account is None:
            raise AccountProblem(f"{name}: no such account; add it first: gatepost account add {name}")
        taken = connection.execute(
            select(accounts.c.login).join(credentials).where(credentials.c.id == identifier)
        ).scalar_one_or_none()
        if taken is not None:
            raise AccountProblem(f"{identifier}: is this certificate, of {taken}, for good; issue another one")
        check_room(connection, account)
        row = {"id": identifier, "account_id": account.id, "created": now, "revoked": None, "origin": "generated"}
        values |= {"label": label or facts.name, "is_canary": canary, "mechanisms": ["EXTERNAL"]}
        connection.execute(insert(credentials).values(**row, **as_stored(values)))
        connection.execute(
            insert(verifiers).values(credential_id=identifier, scheme=CERTIFICATE, value=facts.fingerprint.encode())
        )
        return need_credential(connection, identifier)


def _read(certificate: bytes) -> _Facts:
    try:
        parsed = x509.load_pem_x509_certificate(certificate)
        names = [str(each.value) for each in parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    except (ValueError, UnsupportedAlgorithm):
        raise AccountProblem("the file holds no certificate in PEM form; name the one of the client") from None
    name = names[0] if names and names[0].isprintable() else ""
    return _Facts(parsed.fingerprint(hashes.SHA256()).hex(), parsed.not_valid_after_utc.timestamp(), name)
