from __future__ import annotations

from pathlib import Path

import pytest

from gatepost.errors import SpoolUnavailable
from gatepost.spool import layout
from gatepost.spool.files import Files
from gatepost.spool.layout import folders, share


def made(root: Path, *names: str) -> None:
    for name in names:
        (root / name).mkdir(parents=True)


def test_spools_are_listed_by_their_numbers(tmp_path: Path) -> None:
    made(tmp_path, "10", "9", "0", "2", "007", "-1", "1a", "old", "٣", "99999999999")
    (tmp_path / "3").write_bytes(b"")
    assert [path.name for path in folders(tmp_path)] == ["0", "2", "9", "10"]


def test_there_are_no_spools_where_there_is_no_folder(tmp_path: Path) -> None:
    assert folders(tmp_path / "nowhere") == []


def test_a_root_that_is_a_file_is_trouble(tmp_path: Path) -> None:
    (tmp_path / "spool").write_bytes(b"")
    with pytest.raises(SpoolUnavailable, match="cannot be listed"):
        folders(tmp_path / "spool")
    with pytest.raises(SpoolUnavailable, match="cannot be made"):
        share(tmp_path / "spool", 1)


def test_each_worker_gets_its_own_and_its_turn_of_what_is_left_over(tmp_path: Path) -> None:
    made(tmp_path, "0", "2", "4", "7", "11")
    shares = share(tmp_path, 2)
    assert [[path.name for path in each] for each in shares] == [["0", "2", "7"], ["1", "4", "11"]]
    shares = share(tmp_path, 1)
    assert [[path.name for path in each] for each in shares] == [["0", "1", "2", "4", "7", "11"]]


def test_missing_folders_are_made_for_us_alone_and_their_names_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []

    class Watched(Files):
        def sync_folder(self, path: Path) -> None:
            synced.append(path)
            super().sync_folder(path)

    monkeypatch.setattr(layout, "Files", Watched)
    root = tmp_path / "state" / "spool"
    assert share(root, 2) == [[root / "0"], [root / "1"]]
    for folder in (root, root / "0", root / "1"):
        assert folder.stat().st_mode & 0o777 == 0o700
    assert synced == [tmp_path, tmp_path / "state", root, root]
    synced.clear()
    share(root, 2)
    assert synced == []
