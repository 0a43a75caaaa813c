"""The tables ``[[listener]]``: sockets, and who may log in there how."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, field_validator

from gatepost.config.values import Address, Location, Name, Table, Whole, check_networks, wrong
from gatepost.sasl.registry import NAMES

__all__ = ["Listener", "Mechanism", "check_distinct"]

_OUTSIDE: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


def _check_mechanism(value: str) -> str:
    if value in NAMES or _OUTSIDE.fullmatch(value):
        return value
    shown = ascii(value)[1:-1]
    known = ", ".join(f'"{each}"' for each in NAMES)
    raise wrong(f'holds "{shown[:60]}"; write {known}, or "package.module:NAME" for one that you installed')


Mechanism = Annotated[
    str,
    AfterValidator(_check_mechanism),
    WithJsonSchema({"anyOf": [{"enum": list(NAMES)}, {"type": "string", "pattern": f"^{_OUTSIDE.pattern}$"}]}),
]
"""One of ours by its name, or one from elsewhere by where it stands."""


def check_distinct(values: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Refuse a list that names something twice."""
    if values is not None and len(set(values)) < len(values):
        raise wrong("names something twice; write each once")
    return values


class Listener(Table):
    """A socket on which clients submit mail."""

    name: Name = Field(description="Name of the listener, for logs and credentials.", examples=["submissions"])
    address: Address = Field(default="*", description='IP address to listen on; "*" is every address, IPv6 and IPv4.')
    port: Whole = Field(ge=0, le=65535, description="TCP port; 0 lets the system choose.", examples=[465])
    tls: Literal["starttls", "implicit"] = Field(
        description='"implicit": TLS from the first octet (port 465); "starttls": after STARTTLS (port 587).',
        examples=["implicit"],
    )
    mechanisms: tuple[Mechanism, ...] | None = Field(
        default=None,
        min_length=1,
        description="SASL mechanisms on offer here; those of [auth] if not given.  Here a SCRAM may also be named with "
        '-PLUS, as "SCRAM-SHA-256-PLUS": it binds the login to the TLS connection.  Some clients fail where it is '
        "offered, others want nothing else: give it a listener.",
        examples=[["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"]],
    )
    client_ca: Location | None = Field(
        default=None,
        description="Authorities whose client certificates let somebody in here by EXTERNAL, as PEM; a certificate may "
        "stand there for itself.  Certificates are asked for here alone; who shows none logs in otherwise.",
        examples=["/etc/gatepost/tls/clients.pem"],
    )
    client_crl: Location | None = Field(
        default=None,
        description="Client certificates that were revoked (CRL), as PEM: a list in force for each authority, or "
        "nobody with its certificates gets in.",
        examples=["/etc/gatepost/tls/clients.crl"],
    )
    client_identity: Literal["credential", "email", "common-name"] = Field(
        default="credential",
        description='Whose a client certificate is: "credential" if it must be one ("credential add --certificate"); '
        'or also that of the account with its mail address (subjectAltName), "email", or with its "common-name".',
        examples=["email"],
    )
    bare_line_endings: Literal["refuse", "normalise"] = Field(
        default="refuse",
        description="What becomes of a message with a CR or LF that stands alone, as some devices and scripts send: "
        '"refuse", or "normalise" to CRLF.  It is never passed on as it is, and never ends a message.',
    )
    proxy_networks: tuple[str, ...] = Field(
        default=(),
        description="Addresses and networks of proxies that say for whom they connect, by PROXY protocol 1 or 2, and "
        "are believed; from there nothing else is taken, and from elsewhere no such header.",
        examples=[["192.0.2.10", "2001:db8::/64"]],
    )
    legacy_tls_networks: tuple[str, ...] = Field(
        default=(),
        description="Old devices that know no TLS 1.2: if given, TLS 1.0 and old ciphers are taken here, and nobody "
        "but these addresses and networks may connect.  What passes is hardly protected.",
        examples=[["192.0.2.20"]],
    )

    _check_distinct = field_validator("mechanisms")(check_distinct)
    _check_networks = field_validator("proxy_networks", "legacy_tls_networks")(check_networks)
