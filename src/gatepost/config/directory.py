"""The keys of a ``[[store]]`` of type ldap: where a directory is, how it is asked, and what its attributes mean."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from gatepost.config.values import Duration, Flag, Location, SecretFileField, Table, Whole, wrong

__all__ = ["LdapAttributes", "LdapStore"]


def _check_url(value: str) -> str:
    from gatepost.identity.ldap.server import parse_server

    try:
        parse_server(value)
    except ValueError as error:
        raise wrong(str(error)) from None
    return value


def _check_filter(value: str) -> str:
    from gatepost.identity.ldap.filter import parse_filter

    try:
        parse_filter(value)
    except ValueError as error:
        raise wrong(f"{error}; write one such as (&(objectClass=person)(mail={{login}}))") from None
    return value


Attribute = Annotated[str, StringConstraints(pattern=r"^([A-Za-z][A-Za-z0-9-]*|[0-9]+(\.[0-9]+)+)$")]


class LdapAttributes(Table):
    """Which attribute of an entry says what."""

    login: Attribute | None = Field(
        default=None,
        description="What the account is called, where an entry has several logins: its limits are for all of them "
        "together.  It must be one of them.",
        examples=["uid"],
    )
    senders: tuple[Attribute, ...] = Field(
        default=("mail", "mailAlternateAddress"),
        description='Whom it may write as: each value is name@domain, *@domain or *; "smtp:" before it is left out.  '
        "Name only what people cannot write themselves.",
    )
    disabled: Attribute | None = Field(
        default=None,
        description="That it may not be used: there, and not FALSE, no or 0; userAccountControl as Active Directory "
        "means it.",
        examples=["nsAccountLock"],
    )
    password: Attribute | None = Field(
        default=None,
        description="Without this attribute an entry has no password, and whoever is logged in with it no more.",
        examples=["pwdChangedTime"],
    )
    label: Attribute | None = Field(
        default=None, description="What its password is called in the log.", examples=["description"]
    )
    not_before: Attribute | None = Field(default=None, description="When it begins.", examples=["gatepostNotBefore"])
    expires: Attribute | None = Field(
        default=None,
        description="When it ends: generalized time, or seconds since 1970; shadowExpire and accountExpires as they "
        "are meant.",
        examples=["krbPrincipalExpiration"],
    )
    mechanisms: Attribute | None = Field(
        default=None, description="The only mechanisms it may be used with.", examples=["gatepostMechanism"]
    )
    listeners: Attribute | None = Field(
        default=None, description="The only listeners it may come in by.", examples=["gatepostListener"]
    )
    networks: Attribute | None = Field(
        default=None, description="The only addresses and networks it may come from.", examples=["gatepostNetwork"]
    )
    only_senders: Attribute | None = Field(
        default=None, description="What narrows its senders, in the same forms.", examples=["gatepostOnlySender"]
    )
    recipients: Attribute | None = Field(
        default=None, description="Whom it may write to, in the same forms.", examples=["gatepostRecipient"]
    )
    messages_per_minute: Attribute | None = Field(
        default=None, description="How many messages it may send in a minute.", examples=["gatepostRate"]
    )
    sandbox: Attribute | None = Field(
        default=None, description="TRUE: its mail goes to the sandbox only.", examples=["gatepostSandbox"]
    )
    max_message_bytes: Attribute | None = Field(
        default=None, description="Its own limit of a message.", examples=["mailMessageLimit"]
    )
    max_recipients: Attribute | None = Field(
        default=None, description="Its own limit of recipients a message.", examples=["gatepostMaxRecipients"]
    )
    null_sender: Attribute | None = Field(
        default=None, description="TRUE or FALSE: whether it may use the null sender.", examples=["gatepostNullSender"]
    )


class LdapStore(Table):
    """A directory."""

    type: Literal["ldap"] = Field(
        description='"ldap": a directory; an entry is found by a search or a name, and its password tried with a bind '
        "(docs/stores.md).",
        examples=["ldap"],
    )
    urls: tuple[Annotated[str, AfterValidator(_check_url)], ...] = Field(
        min_length=1,
        max_length=8,
        description="Its servers: ldaps://host, ldap://host (TLS by StartTLS), or ldapi://%2Fpath; the next is asked "
        "when one fails.",
        examples=[["ldaps://ldap1.example.org", "ldaps://ldap2.example.org"]],
    )
    starttls: Flag = Field(
        default=True, description="Whether ldap:// begins TLS; false only for a directory on this machine."
    )
    ca_file: Location | None = Field(
        default=None,
        description="Certificates to trust instead of the system's, as PEM.",
        examples=["/etc/gatepost/ca.pem"],
    )
    certificate: Location | None = Field(
        default=None,
        description="Our certificate, if it wants one, as PEM.",
        examples=["/etc/gatepost/tls/fullchain.pem"],
    )
    key: Location | None = Field(
        default=None,
        description="Key of our certificate; in the same file if not given.",
        examples=["/etc/gatepost/tls/privkey.pem"],
    )
    bind_dn: Annotated[str, StringConstraints(min_length=1)] | None = Field(
        default=None,
        description="Name of the service account that looks entries up; anonymously if not given.",
        examples=["cn=gatepost,ou=services,dc=example,dc=org"],
    )
    bind_password_file: SecretFileField | None = Field(
        default=None, description="File that holds its password.", examples=["/etc/gatepost/ldap.password"]
    )
    base: str | None = Field(
        default=None, description="Where the search begins.", examples=["ou=people,dc=example,dc=org"]
    )
    scope: Literal["base", "one", "sub"] = Field(
        default="sub", description='How far it goes: "sub" is all below, "one" is one level, "base" the entry itself.'
    )
    filter: Annotated[str, AfterValidator(_check_filter)] | None = Field(
        default=None,
        description="Which entry it is; {login} stands for the login, in lower case.",
        examples=["(&(objectClass=inetOrgPerson)(mail={login}))"],
    )
    dn_template: str | None = Field(
        default=None,
        description="Instead of a search: the name of the entry; filter is then what else must hold of it.",
        examples=["uid={login},ou=people,dc=example,dc=org"],
    )
    timeout: Duration = Field(
        default=timedelta(milliseconds=800),
        ge=timedelta(milliseconds=10),
        le=timedelta(seconds=30),
        description="How long an answer may take, over all servers.  Above auth.failure_delay, a slow directory shows "
        "which names it is asked for.",
    )
    cache_time: Duration = Field(
        default=timedelta(minutes=1),
        le=timedelta(hours=1),
        description='How long a yes is remembered, and how often it is asked about who is logged in; "0s": never, and '
        "each second.",
    )
    cache_entries: Whole = Field(default=10_000, ge=0, le=1_000_000, description="How many answers are remembered.")
    connections: Whole = Field(
        default=10,
        ge=1,
        le=1000,
        description="Connections to it at once, of each worker: for searches, and as many for passwords.",
    )
    attributes: LdapAttributes = Field(
        default=LdapAttributes(),
        description="Which attribute of an entry says what; those without a name are not read.",
    )
