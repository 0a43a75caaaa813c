"""Files of ours that a configuration names: those that cannot be are findings, whatever the disk says to the look."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatepost.config.check import check
from gatepost.config.load import load


@contextlib.contextmanager
def as_an_ordinary_user() -> Iterator[None]:
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def problems(folder: Path, text: str) -> list[str]:
    config = load(folder / "gatepost.toml", {}, text=f'hostname = "mail.example.org"\n{text}')
    return [str(each) for each in check(config).problems]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (
            "route.socket",
            '[[route]]\nname = "box"\ntransport = "lmtp"\nsocket = "closed/lmtp"\n',
        ),
        ("observe.log_file", '[observe]\nlog_file = "closed/log"\n'),
        ("observe.audit_file", '[observe]\naudit_file = "closed/audit"\n'),
        ("secret_key_file", 'secret_key_file = "closed/key"\n'),
        ("state_dir", 'state_dir = "closed/state"\n'),
        ("route.path", '[[route]]\nname = "box"\ntransport = "sandbox"\npath = "closed/mail"\n'),
    ],
)
def test_a_folder_that_lets_nobody_through_is_told_of(tmp_path: Path, key: str, text: str) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    closed.chmod(0)
    try:
        with as_an_ordinary_user():
            [found] = [each for each in problems(tmp_path, text) if f" {key}: " in each]
    finally:
        closed.chmod(0o700)
    assert "Permission denied; let the user that runs gatepost into its folder" in found


def test_files_in_a_state_folder_that_will_be_made_will_be_made_with_it(tmp_path: Path) -> None:
    text = 'state_dir = "state"\n[observe]\nlog_file = "state/log"\naudit_file = "state/audit"\n'
    assert not [each for each in problems(tmp_path, text) if "observe." in each or "secret_key" in each]
    deeper = text.replace("state/log", "state/logs/log")
    [found] = [each for each in problems(tmp_path, deeper) if "observe." in each]
    assert "is no folder; make it" in found
