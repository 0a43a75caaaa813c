"""A real server in the test's own process."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from directory_server import Slapd
from gatepost.testing import RunningServer, make_accounts, running
from identity_provider import IdentityProvider
from servers import Authority

LOGIN = "tim@example.org"
SECRET = "secret-pass-1"
MECHANISMS = ("SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5")

Start = Callable[..., AbstractAsyncContextManager[RunningServer]]


@pytest.fixture(scope="session")
def server_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a state folder with one account."""
    directory = tmp_path_factory.mktemp("integration") / "state"
    make_accounts(directory, {LOGIN: SECRET}, mechanisms=(*MECHANISMS, "SCRAM-SHA-1", "SCRAM-SHA-512"))
    return directory


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Slapd]:
    """Return an OpenLDAP that all tests of a process share."""
    made = Slapd(tmp_path_factory.mktemp("directory") / "slapd", authority)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def slapd(directory: Slapd) -> Slapd:
    """Return an OpenLDAP without people in it."""
    directory.empty()
    return directory


@pytest.fixture
def start(tmp_path: Path, server_state: Path, authority: Authority) -> Start:
    """Return what starts a server: ``async with start(limits={...}) as server``."""

    @asynccontextmanager
    async def start(**settings: Any) -> AsyncIterator[RunningServer]:
        directory = tmp_path / "state"
        if not directory.exists():
            shutil.copytree(server_state, directory)
        auth = {"mechanisms": MECHANISMS, "failure_delay": "0s", **settings.pop("auth", {})}
        async with running(
            directory,
            certificate=authority.certificate,
            key=authority.key,
            clock=settings.pop("clock", None),
            settings={"auth": auth, **settings},
        ) as server:
            server.client_context = authority.client_context()  # type: ignore[attr-defined]
            yield server

    return start


@pytest.fixture
async def provider() -> AsyncIterator[IdentityProvider]:
    made = IdentityProvider()
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def our_client(tmp_path: Path, provider: IdentityProvider) -> dict[str, str]:
    """Return the keys by which tokens are asked about."""
    path = tmp_path / "oauth.secret"
    path.write_text(provider.client[1] + "\n")
    return {"client_id": provider.client[0], "client_secret_file": str(path)}
