"""A PostgreSQL server, and one connection to it: nothing of it comes from PG* variables or files in a home folder."""

from __future__ import annotations

import asyncio
import functools
import ssl
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gatepost.errors import StoreUnavailable
from gatepost.identity.stores.http_context import client_context
from gatepost.identity.stores.rows import SCHEMA_VERSION
from gatepost.model.identity import Secret

if TYPE_CHECKING:
    import asyncpg

__all__ = [
    "CONNECT_SECONDS",
    "WRITER_LOCK",
    "PostgresServer",
    "Refused",
    "connect",
    "hang_up",
    "is_lost",
    "problem_of",
    "schema_of",
    "schema_problem",
    "troubles",
]

CONNECT_SECONDS: Final = 5.0
"""How long connecting and logging in may take."""

_PARTING_SECONDS: Final = 2.0

WRITER_LOCK: Final = int.from_bytes(b"gatepost", "big")
"""The advisory lock of whoever writes; other programs may use such locks in the same database."""


class Refused(StoreUnavailable):
    """The server is there, and does not let us in as configured."""


@dataclass(frozen=True)
class PostgresServer:
    """Where a database is, and how we log in.

    Args:
        host: name, address, or the folder of a Unix socket.
        port: TCP port, or the number in the socket's name.
        database: its name.
        user: as whom.
        password: None for none.
        has_tls: whether the connection is encrypted, and the server's certificate verified; not over a Unix socket.
        ca_file: certificates to trust instead of the system's.
        certificate: ours.
        key: of our certificate; in the same file if not given.
        timeout: seconds that a question may take.
    """

    host: str
    port: int
    database: str
    user: str
    password: Secret | None = None
    has_tls: bool = True
    ca_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    timeout: float = 0.8

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"postgres {host}/{self.database}" if self.is_local else f"postgres {host}:{self.port}/{self.database}"

    def to_words(self) -> dict[str, Any]:
        """Return what JSON can carry to a process of ours; it holds the password."""
        words = {each.name: getattr(self, each.name) for each in fields(self)}
        for name in ("ca_file", "certificate", "key"):
            words[name] = words[name] and str(words[name])
        words["password"] = self.password and self.password.reveal().decode()
        return words

    @classmethod
    def from_words(cls, words: dict[str, Any]) -> PostgresServer:
        """Make what `to_words` told of."""
        for name in ("ca_file", "certificate", "key"):
            words[name] = words[name] and Path(words[name])
        words["password"] = words["password"] and Secret(words["password"].encode())
        return cls(**words)

    @property
    def is_local(self) -> bool:
        """Whether it is asked over a Unix socket."""
        return self.host.startswith("/")

    @functools.cached_property
    def context(self) -> ssl.SSLContext | None:
        """TLS, if there is.  Raises `OSError`."""
        if self.is_local or not self.has_tls:
            return None
        return client_context(self.ca_file, self.certificate, self.key)


async def connect(server: PostgresServer, settings: dict[str, str] | None = None) -> asyncpg.Connection[Any]:
    """Connect, log in and see that the database speaks UTF-8.

    Args:
        server: where.
        settings: of the session.

    Raises:
        Refused: it does not let us in, or is no server that we could use.
        StoreUnavailable: it cannot be reached, or has no room for us.
    """
    try:
        import asyncpg
    except ModuleNotFoundError:
        raise StoreUnavailable(f"{server}: needs asyncpg; install it: pip install 'gatepost[postgres]'") from None
    try:
        connection = await asyncpg.connect(
            host=server.host,
            port=server.port,
            user=server.user,
            # With None it would be looked for in the environment, and in ~/.pgpass.
            password=server.password.reveal().decode() if server.password is not None else "",
            database=server.database,
            ssl=server.context or False,
            direct_tls=False,
            target_session_attrs="any",
            timeout=CONNECT_SECONDS,
            server_settings={"application_name": "gatepost"},
        )
    except troubles() as error:
        kind = Refused if _is_refusal(error) else StoreUnavailable
        raise kind(f"{server}: {problem_of(error)}") from None
    is_good = False
    try:
        encoding = connection.get_settings().server_encoding
        if encoding != "UTF8":
            raise Refused(f"{server}: its encoding is {encoding}; make a database whose encoding is UTF8")
        async with asyncio.timeout(CONNECT_SECONDS):
            for name, value in (settings or {}).items():
                await connection.execute("SELECT set_config($1, $2, false)", name, value)
        is_good = True
    except troubles() as error:
        raise StoreUnavailable(f"{server}: {problem_of(error)}") from None
    finally:
        if not is_good:
            await hang_up(connection)
    return connection


async def hang_up(connection: asyncpg.Connection[Any]) -> None:
    """Close a connection, politely if the server listens."""
    try:
        await connection.close(timeout=_PARTING_SECONDS)
    except troubles():
        connection.terminate()


async def schema_of(connection: asyncpg.Connection[Any]) -> str:
    """Return the version of the tables; empty if there are none."""
    import asyncpg

    try:
        return str(await connection.fetchval("SELECT version_num FROM alembic_version") or "")
    except asyncpg.UndefinedTableError:
        return ""


def schema_problem(server: PostgresServer, found: str) -> str:
    """Return what is wrong with tables of the version *found*; empty if nothing is."""
    if found == SCHEMA_VERSION:
        return ""
    has = f"has schema {found}" if found else "has no schema"
    return f"{server}: {has}, and this gatepost reads schema {SCHEMA_VERSION}; run: gatepost reload"


def troubles() -> tuple[type[Exception], ...]:
    """Return what asyncpg raises when a server does not answer as it should."""
    import asyncpg

    # RuntimeError: the server asks for a way to log in that nothing is installed for (GSSAPI).  The last ones are what
    # asyncpg stumbles over when an answer makes no sense.
    return (
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
        OSError,
        TimeoutError,
        RuntimeError,
        ValueError,
        AttributeError,
        LookupError,
        TypeError,
    )


def is_lost(error: Exception) -> bool:
    """Tell whether the connection is gone, so that another one may do."""
    import asyncpg

    # 57P01 to 57P03: ended by the administrator, by a crash, still starting.
    lost = (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, asyncpg.InterfaceError)
    return isinstance(error, (*lost, OSError)) and not isinstance(error, asyncpg.QueryCanceledError | TimeoutError)


def problem_of(error: Exception) -> str:
    """Return what went wrong, in one line, without values of rows."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    words = error.strerror if isinstance(error, OSError) and error.strerror else "".join(map(str, error.args[:1]))
    return " ".join(words.split())[:300] or type(error).__name__


def _is_refusal(error: Exception) -> bool:
    import asyncpg

    if isinstance(error, ssl.SSLError):
        return True
    refusals = (
        asyncpg.InvalidAuthorizationSpecificationError,  # with InvalidPasswordError
        asyncpg.InvalidCatalogNameError,
        asyncpg.InsufficientPrivilegeError,
    )
    return isinstance(error, refusals)
