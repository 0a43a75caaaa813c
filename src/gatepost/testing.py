"""The server in one process, for tests of ours and of others.

    make_accounts(folder, {"tim@example.org": "a long secret"})
    async with running(folder, certificate=cert, key=key) as server:
        smtplib.SMTP_SSL("localhost", server.ports["submissions"]) ...      # in a thread
        assert server.events ...

Everything is as in production but for what *settings* change: listeners on free ports of 127.0.0.1, mail into a sandbox
folder.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gatepost.app import Worker
from gatepost.config.schema import Config
from gatepost.model.clock import Clock
from gatepost.model.identity import Secret
from gatepost.observe.emit import Emitter
from gatepost.observe.events import Event, SessionFailed, SpoolTroubled, StateTroubled, WorkerStopped
from gatepost.parts import open_sockets, tls_context

__all__ = ["RunningServer", "make_accounts", "running"]


@dataclass
class RunningServer:
    """A server that accepts.

    Attributes:
        worker: its parts.
        ports: by name of the listener.
        sandbox: folder in which its mail lies.
        events: every fact so far.
    """

    worker: Worker
    ports: dict[str, int]
    sandbox: Path
    events: list[Event] = field(default_factory=list)

    @property
    def troubles(self) -> list[Event]:
        """Facts that must not be: trouble of our own."""
        return [event for event in self.events if isinstance(event, SessionFailed | SpoolTroubled | StateTroubled)]


def make_accounts(
    directory: Path, accounts: Mapping[str, str], *, mechanisms: tuple[str, ...] = ("SCRAM-SHA-256", "PLAIN", "LOGIN")
) -> None:
    """Make *directory*, with an accounts database of these logins and secrets; each may write as itself.

    Args:
        directory: the state_dir of a server to come.
        accounts: login and secret.
        mechanisms: what the credentials must serve.
    """
    from gatepost.identity.accounts import add_account
    from gatepost.identity.credentials import Rules, add_credential
    from gatepost.identity.database import Database
    from gatepost.identity.migrate import upgrade
    from gatepost.state.keys import load_keys

    directory.mkdir(parents=True, exist_ok=True)
    keys = load_keys(directory / "secret.key")
    database = Database(directory / "accounts.db")
    upgrade(database)
    rules = Rules(mechanisms, {"submission": mechanisms, "submissions": mechanisms})
    for login, secret in accounts.items():
        add_account(database, keys, login, now=time.time())
        add_credential(database, keys, rules, login, now=time.time(), chosen=Secret(secret.encode()), force=True)


@contextlib.asynccontextmanager
async def running(
    directory: Path,
    *,
    certificate: Path,
    key: Path,
    settings: Mapping[str, Any] | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[RunningServer]:
    """Run a server in this event loop.

    Args:
        directory: its state_dir.
        certificate: PEM file.
        key: PEM file.
        settings: tables and keys of the configuration that differ.
        clock: what time it is there.

    Yields:
        The server, until the end of the block, which stops it.
    """
    sandbox = directory / "sandbox"
    local = {"address": "127.0.0.1", "port": 0}
    config = Config.model_validate(
        {
            "hostname": "mail.example.org",
            "state_dir": directory,
            "listener": [
                {"name": "submission", "tls": "starttls", **local},
                {"name": "submissions", "tls": "implicit", **local},
            ],
            "tls": {"certificate": certificate, "key": key},
            "route": [{"name": "sandbox", "transport": "sandbox", "path": sandbox}],
            **(settings or {}),
        }
    )
    emit = Emitter()
    worker = Worker(config, open_sockets(config), tls_context(config), emit, clock)
    server = RunningServer(worker, {}, sandbox)
    emit.add(server.events.append)
    try:
        await worker.start()
        server.ports = {
            each.name: listener.port for each, listener in zip(config.listener, worker.listeners, strict=True)
        }
        yield server
    finally:
        if not any(isinstance(event, WorkerStopped) for event in server.events):
            await worker.stop(grace=0.0)
