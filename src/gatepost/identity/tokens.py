"""What a judge of access tokens says: whose a token is, or that it does not count."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from gatepost.model.identity import Secret
from gatepost.model.standing import Standing

__all__ = ["TokenInvalid", "TokenSubject", "Tokens"]


@dataclass(frozen=True, slots=True)
class TokenSubject:
    """Whose a good token is.

    Args:
        name: the value of the identity claim.
        issuer: who says so.
        scope: what a client is told to ask for, if nobody of that name may log in.
        configuration: address of the OpenID configuration that it is told then; empty for none.
        standing: whether it goes on to count, where its issuer is asked again; None where it is not.
    """

    name: str
    issuer: str
    scope: str = field(default="", compare=False)
    configuration: str = field(default="", compare=False)
    standing: Standing | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class TokenInvalid:
    """A token does not count.

    Args:
        reason: for the log.
        scope: what its client should ask for.
        configuration: address of the OpenID configuration that it is told; empty for none.
        lacks_scope: whether nothing is wrong with it but that it does not reach so far.
    """

    reason: str
    scope: str = ""
    configuration: str = field(default="", compare=False)
    lacks_scope: bool = False


class Tokens(Protocol):
    """Judges access tokens."""

    async def verify(self, token: Secret) -> TokenSubject | TokenInvalid:
        """Say whose *token* is.  Raises `StoreUnavailable` when its issuer cannot be asked and must be."""
        ...

    def trusts(self, issuer: str) -> bool:
        """Tell whether tokens of *issuer* are taken."""
        ...

    def review(self) -> bool:
        """Begin to ask issuers about the tokens of open sessions whose time has come; at once, and each second.

        Returns:
            Whether one of them has ceased to count since the last call.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
