"""Bring an accounts database to the schema of this version: make its tables, or carry them on (alembic).

Several processes may do so at once: the first does it, the others find it done.  ``gatepost serve`` has it done by
``python -m gatepost.identity.migrate FILE``, and so stays small; without FILE, standard input says where a PostgreSQL
server is, as JSON, so that no password is among the words of a process.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError

from gatepost.errors import ConfigError, GatepostError
from gatepost.identity.database import AccountsDatabase, Database

__all__ = ["upgrade"]

_SCRIPTS: Final = "gatepost.identity:migrations"


def upgrade(database: AccountsDatabase, revision: str = "head") -> None:
    """Make the tables, or bring them up to date, or to an older *revision*.

    Raises:
        ConfigError: the folder is missing or closed to us, or the database was made by a newer version.
        StoreUnavailable: the database is broken, or somebody else holds it.
    """
    database.make()
    config = Config()
    config.set_main_option("script_location", _SCRIPTS)
    config.set_main_option("path_separator", "os")
    try:
        with database.writing() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    except CommandError as error:
        raise ConfigError(f"{database}: made by another version of gatepost ({error}); use that one") from None


def _main(path: str = "") -> str | None:
    """Upgrade the database at *path*; return what went wrong."""
    try:
        upgrade(Database(Path(path)) if path else _told())
    except GatepostError as error:
        return str(error)
    return None


def _told() -> AccountsDatabase:
    from gatepost.identity.postgres_database import PostgresDatabase
    from gatepost.identity.stores.postgres_server import PostgresServer

    return PostgresDatabase(PostgresServer.from_words(json.load(sys.stdin)))


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
