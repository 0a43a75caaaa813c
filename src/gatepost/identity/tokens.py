"""What a judge of access tokens says: whose a token is, or that it does not count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gatepost.model.identity import Secret

__all__ = ["TokenInvalid", "TokenSubject", "Tokens"]


@dataclass(frozen=True, slots=True)
class TokenSubject:
    """Whose a good token is: *name* is the value of the identity claim."""

    name: str
    issuer: str


@dataclass(frozen=True, slots=True)
class TokenInvalid:
    """A token does not count; *reason* is for the log, *scope* what its client should ask for."""

    reason: str
    scope: str = ""


class Tokens(Protocol):
    """Judges access tokens.

    Attributes:
        scope: what a client is told to ask for when its token does not count.
        configuration: address of the OpenID configuration that it is told then; empty for none.
    """

    scope: str
    configuration: str

    async def verify(self, token: Secret) -> TokenSubject | TokenInvalid:
        """Say whose *token* is.  Raises `StoreUnavailable` when its issuer cannot be asked and must be."""
        ...
