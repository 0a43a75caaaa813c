"""What every kind of test may ask for: certificates made on the fly, PostgreSQL; and the rule for tests of root."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections.abc import Callable, Iterator

import pytest
import uvloop
from hypothesis import HealthCheck, settings

import gatepost.session.wire
from gatepost.identity.stores.postgres_server import PostgresServer
from private_postgres import PrivatePostgres, why_missing
from servers import Authority

# The same examples each time, and no judgement of how fast a machine is: only a fault may fail a test.  With
# `--hypothesis-profile explore` pytest tries others.
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", settings.get_profile("explore"), derandomize=True)
settings.load_profile("same")


def pytest_configure(config: pytest.Config) -> None:
    """Let coverage measure whoever runs the tests, and no program that these start."""
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


# What takes longest begins first, so that no worker is still at it when the others have nothing left to do.
LONGEST = (
    *("test_fuzz.py", "test_clients.py", "test_states.py", "test_powercut.py", "test_next_hop_table.py"),
    *("test_crowd.py", "test_supervisor.py", "test_same_no.py", "test_postgres_server.py", "test_smuggling.py"),
    *("test_testssl.py", "test_external.py", "test_oauth_out.py", "test_marked_secrets.py", "test_provider_away.py"),
    *("test_renewal.py", "test_revocation.py", "test_session_patience.py", "test_crash.py", "test_postgres_trouble.py"),
    *("test_farewell.py", "test_operating.py", "test_disk_full.py", "test_restart_under_load.py"),
    "test_node_limits.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first; within a file nothing moves."""
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.name, len(ranks)))


def pytest_collection_finish() -> None:
    """Keep what was collected out of the garbage collector's way: thousands of tests stay to the end anyway."""
    gc.collect()
    gc.freeze()


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run what uses real sockets on both event loops."""
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if {"dialogs", "integration"} & set(item.path.parts):
        loops["uvloop"] = uvloop.new_event_loop
    return loops


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what is marked ``root`` for everybody else, and ``sources`` where this process runs what was compiled."""
    if item.get_closest_marker("root") is not None and os.geteuid() != 0:
        pytest.skip("needs root")
    if item.get_closest_marker("sources") is not None and IS_COMPILED:
        pytest.skip("replaces a part of the sources: nothing compiled can be changed")


IS_COMPILED = not gatepost.session.wire.__file__.endswith(".py")


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return a certificate authority, with a certificate of its for localhost and 127.0.0.1."""
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def postgres(authority: Authority) -> Iterator[PrivatePostgres]:
    """Return a PostgreSQL server, whose certificate is the authority's."""
    with made_postgres(authority) as server:
        yield server


@pytest.fixture
def own_postgres(authority: Authority) -> Iterator[PrivatePostgres]:
    """Return a PostgreSQL server that nobody else uses, so that it can be stopped."""
    with made_postgres(authority) as server:
        yield server


@pytest.fixture(scope="session")
def accounts_template(postgres: PrivatePostgres) -> str:
    """Return the name of a database with our tables, and nothing in them."""
    return postgres.database_with_tables()


@pytest.fixture
def accounts_server(postgres: PrivatePostgres, accounts_template: str) -> Iterator[PostgresServer]:
    """Return how an accounts database is reached that nobody else uses."""
    name = postgres.database(accounts_template)
    yield postgres.server(name)
    postgres.drop(name)


@contextlib.contextmanager
def made_postgres(authority: Authority) -> Iterator[PrivatePostgres]:
    """Make a server, or skip the test; it is waited for as long as a slow machine takes."""
    reason = why_missing()
    if reason:
        pytest.skip(reason)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("postgres_server.CONNECT_SECONDS", "postgres_pool.CONNECT_SECONDS", "postgres_writing._PATIENCE"):
            patch.setattr(f"gatepost.identity.stores.{name}", 100.0)
        server = PrivatePostgres(authority.certificate, authority.key)
        try:
            yield server
        finally:
            server.remove()
