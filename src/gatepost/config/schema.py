"""The keys of ``gatepost.toml``, each with its meaning, unit and default; only this package knows pydantic.

Unknown keys are errors.  Durations are `timedelta`, sizes are octets, secrets are `Secret`, paths are absolute once
loaded.  `gatepost.config.load` makes a `Config`; `gatepost.config.check` sees what a field alone cannot.
"""

from __future__ import annotations

import socket
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PrivateAttr, StringConstraints, field_validator

from gatepost.config.dkim import Dkim
from gatepost.config.limits import Limits
from gatepost.config.listeners import Listener, Mechanism, check_distinct
from gatepost.config.locate import Source
from gatepost.config.oauth import Issuer, OAuth
from gatepost.config.postgres import PostgresStore
from gatepost.config.queue import Queue, QueueRule
from gatepost.config.route_match import Match
from gatepost.config.routes import DiscardRoute, HostRoute, LmtpRoute, Route, SandboxRoute, SmarthostRoute
from gatepost.config.stores import HttpStore, PasswdFileStore, SqliteStore, StaticStore, Store
from gatepost.config.tls import Pair, Tls
from gatepost.config.values import (
    Duration,
    Flag,
    HostAndPort,
    Hostname,
    Location,
    Size,
    Table,
    Whole,
)

__all__ = [
    "Admin",
    "Argon2",
    "Auth",
    "Config",
    "DiscardRoute",
    "Dkim",
    "HostRoute",
    "HttpStore",
    "Idempotence",
    "Issuer",
    "Limits",
    "Listener",
    "LmtpRoute",
    "Match",
    "OAuth",
    "Observe",
    "Pair",
    "PasswdFileStore",
    "Policy",
    "Queue",
    "QueueRule",
    "Route",
    "SandboxRoute",
    "SmarthostRoute",
    "Spool",
    "SqliteStore",
    "StaticStore",
    "Store",
    "Tls",
]

_Text = Annotated[str, StringConstraints(min_length=1)]
_KIB, _MIB = 1 << 10, 1 << 20


def _system_name() -> str:
    # The name is asked of the DNS only if the system does not know it whole: that may take seconds.
    name = socket.gethostname()
    return name if "." in name else socket.getfqdn()


class Argon2(Table):
    """Cost of hashing a password that a person chose (argon2id, RFC 9106)."""

    memory_bytes: Size = Field(
        default=19 * _MIB,
        ge=8 * _MIB,
        le=1024 * _MIB,
        description="Memory for one hash; one hash per core runs at once.",
    )
    passes: Whole = Field(default=2, ge=1, le=100, description="Passes over the memory.")
    lanes: Whole = Field(default=1, ge=1, le=64, description="Threads of one hash.")


class Auth(Table):
    """How clients log in."""

    mechanisms: tuple[Mechanism, ...] = Field(
        default=("SCRAM-SHA-256", "PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2"),
        min_length=1,
        description="SASL mechanisms on offer, and so the verifiers that new credentials get.  Each is offered once "
        'it can work: "OAUTHBEARER" and "XOAUTH2" with an issuer, and those with verifiers of their own where all '
        'credentials have them.  "SCRAM-SHA-1" and "SCRAM-SHA-512" are for clients that know nothing else of SCRAM; '
        '"CRAM-MD5" is weak, and for clients that know nothing better at all.',
    )
    scram_iterations: Whole = Field(
        default=15_000, ge=4096, le=1_000_000, description="Iterations of PBKDF2 for SCRAM."
    )
    max_failures: Whole = Field(
        default=3, ge=3, le=5, description="Failed attempts on one connection before it is closed."
    )
    failure_delay: Duration = Field(
        default=timedelta(seconds=1),
        le=timedelta(seconds=30),
        description="When a failed attempt is answered, from the client's last line: after 10 ms at least; it grows.",
    )
    hashing_queue: Whole = Field(
        default=64,
        ge=1,
        le=10_000,
        description="Logins that may wait for a free hashing thread; more are told to try later.",
    )
    cache_time: Duration = Field(
        default=timedelta(minutes=5),
        le=timedelta(days=1),
        description='How long a password that was verified is known again without hashing; "0s": never.',
    )
    cache_entries: Whole = Field(
        default=10_000, ge=0, le=1_000_000, description="How many verified passwords are remembered."
    )
    expiry_warning: Duration = Field(
        default=timedelta(days=7),
        le=timedelta(days=365),
        description='How long before a credential ends there is a warning in the log; "0s": no warning.',
    )
    expiry_mail: Flag = Field(
        default=True, description="Whether that warning is mailed to the contact of the account, where it has one."
    )
    argon2: Argon2 = Field(default=Argon2(), description="Cost of hashing chosen passwords.")

    _check_distinct = field_validator("mechanisms")(check_distinct)


class Policy(Table):
    """What a login may do."""

    sender: Literal["enforce"] = Field(default="enforce", description="MAIL FROM must belong to the login.")
    header_from: Literal["enforce"] = Field(
        default="enforce", description="The header's From must belong to the login."
    )
    detail_separator: str = Field(
        default="+",
        max_length=1,
        description="What sets off the detail of an address (tim+news@…); empty for no details.",
    )
    null_sender: Literal["deny", "allow"] = Field(
        default="deny", description="Whether logins may use the null reverse-path, unless an account says otherwise."
    )


