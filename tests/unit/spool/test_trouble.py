from __future__ import annotations

import errno
import sqlite3

import pytest

from gatepost.errors import SpoolFull, SpoolUnavailable
from gatepost.spool.trouble import spool_error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_room_for_a_file_is_full(number):
    assert type(spool_error(OSError(number, "no room"))) is SpoolFull


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "broken"), OSError("bare"), ValueError("odd"), sqlite3.Error("x")]
)
def test_other_trouble_is_unavailable_and_says_what_it_was(error):
    reason = spool_error(error)
    assert type(reason) is SpoolUnavailable
    assert str(reason)


def test_no_room_in_the_database_is_full():
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("CREATE TABLE t (x)")
        connection.execute("PRAGMA max_page_count = 2")
        with pytest.raises(sqlite3.OperationalError) as caught:
            connection.execute("INSERT INTO t VALUES (zeroblob(100000))")
    finally:
        connection.close()
    assert type(spool_error(caught.value)) is SpoolFull


def test_what_is_known_stays_as_it_is():
    error = SpoolFull("full")
    assert spool_error(error) is error
