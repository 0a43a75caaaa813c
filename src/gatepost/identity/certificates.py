"""Whose a client certificate is: it is a credential itself, or a name in it counts where its authority is trusted."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from gatepost.errors import Malformed
from gatepost.identity.store import CERTIFICATE, Account, Credential
from gatepost.identity.stores.order import Found, StoresInOrder
from gatepost.model.identity import Secret
from gatepost.model.peer import ClientCertificate
from gatepost.sasl.prepare import prepare_stated_name

__all__ = ["CERTIFICATE_CREDENTIAL", "Holder", "Naming", "credential_of", "find_holder", "is_certificate"]

CERTIFICATE_CREDENTIAL: Final = "certificate"
"""Stands for the id of a credential when the name in a certificate let somebody in; its label is the fingerprint."""

Naming = Literal["credential", "email", "common-name"]
"""What of a certificate names its account: nothing (it must be a credential), an address, or the common name."""


class Holder(NamedTuple):
    """Whose a certificate is.

    Args:
        login: the prepared name; empty for nobody.
        found: what the stores say of it.
        credential: as which it counts; None if it does not.
        problem: why it does not.
    """

    login: str
    found: Found
    credential: Credential | None
    problem: str = ""


async def find_holder(stores: StoresInOrder, certificate: ClientCertificate, naming: Naming, claimed: str) -> Holder:
    """Look up whose *certificate* is.

    Args:
        stores: all of them.
        certificate: one that an authority of the listener made.
        naming: what of it counts, if it is no credential.
        claimed: prepared name of whom they want to act as; empty for whoever the certificate says.

    Raises:
        StoreUnavailable: a store is away, and nobody can say whose it is.
    """
    login = await stores.holder(certificate.fingerprint)
    subject = _Subject(login) if login else _subject_of(certificate, naming, claimed)
    if not subject.login:
        return Holder("", Found(None), None, subject.problem)
    found = await stores.look(subject.login)
    if found.account is None:
        return Holder(subject.login, found, None, "unknown login")
    credential = credential_of(found.account, certificate.fingerprint)
    if login and credential.id == CERTIFICATE_CREDENTIAL:
        return Holder(login, found, None, "certificate of the same login in another store")
    return Holder(subject.login, found, credential)


def credential_of(account: Account, fingerprint: str) -> Credential:
    """Return the credential of *account* that is a certificate, or what stands for one.

    One that is a credential is judged as such, also where its name would do: who revoked it meant it.
    """
    value = Secret(fingerprint.encode())
    for each in account.credentials:
        if each.verifiers.get(CERTIFICATE) == value:
            return each
    return Credential(CERTIFICATE_CREDENTIAL, fingerprint)


class _Subject(NamedTuple):
    """Whom a certificate names: the prepared *login*, or, if that is empty, why nobody."""

    login: str
    problem: str = ""


def _subject_of(certificate: ClientCertificate, naming: Naming, claimed: str) -> _Subject:
    """Return whom *certificate* names by itself.

    Args:
        certificate: no credential's own.
        naming: what of it counts.
        claimed: prepared name of whom they want to act as; it says which of several is meant, and no more.
    """
    if naming == "credential":
        return _Subject("", "certificate of no credential")
    texts = certificate.addresses if naming == "email" else certificate.common_names
    names = {name for name in map(_prepared, texts) if name}
    if not names:
        return _Subject("", f"certificate without {naming}")
    if claimed in names:
        return _Subject(claimed)
    if len(names) > 1:
        return _Subject(
            "", "certificate names others" if claimed else "certificate names several, and none is asked for"
        )
    return _Subject(names.pop())


def is_certificate(credential: Credential) -> bool:
    """Tell whether somebody has *credential* by a client certificate."""
    return credential.id == CERTIFICATE_CREDENTIAL or CERTIFICATE in credential.verifiers


def _prepared(name: str) -> str:
    """Return *name* prepared; empty, which is nobody, if it is no name."""
    try:
        return prepare_stated_name(name)
    except Malformed:
        return ""