class Idempotence(Table):
    """Mail that a client sends again because the line broke before it heard our 250."""

    enabled: Flag = Field(
        default=False,
        description="Whether it gets the id of before and goes once: same credential, recipients, content and "
        "Message-ID of the client's own, and no octet from the client after the 250 it missed, nor QUIT before it.",
    )
    window: Duration = Field(
        default=timedelta(minutes=10), ge=timedelta(seconds=1), le=timedelta(days=1), description="For how long."
    )


class Spool(Table):
    """Where accepted mail lies: below state_dir."""

    inline_bytes: Size = Field(
        default=64 * _KIB, le=16 * _MIB, description="Bodies up to this size lie in the database, larger ones in files."
    )
    reserve_bytes: Size | None = Field(
        default=None,
        description="Free space below which new mail is refused; if not given, 64 MiB or twice limits.message_bytes, "
        "whichever is larger.",
        examples=["64MiB"],
    )


class Admin(Table):
    """A process beside the workers, for health checks and metrics over HTTP."""

    listen: HostAndPort | None = Field(
        default=None,
        description="IP address and port on which it serves /health/live, /health/ready and /metrics, to everybody who "
        "reaches it; there is no such process if not given.",
        examples=["127.0.0.1:8025"],
    )


class Observe(Table):
    """What is logged."""

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is logged."
    )
    log_format: Literal["json", "text"] = Field(
        default="json", description='"json": one object a line; "text": for reading.'
    )
    log_file: Location | None = Field(
        default=None, description="File to append to; standard output if not given.", examples=["/var/log/gatepost.log"]
    )
    audit_file: Location | None = Field(
        default=None,
        description="File to append the audit trail to: logins and accepted mail, a JSON object a line, each with the "
        "hash of the one before of its process.  None is kept if not given.",
        examples=["/var/log/gatepost-audit.log"],
    )


class Config(Table):
    """The whole configuration."""

    hostname: Hostname = Field(
        default_factory=_system_name,
        validate_default=True,
        description="Our own name, fully qualified: in the greeting, in Received, and to next hops; "
        "the system's name if not given.",
        examples=["mail.example.org"],
    )
    state_dir: Location = Field(
        default=Path("/var/lib/gatepost"), description="Folder for everything that must last: spool, accounts, keys."
    )
    state_may_vanish: Flag = Field(
        default=False,
        description="Whether gatepost may start though state_dir would vanish with its container, and the mail in it.",
    )
    secret_key_file: Location = Field(
        default_factory=lambda data: data.get("state_dir", Path()) / "secret.key",
        description="Key that seals what the stores keep, made at the first start; state_dir/secret.key if not given.",
        examples=["/var/lib/gatepost/secret.key"],
    )
    workers: Whole = Field(
        default=0,
        ge=0,
        le=64,
        description="Processes that take and deliver mail; 0 is one for each core there is for us.",
    )
    listener: tuple[Listener, ...] = Field(
        default=(
            Listener(name="submission", port=587, tls="starttls"),
            Listener(name="submissions", port=465, tls="implicit"),
        ),
        min_length=1,
        description="Where clients submit mail; if none is given, port 587 with STARTTLS and 465 with implicit TLS.",
    )
    tls: Tls = Field(default=Tls(), description="TLS of the listeners.")
    auth: Auth = Field(default=Auth(), description="How clients log in.")
    store: tuple[Store, ...] = Field(
        default_factory=lambda data: (SqliteStore(type="sqlite", path=data.get("state_dir", Path()) / "accounts.db"),),
        min_length=1,
        description="Who may log in, asked in this order: the first that knows a name speaks for it; if none is given, "
        "state_dir/accounts.db.",
    )
    oauth: OAuth = Field(default=OAuth(), description="Access tokens that clients bring.")
    policy: Policy = Field(default=Policy(), description="What a login may do.")
    limits: Limits = Field(default=Limits(), description="How much, how many, how long.")
    route: tuple[Route, ...] = Field(
        default=(), description="Where mail goes; the first that matches.  Without one gatepost does not start."
    )
    idempotence: Idempotence = Field(default=Idempotence(), description="Mail that a client sends again.")
    queue: Queue = Field(default=Queue(), description="When mail is tried again.")
    dkim: Dkim = Field(default=Dkim(), description="DKIM signatures.")
    spool: Spool = Field(default=Spool(), description="Where accepted mail lies.")
    observe: Observe = Field(default=Observe(), description="What is logged.")
    admin: Admin = Field(default=Admin(), description="Health checks and metrics over HTTP.")

    _source: Source = PrivateAttr(default_factory=Source)

    @property
    def source(self) -> Source:
        """Where each key was written, for messages."""
        return self._source

    @property
    def spool_dir(self) -> Path:
        """Folder of the spools: one each, named by number."""
        return self.state_dir / "spool"

    @property
    def accounts_store(self) -> SqliteStore | PostgresStore | None:
        """What ``gatepost account`` keeps: the first store that is a database, if there is one."""
        return next((each for each in self.store if isinstance(each, SqliteStore | PostgresStore)), None)

    @property
    def ways(self) -> tuple[tuple[Route, tuple[str, ...]], ...]:
        """The routes, once for each login of theirs, each with the sender domains that it is for; none for all."""
        found: list[tuple[Route, tuple[str, ...]]] = []
        for each in self.route:
            found += each.ways if isinstance(each, HostRoute) else [(each, ())]
        return tuple(found)

    @property
    def run_dir(self) -> Path:
        """Folder of the workers' sockets."""
        return self.state_dir / "run"

    @property
    def reserve_bytes(self) -> int:
        """Free space that is not given to new mail."""
        if self.spool.reserve_bytes is not None:
            return self.spool.reserve_bytes
        return max(64 * _MIB, 2 * self.limits.message_bytes)
