"""What the server imports stays small, and what it reads is what the migrations make."""

from __future__ import annotations

import importlib.resources
import subprocess
import sys

from alembic.config import Config
from alembic.script import ScriptDirectory

from gatepost.identity.stores.sqlite import SCHEMA_VERSION


def test_the_server_side_needs_neither_sqlalchemy_nor_alembic() -> None:
    program = (
        "import sys, gatepost.identity.authority, gatepost.identity.stores.sqlite, gatepost.state.keys;"
        "print([each for each in sys.modules if each.split('.')[0] in"
        " {'sqlalchemy', 'alembic', 'pydantic', 'joserfc', 'httpx2', 'click', 'asyncpg'}])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_store_in_postgresql_needs_no_sqlalchemy_and_its_driver_only_when_it_is_asked() -> None:
    program = (
        "import sys, gatepost.identity.stores.postgres, gatepost.identity.postgres_ledger;"
        "print([each for each in sys.modules if each.split('.')[0] in {'sqlalchemy', 'alembic', 'asyncpg'}])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_store_reads_the_schema_that_the_last_migration_makes() -> None:
    config = Config()
    config.set_main_option("script_location", "gatepost.identity:migrations")
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [SCHEMA_VERSION]


def test_the_migrations_are_part_of_the_package() -> None:
    folder = importlib.resources.files("gatepost.identity.migrations")
    assert folder.joinpath("env.py").is_file()
    assert any(each.name.startswith("0001") for each in folder.joinpath("versions").iterdir())
