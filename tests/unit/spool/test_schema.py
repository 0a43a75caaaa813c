from __future__ import annotations

import sqlite3

import pytest

from gatepost.errors import ConfigError, SpoolUnavailable
from gatepost.spool.lane import ORDINARY_LANE, lane_of
from gatepost.spool.schema import DATABASE_FILE, MIGRATIONS, connect_reader, connect_writer, migrate

ADDED = (*MIGRATIONS, ("ALTER TABLE message ADD COLUMN lease INTEGER NOT NULL DEFAULT 0", "CREATE TABLE extra (x)"))


@pytest.fixture
def connection(tmp_path):
    connection = connect_writer(tmp_path)
    yield connection
    connection.close()


def version(connection):
    return connection.execute("PRAGMA user_version").fetchone()[0]


def columns(connection):
    return {row[1] for row in connection.execute("PRAGMA table_info(message)")}


def test_the_writer_syncs_each_commit_and_keeps_its_log_short(connection):
    answers = {
        "journal_mode": "wal",
        "synchronous": 2,
        "auto_vacuum": 2,
        "wal_autocheckpoint": 0,
        "journal_size_limit": 64 << 20,
        "busy_timeout": 5000,
    }
    migrate(connection, "")
    for name, answer in answers.items():
        assert connection.execute(f"PRAGMA {name}").fetchone()[0] == answer


def test_a_new_database_is_of_the_newest_version(connection, tmp_path):
    migrate(connection, tmp_path)
    assert version(connection) == len(MIGRATIONS)
    migrate(connection, tmp_path)


def test_an_older_database_is_brought_up_to_date_and_keeps_its_rows(connection, tmp_path):
    migrate(connection, tmp_path)
    connection.execute("INSERT INTO message VALUES ('a', 1, 0, 1, 0, 0, NULL, '', '', 0, 0)")
    migrate(connection, tmp_path, ADDED)
    assert version(connection) == len(ADDED)
    assert "lease" in columns(connection)
    assert connection.execute("SELECT id, lease FROM message").fetchall() == [("a", 0)]


def test_mail_of_an_older_database_gets_the_lane_of_its_account(connection, tmp_path):
    migrate(connection, tmp_path, MIGRATIONS[:2])
    texts = {"a": '{"from":"a@b","account":"tim"}', "b": '{"from":null}', "c": "{", "d": '{"account":7}', "e": "[1]"}
    for name, text in texts.items():
        connection.execute("INSERT INTO message VALUES (?, 1, 0, 1, 0, 0, NULL, ?, '', 0)", (name, text))
    migrate(connection, tmp_path)
    lanes = dict(connection.execute("SELECT id, lane FROM message"))
    assert lanes == {"a": lane_of("tim")} | dict.fromkeys("bcde", ORDINARY_LANE)


def test_a_migration_that_fails_leaves_the_version_before(connection, tmp_path):
    migrate(connection, tmp_path)
    with pytest.raises(sqlite3.Error):
        migrate(connection, tmp_path, (*MIGRATIONS, (*ADDED[-1], "NONSENSE")))
    assert version(connection) == len(MIGRATIONS)
    assert "lease" not in columns(connection)
    assert not connection.in_transaction
    migrate(connection, tmp_path, ADDED)


def test_a_newer_database_is_refused_with_a_remedy(connection, tmp_path):
    migrate(connection, tmp_path, ADDED)
    with pytest.raises(ConfigError, match="newer gatepost"):
        migrate(connection, tmp_path)
    with pytest.raises(ConfigError, match="newer gatepost"):
        connect_reader(tmp_path, timeout=0)
    assert version(connection) == len(ADDED)


def test_a_reader_cannot_write(connection, tmp_path):
    migrate(connection, tmp_path)
    reader = connect_reader(tmp_path, timeout=0)
    try:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.execute("DELETE FROM message")
    finally:
        reader.close()


def test_a_reader_of_nothing_is_told_so(tmp_path):
    with pytest.raises(SpoolUnavailable, match="cannot be read"):
        connect_reader(tmp_path, timeout=0)
    assert not (tmp_path / DATABASE_FILE).exists()


def test_a_file_that_is_no_database_is_trouble(tmp_path):
    (tmp_path / DATABASE_FILE).write_bytes(b"hello " * 1000)
    with pytest.raises(SpoolUnavailable, match="not a database"):
        connect_reader(tmp_path, timeout=0)
    with pytest.raises(sqlite3.DatabaseError):
        connect_writer(tmp_path)
