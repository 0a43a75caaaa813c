"""A real server for each dialog; the accounts are made once."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gatepost.testing import RunningServer, make_accounts, running
from servers import Authority

MECHANISMS = ("SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5")


@pytest.fixture(scope="session")
def dialog_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a state folder with the accounts that dialogs log in to."""
    directory = tmp_path_factory.mktemp("dialogs") / "state"
    make_accounts(
        directory,
        {"tim@example.org": "secret-pass-1", "bob@example.org": "another-pass-2"},
        mechanisms=MECHANISMS,
    )
    return directory


@pytest_asyncio.fixture
async def dialog_server(tmp_path: Path, dialog_state: Path, authority: Authority) -> AsyncIterator[RunningServer]:
    """Return a running server that answers a failed login at once."""
    directory = tmp_path / "state"
    shutil.copytree(dialog_state, directory)
    settings = {"auth": {"mechanisms": MECHANISMS, "failure_delay": "0s"}}
    async with running(directory, certificate=authority.certificate, key=authority.key, settings=settings) as server:
        server.client_context = authority.client_context()
        yield server
