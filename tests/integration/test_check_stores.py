"""What `gatepost check` says of the files of stores: who may write and read them, and what hashes cannot serve."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatepost.config.check import check
from gatepost.config.load import load
from pems import make_pems

SSHA = "{SSHA256}" + "A" * 52


@pytest.fixture
def config(tmp_path: Path) -> Path:
    make_pems(tmp_path)
    path = tmp_path / "gatepost.toml"
    path.write_text(
        'hostname = "mail.example.org"\nstate_dir = "state"\n[tls]\ncertificate = "cert.pem"\nkey = "key.pem"\n'
        '[[route]]\nname = "box"\ntransport = "sandbox"\npath = "box"\n'
        '[[store]]\ntype = "passwd-file"\npath = "users"\n'
    )
    (tmp_path / "users").write_text(f"tim:{SSHA}\n")
    return path


def findings(config: Path) -> tuple[list[str], list[str]]:
    found = check(load(config, {}))
    return [each for each in found.problems if "store" in each], [each for each in found.warnings if "users" in each]


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o777])
def test_a_file_that_others_may_write_is_a_fault(config: Path, mode: int) -> None:
    (config.parent / "users").chmod(mode)
    [problem] = findings(config)[0]
    assert "store.path: can be written by others than its owner; run: chmod go-w" in problem


def test_a_file_that_all_may_read_is_told_of(config: Path) -> None:
    (config.parent / "users").chmod(0o644)
    problems, warnings = findings(config)
    assert problems == []
    assert any("can be read by everybody" in each for each in warnings)


def test_what_the_hashes_cannot_serve_is_told_with_names(config: Path) -> None:
    (config.parent / "users").chmod(0o600)
    problems, warnings = findings(config)
    assert problems == []
    [warning] = warnings
    assert "SCRAM-SHA-256 is not offered where these may log in" in warning
    assert "no verifier for it of tim;" in warning
