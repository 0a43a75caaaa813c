"""Each folder here holds a broken configuration and exactly what `gatepost check` says about it."""

from __future__ import annotations

import datetime as dt
import re
import shutil
from pathlib import Path

import pytest

from gatepost.config.check import check
from gatepost.config.load import load
from gatepost.errors import ConfigError
from pems import make_pems

HERE = Path(__file__).parent
CASES = sorted(folder.name for folder in HERE.iterdir() if (folder / "expected-error").exists())
LINE = re.compile(r"[^:]+:(?:\d+|GATEPOST_[A-Z0-9_]+): \S.*: \S.*")


@pytest.fixture(scope="session")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pems")
    make_pems(folder)
    return folder


def findings(path: Path, environ: dict[str, str]) -> list[str]:
    try:
        found = check(load(path, environ), dt.datetime(2026, 6, 1, tzinfo=dt.UTC))
    except ConfigError as error:
        return list(error.problems)
    return [*found.problems, *(f"{line} (warning)" for line in found.warnings)]


@pytest.mark.parametrize("case", CASES)
def test_says_what_is_wrong_and_where(case: str, tmp_path: Path, pems: Path) -> None:
    shutil.copytree(pems, tmp_path, dirs_exist_ok=True)
    shutil.copytree(HERE / case, tmp_path, dirs_exist_ok=True)
    for secret in tmp_path.glob("*.secret"):
        secret.chmod(0o600)
    variables = tmp_path / "environment"
    environ = dict(line.split("=", 1) for line in variables.read_text().splitlines()) if variables.exists() else {}
    lines = [line.replace(f"{tmp_path}/", "") for line in findings(tmp_path / "gatepost.toml", environ)]
    assert lines == (tmp_path / "expected-error").read_text().splitlines()
    assert all(LINE.fullmatch(line) for line in lines)


def test_there_are_cases() -> None:
    assert len(CASES) > 30
