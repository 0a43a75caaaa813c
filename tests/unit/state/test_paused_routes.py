"""The file of the routes that are paused by hand."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from gatepost.errors import ConfigError
from gatepost.state.paused_routes import PAUSED_ROUTES_FILE, note_paused, read_paused


def test_nothing_is_paused_at_first(tmp_path: Path) -> None:
    assert read_paused(tmp_path) == {}


def test_what_is_paused_is_read_back_until_it_is_resumed(tmp_path: Path) -> None:
    assert note_paused(tmp_path, "main", 5.5)
    assert note_paused(tmp_path, "other", 6.0)
    assert not note_paused(tmp_path, "main", 7.0)
    assert read_paused(tmp_path) == {"main": 5.5, "other": 6.0}
    assert note_paused(tmp_path, "main", None)
    assert not note_paused(tmp_path, "main", None)
    assert read_paused(tmp_path) == {"other": 6.0}
    assert stat.S_IMODE((tmp_path / PAUSED_ROUTES_FILE).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [PAUSED_ROUTES_FILE]


@pytest.mark.parametrize(
    "octets",
    [b"", b"[]", b"null", b"{", b'{"main": "soon"}', b'{"main": null}', b'{"main": NaN}', b"\xff", b"[" * 9999],
)
def test_a_file_that_is_not_ours_is_told_with_what_to_do(tmp_path: Path, octets: bytes) -> None:
    (tmp_path / PAUSED_ROUTES_FILE).write_bytes(octets)
    with pytest.raises(ConfigError, match="remove it to resume all routes"):
        read_paused(tmp_path)
    with pytest.raises(ConfigError):
        note_paused(tmp_path, "main", 1.0)
    assert (tmp_path / PAUSED_ROUTES_FILE).read_bytes() == octets


def test_two_who_write_at_once_lose_nothing(tmp_path: Path) -> None:
    def pause(first: int) -> None:
        for number in range(first, first + 20):
            note_paused(tmp_path, f"route{number}", float(number))

    threads = [threading.Thread(target=pause, args=(first,)) for first in (0, 20, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_paused(tmp_path) == {f"route{number}": float(number) for number in range(60)}
