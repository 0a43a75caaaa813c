"""Read the secret of one login from a file of its own, as Docker and Kubernetes hand secrets over."""

from __future__ import annotations

import hmac
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

from gatepost.errors import Malformed
from gatepost.identity.decoys import Decoys
from gatepost.identity.sealing import Sealer
from gatepost.identity.secret import weakness
from gatepost.identity.store import HMAC_MD5, Account, Credential
from gatepost.identity.stores.file import Contents
from gatepost.identity.verifiers import Argon2, make
from gatepost.model.identity import Secret
from gatepost.sasl.prepare import prepare_password
from gatepost.state.keys import Keys

__all__ = ["SECRET_LIMIT", "SecretFileReader", "why_unusable"]

SECRET_LIMIT: Final = 4096
"""Largest file that is read, in octets."""


def why_unusable(octets: bytes, login: str) -> str:
    """Return why what a file holds cannot be the secret of *login*; empty if it can."""
    try:
        return weakness(_prepared(octets).decode(), login)
    except ValueError as error:
        return str(error)


def _prepared(octets: bytes) -> bytes:
    try:
        return prepare_password(octets.removesuffix(b"\n").removesuffix(b"\r").decode())
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except Malformed as error:
        raise ValueError(error.reason) from None


@dataclass(frozen=True)
class SecretFileReader:
    """Makes one account of what stands in a file.

    Args:
        account: whose secret it is; without salt and credentials.
        credential: what the secret may be used for; without verifiers.
        keys: of the node.
        mechanisms: those that are on; they say which verifiers there are.
    """

    account: Account
    credential: Credential
    keys: Keys
    mechanisms: Collection[str]

    def __call__(self, octets: bytes) -> Contents:
        """Read a file.

        Raises:
            ValueError: it holds no secret that can be used.
        """
        login = self.account.login
        problem = why_unusable(octets, login)
        if problem:
            raise ValueError(f"1: the secret of {login} cannot be used: {problem}; write a longer, random one")
        secret = Secret(_prepared(octets))
        salt = Decoys(self.keys).salt(login)
        # Whoever reads this file has the secret itself: a dear hash in memory would protect nothing.
        verifiers = make(
            secret,
            is_chosen=False,
            mechanisms=self.mechanisms,
            salt=salt,
            iterations=self.account.iterations,
            argon2=Argon2(),
        )
        key = self.keys.derive("credential ids")
        # A changed secret is another credential, so that whoever is logged in with the old one is not any more.
        identifier = hmac.digest(key, f"{login}\0".encode() + secret.reveal(), "sha256")[:6].hex()
        if HMAC_MD5 in verifiers:
            verifiers[HMAC_MD5] = Secret(Sealer(self.keys).seal(identifier, HMAC_MD5, verifiers[HMAC_MD5]))
        credential = replace(self.credential, id=identifier, verifiers=verifiers)
        return Contents({login: replace(self.account, salt=salt, credentials=(credential,))})
