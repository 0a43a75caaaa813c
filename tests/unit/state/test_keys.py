"""The secret key file: made once, for its owner only, and one key for each use."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from gatepost.errors import ConfigError
from gatepost.model.identity import Secret
from gatepost.state.keys import KEY_BYTES, Keys, load_keys


def test_the_file_is_made_once_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    first = load_keys(path)
    octets = path.read_bytes()
    assert len(octets) == KEY_BYTES
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_keys(path).derive("a") == first.derive("a")
    assert path.read_bytes() == octets
    assert os.listdir(tmp_path) == ["secret.key"]


@pytest.mark.rfc("5869 §3.3")
def test_each_use_has_a_key_of_its_own() -> None:
    keys = Keys(Secret(bytes(range(32))))
    derived = {keys.derive(use) for use in ("sealing", "decoys", "verified passwords")}
    assert len(derived) == 3
    assert all(len(each) == 32 for each in derived)
    assert keys.derive("decoys") == HKDFExpand(SHA256(), 32, b"gatepost decoys").derive(bytes(range(32)))
    assert Keys(Secret(bytes(32))).derive("decoys") != keys.derive("decoys")


def test_many_that_start_at_once_use_one_key(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: load_keys(path).derive("a"), range(16)))
    assert len(set(made)) == 1
    assert os.listdir(tmp_path) == ["secret.key"]


@pytest.mark.parametrize("size", [0, 31, 33, 4096])
def test_a_file_of_another_size_is_refused_and_left_alone(tmp_path: Path, size: int) -> None:
    path = tmp_path / "secret.key"
    path.write_bytes(b"x" * size)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="exactly 32 octets") as refused:
        load_keys(path)
    assert "xx" not in str(refused.value)
    assert path.stat().st_size == size


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o602, 0o666])
def test_a_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "secret.key"
    load_keys(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"chmod 600 {path}"):
        load_keys(path)


def test_a_missing_folder_a_missing_file_and_a_folder_in_its_place_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_keys(tmp_path / "nowhere" / "secret.key")
    with pytest.raises(ConfigError, match="bring it back from backup"):
        load_keys(tmp_path / "secret.key", create=False)
    assert not (tmp_path / "secret.key").exists()
    with pytest.raises(ConfigError):
        load_keys(tmp_path)
    device = Path("/dev/null")
    with pytest.raises(ConfigError, match="no ordinary file"):
        load_keys(device)


def test_a_master_key_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="32 octets"):
        Keys(Secret(b"short"))
    assert "short" not in repr(Secret(b"short"))
