"""The DKIM keys on disk: nobody else reads them, nobody sees half a file, and what is wrong is said without quoting."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path

import pytest

from gatepost.errors import ConfigError
from gatepost.message.dkim_key import make_key, record
from gatepost.state.signing_keys import (
    KEYS_FOLDER,
    StoredKey,
    change_keys,
    is_selector,
    load_signing_keys,
    read_keys,
    write_keys,
)

KEY = StoredKey("gp1", "ed25519", 1.0, 2.5, make_key("ed25519"))
LATER = StoredKey("gp2", "rsa", 3.0, None, make_key("rsa"))


def keep(state_dir: Path, domain: str = "example.org", *keys: StoredKey) -> Path:
    with change_keys(state_dir):
        write_keys(state_dir, domain, keys or (KEY, LATER))
    return state_dir / KEYS_FOLDER / f"{domain}.json"


def test_without_a_folder_there_are_no_keys(tmp_path: Path) -> None:
    assert read_keys(tmp_path) == {}
    assert read_keys(tmp_path / "nowhere") == {}
    assert load_signing_keys(tmp_path) == {}


def test_keys_come_back_as_they_were_written(tmp_path: Path) -> None:
    keep(tmp_path)
    keep(tmp_path, "xn--mller-kva.example", KEY)
    found = read_keys(tmp_path)
    assert list(found) == ["example.org", "xn--mller-kva.example"]
    assert [(each.selector, each.kind, each.created, each.signs_from) for each in found["example.org"]] == [
        ("gp1", "ed25519", 1.0, 2.5),
        ("gp2", "rsa", 3.0, None),
    ]
    assert [record(each.private) for each in found["example.org"]] == [record(KEY.private), record(LATER.private)]
    signing = load_signing_keys(tmp_path)["example.org"]
    assert [(str(each.key.selector), each.signs_from) for each in signing] == [("gp1", 2.5), ("gp2", None)]


def test_nobody_else_can_read_them(tmp_path: Path) -> None:
    path = keep(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_writes_belongs_to_the_user_of_the_server(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12346)
    path = keep(tmp_path)
    assert {(each.stat().st_uid, each.stat().st_gid) for each in (path, path.parent)} == {(12345, 12346)}


def test_a_file_without_keys_goes(tmp_path: Path) -> None:
    path = keep(tmp_path)
    write_keys(tmp_path, "example.org", [])
    write_keys(tmp_path, "example.org", [])
    assert not path.exists()
    assert read_keys(tmp_path) == {}


def test_what_cannot_be_written_leaves_the_old_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = keep(tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_keys(tmp_path, "example.org", [KEY])
    assert len(read_keys(tmp_path)["example.org"]) == 2
    assert os.listdir(path.parent) == [path.name]


def test_a_file_that_others_may_read_is_refused_with_a_remedy(tmp_path: Path) -> None:
    path = keep(tmp_path)
    path.chmod(0o640)
    with pytest.raises(ConfigError) as refused:
        read_keys(tmp_path)
    assert refused.value.problems == (
        f"{path}: dkim: others may read the private keys (mode 0640); run: chmod 600 {path}",
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data["keys"][0].pop("selector"),
        lambda data: data["keys"][0].update(selector="a;d=evil.example"),
        lambda data: data["keys"][0].update(signs_from="soon"),
        lambda data: data["keys"][0].update(private_key=1),
        lambda data: data["keys"][0].update(private_key=data["keys"][0]["private_key"][:-80]),
        lambda data: data["keys"][0].update(private_key="Gr\u00fc\u00dfe"),
        lambda data: data["keys"].append(dict(data["keys"][0])),
        lambda data: data["keys"].clear(),
        lambda data: data.update(keys=7),
        lambda data: data.clear(),
    ],
)
def test_a_file_that_was_tampered_with_is_refused_and_not_quoted(tmp_path: Path, change: object) -> None:
    path = keep(tmp_path)
    data = json.loads(path.read_text())
    assert callable(change)
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(ConfigError) as refused:
        read_keys(tmp_path)
    [problem] = refused.value.problems
    assert problem.startswith(f"{path}: dkim: ")
    assert "gatepost dkim add" in problem
    assert "MC4C" not in problem
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("octets", [b"", b"{", b"[]", b"\xff", b"null", b'{"keys": [1]}'])
def test_what_is_no_file_of_ours_is_refused(tmp_path: Path, octets: bytes) -> None:
    keep(tmp_path).write_bytes(octets)
    with pytest.raises(ConfigError, match="is not as gatepost wrote it"):
        read_keys(tmp_path)


def test_a_file_that_is_too_long_or_is_none_is_refused(tmp_path: Path) -> None:
    path = keep(tmp_path)
    with path.open("ab") as file:
        file.truncate(2 << 20)
    with pytest.raises(ConfigError, match="too long"):
        read_keys(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigError, match="directory"):
        read_keys(tmp_path)


@pytest.mark.parametrize("name", ["EXAMPLE.org", "..", "[192.0.2.1]", "a b.example", "müller.example"])
def test_a_file_with_the_name_of_no_domain_is_refused(tmp_path: Path, name: str) -> None:
    path = keep(tmp_path)
    path.rename(path.with_name(f"x{name}.json" if name == ".." else f"{name}.json"))
    with pytest.raises(ConfigError, match="not named after a domain"):
        read_keys(tmp_path)


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    for path in [keep(tmp_path, domain) for domain in ("a.example", "b.example")]:
        path.write_text("x")
    with pytest.raises(ConfigError) as refused:
        read_keys(tmp_path)
    assert len(refused.value.problems) == 2


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / KEYS_FOLDER).write_text("")
    with pytest.raises(ConfigError, match="give it to the user that runs gatepost"):
        read_keys(tmp_path)


def test_two_do_not_change_keys_at_once(tmp_path: Path) -> None:
    other = threading.Thread(target=keep, args=(tmp_path, "other.example", KEY), daemon=True)
    with change_keys(tmp_path):
        other.start()
        other.join(0.3)
        assert other.is_alive()
        assert read_keys(tmp_path) == {}
    other.join(60)
    assert list(read_keys(tmp_path)) == ["other.example"]


@pytest.mark.rfc("6376 §3.1")
def test_a_selector_is_labels_of_letters_digits_and_hyphens() -> None:
    assert all(map(is_selector, ["a", "gp20261121rsa", "A-1", "mail.2026", "x" * 63]))
    assert not any(map(is_selector, ["", "a;b", "-a", "a-", ".a", "a.", "a..b", "a b", "a\n", "ü", "a_b", "x" * 64]))
