"""A whole server with its accounts in PostgreSQL: logins, revocation in both workers, and a database that goes away."""

from __future__ import annotations

import base64
import contextlib
import json
import smtplib
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatepost.identity.stores.rows import SCHEMA_VERSION
from private_postgres import PASSWORD, PrivatePostgres
from servers import Authority, Gatepost, wait_for

TIM = "tim@example.org"


def table(postgres: PrivatePostgres, database: str) -> str:
    """Return the ``[[store]]`` of a database, asked over TLS with a verified certificate."""
    return f"""
[[store]]
type = "postgres"
host = "localhost"
port = {postgres.port}
database = "{database}"
password_file = "postgres.password"
ca_file = "ca.pem"
timeout = "30s"
"""


class Site:
    """A server of two workers, and its database."""

    def __init__(self, folder: Path, authority: Authority, postgres: PrivatePostgres, database: str) -> None:
        self.postgres, self.database, self.authority = postgres, database, authority
        route = f'[[route]]\nname = "box"\ntransport = "sandbox"\npath = "{folder / "box"}"\n'
        self.server = Gatepost(
            folder,
            authority,
            route,
            table(postgres, database) + "\n[limits]\nfailed_logins_per_address = 10000\n",
            'mechanisms = ["SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5"]',
            top="workers = 2",
        )
        (folder / "postgres.password").touch(0o600)
        (folder / "postgres.password").write_text(PASSWORD + "\n")
        (folder / "ca.pem").write_bytes(authority.ca.read_bytes())

    def connect(self) -> smtplib.SMTP_SSL:
        port = self.server.port("submissions")
        client = smtplib.SMTP_SSL("localhost", port, timeout=60, context=self.authority.client_context())
        client.ehlo("client.example")
        return client

    def log_in(self, secret: str, login: str = TIM) -> tuple[int, bytes]:
        with contextlib.closing(self.connect()) as client:
            return plain(client, secret, login)


def plain(client: smtplib.SMTP_SSL, secret: str, login: str = TIM) -> tuple[int, bytes]:
    return client.docmd("AUTH PLAIN", base64.b64encode(f"\0{login}\0{secret}".encode()).decode())


@pytest.fixture
def site(tmp_path: Path, authority: Authority, own_postgres: PrivatePostgres) -> Iterator[Site]:
    made = Site(tmp_path, authority, own_postgres, own_postgres.database())
    with made.server:
        yield made


def end_of(client: smtplib.SMTP_SSL, seconds: float) -> bytes:
    """Return what a session hears before it is ended; nothing if it is not in time."""
    assert client.sock is not None
    client.sock.settimeout(seconds)
    with contextlib.suppress(TimeoutError, OSError):
        return client.sock.recv(4096)
    return b""


def test_logins_work_and_a_revocation_ends_sessions_in_both_workers(site: Site) -> None:
    # The tables were made at the start.
    version = site.postgres.tell("SELECT version_num FROM alembic_version", database=site.database)
    assert version == [(SCHEMA_VERSION,)]
    secret = site.server.add_account(TIM)
    kept = site.server.run("credential", "add", TIM).strip()
    for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5"):
        with contextlib.closing(site.connect()) as client:
            client.user, client.password = TIM, secret
            code, _ = client.auth(mechanism, getattr(client, f"auth_{mechanism.lower().replace('-', '_')}"))
            assert code == 235
    assert site.log_in("wrong")[0] == 535
    assert site.log_in(secret, "nobody@example.org")[0] == 535
    revoked = [site.connect() for _ in range(12)]
    others = [site.connect() for _ in range(4)]
    for client in revoked:
        assert plain(client, secret)[0] == 235
    for client in others:
        assert plain(client, kept)[0] == 235
    first = json.loads(site.server.run("credential", "list", TIM, "--json"))[0]
    site.server.run("credential", "revoke", first["id"])
    assert [end_of(client, 30.0)[:9] for client in revoked] == [b"421 4.7.0"] * len(revoked)
    assert {client.noop()[0] for client in others} == {250}
    assert site.log_in(secret)[0] == 535
    assert site.log_in(kept)[0] == 235
    # The last login is noted in a few seconds.
    wait_for(
        "the last login to be noted",
        lambda: json.loads(site.server.run("credential", "list", TIM, "--json"))[1]["last_used"] is not None,
    )
    for client in (*revoked, *others):
        client.close()


def test_while_the_database_is_away_nobody_hears_a_no_and_sessions_stay(site: Site) -> None:
    secret = site.server.add_account(TIM)
    with contextlib.closing(site.connect()) as client:
        assert plain(client, secret)[0] == 235
        site.postgres.stop()
        for given, login in ((secret, TIM), ("wrong", TIM), (secret, "nobody@example.org")):
            code, text = site.log_in(given, login)
            assert (code, text[:5]) == (454, b"4.7.0")
        assert client.noop()[0] == 250
        # Nor does anybody at the command line see a traceback.
        with pytest.raises(RuntimeError, match="ended with 1") as caught:
            site.server.run("account", "list")
        assert "Traceback" not in str(caught.value)
        # It can be checked, reloaded and started anew meanwhile.
        assert "cannot be asked now" in checked(site.server)
        site.server.run("reload")
        site.server.stop()
        # Where the first start told that it was ready.
        site.server.log.write_bytes(b"")
        site.server.start()
        assert site.log_in(secret)[0] == 454
    site.postgres.start()
    # By both workers, each of which looks by itself, up to two seconds after the other.
    wait_for("the database to be noticed", lambda: all(site.log_in(secret)[0] == 235 for _ in range(8)))
    assert site.log_in("wrong")[0] == 535


def checked(server: Gatepost) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "gatepost", "check", "--config", str(server.config)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_the_password_shows_nowhere_and_verifiers_leave_by_no_other_way(site: Site) -> None:
    secret = site.server.add_account(TIM)
    assert site.log_in(secret)[0] == 235
    site.postgres.stop()
    assert site.log_in(secret)[0] == 454
    seen = [site.server.log.read_bytes(), site.server.trouble.read_bytes(), site.postgres.log().encode()]
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            seen.append(process.read_bytes())
    seen.append(site.server.run("config", "show").encode())
    for octets in seen:
        for marked in (PASSWORD, secret):
            for form in (marked.encode(), base64.b64encode(marked.encode()), marked.encode().hex().encode()):
                assert form.rstrip(b"=") not in octets


def test_a_backup_says_that_the_accounts_are_not_in_it(site: Site, tmp_path: Path) -> None:
    site.server.add_account(TIM)
    archive = tmp_path / "backup.tar"
    done = subprocess.run(
        [sys.executable, "-m", "gatepost", "backup", str(archive), "--config", str(site.server.config)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "are not in the backup; keep them with pg_dump" in done.stderr
    with tarfile.open(archive) as tar:
        assert "secret.key" in tar.getnames()
        assert not any("accounts" in each for each in tar.getnames())
        assert not any(PASSWORD.encode() in (tar.extractfile(each) or archive.open("rb")).read() for each in tar)


def test_a_wrong_password_is_an_error_of_the_configuration(site: Site, tmp_path: Path) -> None:
    (tmp_path / "postgres.password").write_text("marked-wrong-password\n")
    done = subprocess.run(
        [sys.executable, "-m", "gatepost", "check", "--config", str(site.server.config)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "gatepost.toml:" in done.stderr + done.stdout
    assert "store.host: does not let gatepost in" in done.stderr + done.stdout
    assert "marked" not in done.stderr + done.stdout
    # Who runs goes on with what it had.
    with pytest.raises(RuntimeError, match="does not let gatepost in"):
        site.server.run("reload")
