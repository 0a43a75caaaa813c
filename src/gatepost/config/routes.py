"""The keys of ``[[route]]``: which mail goes where, and how."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator

from gatepost.config.queue import Waits, no_storm, some_time
from gatepost.config.route_login import SECRETS, SenderLogin, one_secret
from gatepost.config.route_match import Match
from gatepost.config.route_oauth import RouteOAuth
from gatepost.config.route_provider import ProviderKeys
from gatepost.config.route_source import SourceAddresses
from gatepost.config.ses import smtp_password
from gatepost.config.values import (
    Duration,
    Flag,
    Host,
    Location,
    Name,
    NextHop,
    SecretField,
    SecretFileField,
    Table,
    Whole,
    split_host,
)
from gatepost.model.identity import Secret

__all__ = ["DiscardRoute", "HostRoute", "LmtpRoute", "Route", "SandboxRoute", "SmarthostRoute"]


class _Route(Table):
    name: Name = Field(description="Name of the route, for logs and commands.", examples=["smarthost"])
    match: Match = Field(
        default=Match(),
        description="Which mail it takes; the first route that matches wins.  Each list that is given must match; "
        "without any list it takes all mail.",
    )
    retry: Waits | None = Field(
        default=None,
        min_length=1,
        description="Wait after each failed attempt on it; as queue.retry says, if not given.",
        examples=[["5m", "30m", "2h"]],
    )
    give_up_after: Duration | None = Field(
        default=None,
        description="Age at which its mail is bounced; as queue.give_up_after says, if not given.",
        examples=["2d"],
    )

    _no_storm = field_validator("retry")(no_storm)
    _some_time = field_validator("give_up_after")(some_time)


class HostRoute(_Route):
    """One host that takes the mail onward."""

    transport: str
    host: Host = Field(default="", description="Name or address of the next hop.", examples=["smtp.example.net"])
    hosts: tuple[NextHop, ...] = Field(
        default=(),
        min_length=1,
        max_length=10,
        description="Several of them instead, each with a port or without: the first that works gets the mail, the "
        "next one at once where it cannot be reached (docs/routes.md).",
        examples=[["smtp1.example.net", "smtp2.example.net:2525"]],
    )
    tls: Literal["starttls", "implicit", "none"] = Field(
        default="starttls",
        description='How the connection is encrypted; "none" only for a host on the same machine or wire.',
    )
    port: Whole = Field(
        default_factory=lambda data: {"starttls": 587, "implicit": 465, "none": 25}.get(data.get("tls", ""), 587),
        ge=1,
        le=65535,
        description="TCP port; the usual one for the kind of TLS if not given (587, 465, 25).",
    )
    verify: Flag = Field(
        default=True, description="Whether the certificate of the next hop must be good and carry its name."
    )
    minimum_tls: Literal["TLSv1.2", "TLSv1.3"] = Field(
        default="TLSv1.2", description="Oldest version of TLS that the next hop may have."
    )
    ca_file: Location | None = Field(
        default=None,
        description="Certificates to trust instead of the system's, as PEM.",
        examples=["/etc/gatepost/ca.pem"],
    )
    certificate: Location | None = Field(
        default=None,
        description="Our certificate, for a next hop that wants one, as PEM; where EXTERNAL is offered, it logs us in.",
        examples=["/etc/gatepost/tls/client.pem"],
    )
    key: Location | None = Field(
        default=None,
        description="Key of our certificate; in the same file if not given.",
        examples=["/etc/gatepost/tls/client.key"],
    )
    login: str = Field(
        default="",
        description="Name to log in with; no login if empty, but by certificate.",
        examples=["gatepost@example.net"],
    )
    password: SecretField | None = Field(
        default=None, description="Password.  Better kept in a file of its own: password_file.", examples=["…"]
    )
    password_file: SecretFileField | None = Field(
        default=None, description="File that holds the password.", examples=["/etc/gatepost/smarthost.password"]
    )
    token: SecretField | None = Field(
        default=None,
        description="OAuth access token for XOAUTH2 or OAUTHBEARER.  Better kept in a file: token_file.",
        examples=["…"],
    )
    token_file: SecretFileField | None = Field(
        default=None,
        description="File that holds an OAuth access token for XOAUTH2 or OAUTHBEARER.",
        examples=["/etc/gatepost/smarthost.token"],
    )
    source_address: SourceAddresses = Field(
        default=(),
        description="Our address to connect from, or one of IPv4 and one of IPv6; a family without one is not used.  "
        "Any if not given.",
        examples=[["192.0.2.25", "2001:db8::25"]],
    )
    oauth: RouteOAuth | None = Field(
        default=None,
        description="Access tokens that gatepost gets and renews itself (docs/oauth-out.md), in place of password and "
        "token.",
    )
    logins: tuple[SenderLogin, ...] = Field(
        default=(),
        min_length=1,
        max_length=1000,
        description="Other logins for mail from some domains, each with sender_domains, login and password, "
        "password_file, token or token_file; the first that matches (docs/routes.md).",
    )
    connections: Whole = Field(
        default=20, ge=1, le=1000, description="Connections to the next hop at once, with each login, over all workers."
    )
    idle: Duration = Field(default=timedelta(seconds=15), description="How long an unused connection is kept.")

    _one_secret = field_validator(*SECRETS[1:])(one_secret)

    @property
    def ways(self) -> tuple[tuple[Self, tuple[str, ...]], ...]:
        """The route once for each login, named after it, with the sender domains that it is for; its own last."""
        found = []
        for each in self.logins:
            own = {key: value for key, value in each.of_route().items() if key in type(self).model_fields}
            copy = self.model_copy(update={"name": f"{self.name}:{each.name}", "logins": (), **own})
            found.append((copy, each.sender_domains))
        return *found, (self.model_copy(update={"logins": ()}) if self.logins else self, ())

    @property
    def next_hops(self) -> tuple[tuple[str, int], ...]:
        """Its hosts with their ports, in their order."""
        found = [split_host(each) for each in self.hosts or (self.host,)]
        return tuple((host, self.port if port is None else port) for host, port in found)

    @property
    def password_secret(self) -> Secret | None:
        """The password, wherever it was written."""
        return self.password_file.secret if self.password_file is not None else self.password

    @property
    def login_name(self) -> str:
        """The name to log in with."""
        return self.login

    @property
    def token_secret(self) -> Secret | None:
        """The access token as it was when the configuration was loaded."""
        return self.token_file.secret if self.token_file is not None else self.token


class SmarthostRoute(ProviderKeys, HostRoute):
    """One host that takes the mail onward, by SMTP."""

    transport: Literal["smarthost"] = Field(
        description='Way of delivery: "smarthost" hands mail to one host, "lmtp" to one that keeps it for its users, '
        '"sandbox" keeps it in a folder, "discard" throws it away.'
    )

    @property
    def password_secret(self) -> Secret | None:
        """The password, wherever it was written, or made of the secret access key."""
        key = self.secret_access_key_file.secret if self.secret_access_key_file is not None else self.secret_access_key
        return super().password_secret if key is None else smtp_password(key, self.region)

    @property
    def login_name(self) -> str:
        """The name to log in with: as it was written, or where the provider has it so, the password itself."""
        secret = self.password_secret
        if self.login or secret is None or self.preset is None or not self.preset.has_login_in_password:
            return self.login
        return secret.reveal().decode("utf-8", "replace")


class LmtpRoute(HostRoute):
    """One host or Unix socket that keeps the mail, by LMTP."""

    transport: Literal["lmtp"] = Field(description='Way of delivery: "lmtp" hands mail to what keeps it for its users.')
    host: Host = Field(
        default="", description="Name or address of the next hop; or see socket.", examples=["dovecot.example.net"]
    )
    # RFC 2033 §5: not port 25.  24 is for any private mail system.
    port: Whole = Field(default=24, ge=1, le=65535, description="TCP port.")
    socket: Location | None = Field(
        default=None,
        description="Unix socket of the next hop, instead of host, port and tls.",
        examples=["/run/dovecot/lmtp"],
    )


class SandboxRoute(_Route):
    """A folder that keeps mail instead of sending it."""

    transport: Literal["sandbox"] = Field(description='Way of delivery: "sandbox" keeps mail in a folder.')
    path: Location = Field(description="Folder that keeps the mail.", examples=["/var/lib/gatepost/sandbox"])
    keep: Whole = Field(
        default=1000,
        ge=1,
        le=1_000_000,
        description="How many messages stay there, of all workers together; the oldest go when more come (of more than "
        "100, a hundredth for each worker may lie there besides).",
    )


class DiscardRoute(_Route):
    """A way for mail that nobody is to get."""

    transport: Literal["discard"] = Field(
        description='Way of delivery: "discard" throws mail away; its sender is told that it was delivered.'
    )
    sandbox: Flag = Field(
        default=False, description="Whether it takes mail of sandbox credentials too, as a sandbox would."
    )


Route = Annotated[SmarthostRoute | LmtpRoute | SandboxRoute | DiscardRoute, Field(discriminator="transport")]
