"""The table ``[tls]``: certificates and versions of the listeners."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gatepost.config.values import Location, Table

__all__ = ["Pair", "Tls"]


class Pair(Table):
    """One more certificate."""

    certificate: Location = Field(
        description="Certificate and its chain, as PEM.", examples=["/etc/gatepost/tls/example.net/fullchain.pem"]
    )
    key: Location | None = Field(
        default=None,
        description="Its private key, as PEM; in the file of the certificate if not given.",
        examples=["/etc/gatepost/tls/example.net/privkey.pem"],
    )


class Tls(Table):
    """TLS of the listeners."""

    certificate: Location | None = Field(
        default=None,
        description="Certificate and its chain, as PEM.  Without it gatepost does not start.",
        examples=["/etc/gatepost/tls/fullchain.pem"],
    )
    key: Location | None = Field(
        default=None,
        description="Private key of the certificate, as PEM; in the file of the certificate if not given.",
        examples=["/etc/gatepost/tls/privkey.pem"],
    )
    minimum_version: Literal["TLSv1.2", "TLSv1.3"] = Field(
        default="TLSv1.2", description="Oldest version of TLS to accept."
    )
    pairs: tuple[Pair, ...] = Field(
        default=(),
        max_length=100,
        description="More certificates: for other names, which clients ask for (SNI), or of another kind (ECDSA beside "
        "RSA) for the same names.  Whoever asks for none of the names is shown the one above.",
    )
