"""By what somebody is logged in: a credential of their account, or what stands for one when they came otherwise."""

from __future__ import annotations

from typing import Final

from gatepost.identity.certificates import CERTIFICATE_CREDENTIAL, credential_of
from gatepost.identity.store import Account, Credential
from gatepost.model.identity import Identity

__all__ = ["TOKEN_CREDENTIAL", "VOUCHED_CREDENTIAL", "credential_used"]

TOKEN_CREDENTIAL: Final = "oauth"  # noqa: S105 - the id of a credential
"""Stands for the id of a credential when somebody came with an access token."""

VOUCHED_CREDENTIAL: Final = "vouched"
"""Stands for the id of a credential when a mechanism judged the proof by itself; its label is the mechanism."""


def credential_used(account: Account, identity: Identity) -> Credential | None:
    """Return by what *identity* is logged in to *account*, as it is now; None if it is no more."""
    if identity.credential == CERTIFICATE_CREDENTIAL:
        return credential_of(account, identity.label)
    if identity.credential in (TOKEN_CREDENTIAL, VOUCHED_CREDENTIAL):
        return Credential(identity.credential, identity.label)
    return next((each for each in account.credentials if each.id == identity.credential), None)
