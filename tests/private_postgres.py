"""A PostgreSQL server of the tests' own: in a folder of its own, with a Unix socket, and a port of this machine.

PostgreSQL does not run as root: then it runs as the user postgres, whom Debian's package makes.
"""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import asyncpg

from gatepost.identity.migrate import upgrade
from gatepost.identity.postgres_database import PostgresDatabase
from gatepost.identity.stores.postgres_server import PostgresServer
from gatepost.model.identity import Secret

__all__ = ["PASSWORD", "PrivatePostgres", "why_missing"]

PASSWORD = "marked-password-of-postgres"
_PATIENCE = 60.0
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)
_numbers = itertools.count(1)


def _programs() -> Path | None:
    """Return the folder of the newest PostgreSQL's programs."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda each: int(each.parts[-3]))
    if folders:
        return folders[-1].parent
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


def why_missing() -> str:
    """Return why there can be no server; empty if there can."""
    if _programs() is None:
        return "needs PostgreSQL: apt-get install postgresql"
    if os.geteuid() == 0:
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            return "needs the user postgres: apt-get install postgresql"
    return ""


class PrivatePostgres:
    """A server; `start` it before use."""

    def __init__(self, certificate: Path | None = None, key: Path | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="gatepost-postgres-"))
        self.port = 0
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            self._as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        self._process: subprocess.Popen[bytes] | None = None
        programs = _programs()
        assert programs is not None
        self._programs = programs
        self._make(certificate, key)

    def server(self, database: str, *, user: str = "gatepost", **facts: Any) -> PostgresServer:
        """Return how one of its databases is reached; over the socket, if nothing else is said."""
        told = {"host": str(self.folder), "port": self.port, "password": Secret(PASSWORD.encode()), "timeout": 100.0}
        return PostgresServer(database=database, user=user, **(told | facts))

    def database(self, template: str = "template0", options: str = "") -> str:
        """Make a database, which the user gatepost owns; return its name."""
        name = f"test{next(_numbers)}"
        self.tell(f"CREATE DATABASE {name} OWNER gatepost TEMPLATE {template} {options}")
        return name

    def database_with_tables(self) -> str:
        """Make a database with our tables, to make others of; return its name."""
        name = self.database()
        upgrade(PostgresDatabase(self.server(name)))
        return name

    def drop(self, name: str) -> None:
        """Remove a database, whoever uses it."""
        self.tell(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def tell(self, *statements: str, database: str = "postgres", user: str = "postgres") -> list[Any]:
        """Execute statements, as the superuser if nothing else is said; return the rows of the last."""
        return in_thread(self._tell(statements, database, user))

    async def _tell(self, statements: tuple[str, ...], database: str, user: str) -> list[Any]:
        connection = await asyncpg.connect(
            host=str(self.folder), port=self.port, user=user, password=PASSWORD, database=database, timeout=_PATIENCE
        )
        try:
            for statement in statements[:-1]:
                await connection.execute(statement)
            return [tuple(row) for row in await connection.fetch(statements[-1])]
        finally:
            await connection.close()

    def start(self) -> None:
        """Start it, and wait until it answers; on the port that it had before, if it had one."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            port = self.port or _free_port()
            words = [str(self._programs / "postgres"), "-D", str(self.folder / "data"), "-p", str(port)]
            log = (self.folder / "log").open("ab")
            with log:
                self._process = subprocess.Popen(
                    words, stdout=log, stderr=log, preexec_fn=_die_with_us, cwd="/", **self._as
                )
            while self._process.poll() is None:
                self.port, before = port, self.port
                try:
                    self.tell("SELECT 1")
                except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    self.port = before
                else:
                    return
                if time.monotonic() > deadline:
                    raise AssertionError(f"PostgreSQL did not answer in time:\n{self.log()}")
                time.sleep(0.05)
            # Somebody took the port, and it ended.
            if time.monotonic() > deadline:
                raise AssertionError(f"PostgreSQL does not start:\n{self.log()}")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it, and wait for its end: SIGINT ends its connections, SIGQUIT does not even say so."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(_PATIENCE)
            self._process = None

    def remove(self) -> None:
        """Stop it, and leave nothing."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        """Return what it has logged."""
        return (self.folder / "log").read_text(errors="replace")

    def _make(self, certificate: Path | None, key: Path | None) -> None:
        secret = self.folder / "password"
        secret.write_text(PASSWORD + "\n")
        data = self.folder / "data"
        if self._as:
            os.chown(secret, self._as["user"], self._as["group"])
        words = ["-D", str(data), "-U", "postgres", "-A", "scram-sha-256", f"--pwfile={secret}"]
        words += ["--encoding=UTF8", "--locale=C", "--no-sync"]
        subprocess.run(
            [str(self._programs / "initdb"), *words], check=True, stdout=subprocess.DEVNULL, cwd="/", **self._as
        )
        settings = {
            "listen_addresses": "127.0.0.1, 127.0.0.2",
            "unix_socket_directories": str(self.folder),
            "fsync": "off",
            "max_connections": "40",
            "ssl": "off",
            "autovacuum": "off",
            "password_encryption": "scram-sha-256",
            "log_statement": "none",
        }
        if certificate is not None and key is not None:
            for source, name in ((certificate, "server.crt"), (key, "server.key")):
                shutil.copyfile(source, data / name)
                (data / name).chmod(0o600)
                if self._as:
                    os.chown(data / name, self._as["user"], self._as["group"])
            settings["ssl"] = "on"
        with (data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        self.start()
        self.tell(f"CREATE ROLE gatepost LOGIN PASSWORD '{PASSWORD}'")


def in_thread(work: Any) -> Any:
    """Return what *work* comes to, also for a caller who runs in a loop."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append((asyncio.run(work), None))
        except BaseException as error:
            results.append((None, error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    value, error = results[0]
    if error is not None:
        raise error
    return value


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _die_with_us() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)
