"""`gatepost backup`: consistent under load, and enough to go on with."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.verbs import SECRET, make, run, send
from servers import Authority, Gatepost, wait_for


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Gatepost]:
    """Return a server that runs."""
    server = make(tmp_path_factory.mktemp("backup"), authority)
    server.add_account("tim", "*@example.org", secret=SECRET)
    with server:
        yield server


def unpack(archive: Path, folder: Path) -> dict[str, Any]:
    """Unpack a backup; return its manifest."""
    with tarfile.open(archive) as tar:
        # Python 3.11.2 does not know filters yet.
        tar.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return manifest


def accounts(server: Gatepost) -> int:
    """Return how many accounts there are."""
    with contextlib.closing(sqlite3.connect(server.folder / "state" / "accounts.db", timeout=60)) as database:
        return int(database.execute("SELECT count(*) FROM accounts").fetchone()[0])


def test_a_backup_under_load_opens_is_whole_and_logins_work_from_it(
    server: Gatepost, tmp_path: Path, authority: Authority
) -> None:
    writer = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from click.testing import CliRunner; from gatepost.cli.main import gatepost\n"
            "for number in range(200):\n"
            "    CliRunner().invoke(gatepost, ['account', 'add', f'load{number}', '--config', sys.argv[1]])",
            str(server.config),
        ],
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for("the load", lambda: accounts(server) > 1)
        files = [tmp_path / f"{number}.tar" for number in range(3)]
        for file in files:
            send(server)
            code, _, trouble = run(server, "backup", str(file))
            assert (code, trouble) == (0, "")
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
    finally:
        writer.kill()
        writer.wait()
    assert sorted(tmp_path.iterdir()) == sorted(files), "nothing else is left lying"
    for file in files:
        folder = tmp_path / file.stem
        manifest = unpack(file, folder)
        assert manifest["files"]["secret.key"] == str(server.folder / "state" / "secret.key")
        assert set(manifest["files"]) >= {"gatepost.toml", "secret.key", "accounts.db", "state.db"}
        for name in ("accounts.db", "state.db"):
            with contextlib.closing(sqlite3.connect(folder / name)) as database:
                assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        with contextlib.closing(sqlite3.connect(folder / "accounts.db")) as database:
            assert database.execute("SELECT count(*) FROM accounts").fetchone()[0] > 1

    restored = make(tmp_path / "restored", authority)
    state = restored.folder / "state"
    state.mkdir(mode=0o700)
    for name in ("secret.key", "accounts.db", "state.db"):
        (tmp_path / "2" / name).rename(state / name)
    with restored:
        assert send(restored, "bob@box.example")


def test_a_backup_overwrites_nothing_unless_it_is_told_to(server: Gatepost, tmp_path: Path) -> None:
    file = tmp_path / "b.tar"
    file.write_text("precious")
    code, _, trouble = run(server, "backup", str(file))
    assert (code, file.read_text()) == (1, "precious")
    assert "use --force" in trouble
    assert run(server, "backup", str(file), "--force")[0] == 0
    assert tarfile.is_tarfile(file)
    code, _, trouble = run(server, "backup", str(tmp_path / "nowhere" / "b.tar"))
    assert code == 1
    assert "no backup was made" in trouble


def test_a_damaged_database_makes_no_backup_and_a_damaged_state_is_left_out(
    tmp_path: Path, authority: Authority
) -> None:
    other = make(tmp_path / "other", authority)
    assert "no server has run" in run(other, "backup", str(tmp_path / "b.tar"))[2]
    other.add_account("tim", "*@example.org", secret=SECRET)
    state = other.folder / "state"
    (state / "state.db").write_bytes(b"not a database" * 100)
    code, _, trouble = run(other, "backup", str(tmp_path / "b.tar"))
    assert code == 1
    assert "it is not in the backup" in trouble
    assert "accounts.db" in unpack(tmp_path / "b.tar", tmp_path / "unpacked")["files"]

    accounts = state / "accounts.db"
    for each in (accounts, accounts.with_name("accounts.db-wal")):
        if each.exists():
            each.write_bytes(b"not a database" * 1000)
    code, _, trouble = run(other, "backup", str(tmp_path / "c.tar"))
    assert code == 1
    assert "no backup was made" in trouble
    assert not (tmp_path / "c.tar").exists()
