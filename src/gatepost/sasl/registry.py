"""The table of mechanisms, in the order in which clients see them.

Some clients take the first that they know: proofs that hide the secret come first, and CRAM-MD5, which makes us keep
something as good as the secret, comes last.  What of it is on offer to somebody is settled by configuration, listener
and stores.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gatepost.sasl.cram_md5 import CRAM_MD5
from gatepost.sasl.external import EXTERNAL
from gatepost.sasl.login import LOGIN
from gatepost.sasl.mechanism import Mechanism, Needs
from gatepost.sasl.oauth import OAUTHBEARER, XOAUTH2
from gatepost.sasl.plain import PLAIN
from gatepost.sasl.scram import (
    SCRAM_SHA_1,
    SCRAM_SHA_1_PLUS,
    SCRAM_SHA_256,
    SCRAM_SHA_256_PLUS,
    SCRAM_SHA_512,
    SCRAM_SHA_512_PLUS,
)

__all__ = ["MECHANISMS", "NAMES", "default_names", "find"]

MECHANISMS: Final[Mapping[str, Mechanism]] = MappingProxyType(
    {
        each.name: each
        for each in (
            EXTERNAL,
            SCRAM_SHA_512_PLUS,
            SCRAM_SHA_256_PLUS,
            SCRAM_SHA_1_PLUS,
            SCRAM_SHA_512,
            SCRAM_SHA_256,
            SCRAM_SHA_1,
            PLAIN,
            LOGIN,
            OAUTHBEARER,
            XOAUTH2,
            CRAM_MD5,
        )
    }
)

NAMES: Final = tuple(MECHANISMS)
"""Their names, in order of preference."""

_ON_REQUEST: Final = frozenset(NAMES) - {"SCRAM-SHA-256", "PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2"}


def default_names(*, has_issuer: bool) -> tuple[str, ...]:
    """Return the names of those that are on unless the configuration says otherwise, in order of preference.

    Args:
        has_issuer: whether somebody is configured whose access tokens we take.
    """
    return tuple(
        name
        for name, each in MECHANISMS.items()
        if name not in _ON_REQUEST and (has_issuer or each.needs is not Needs.TOKEN)
    )


def find(name: str) -> Mechanism | None:
    """Return the mechanism of that name, in any letter case (RFC 4954 §4); None if there is none."""
    return MECHANISMS.get(name.upper()) if name.isascii() else None  # U+017F is no "S"
