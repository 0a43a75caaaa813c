"""What compiles gatepost, without a compiler: that is done once, before the tests, and judged by test_compiled."""

from __future__ import annotations

import importlib.util
import sysconfig
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
    "hooks"
]["custom"]["modules"]


@pytest.fixture
def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def initialize(hook: ModuleType, root: Path, version: str = "standard") -> dict[str, Any]:
    data: dict[str, Any] = {"pure_python": True, "infer_tag": False, "force_include": {}}
    hook.CompileHook.initialize(SimpleNamespace(root=str(root), config={"modules": ["a.py"]}), version, data)
    return data


PURE: dict[str, Any] = {"pure_python": True, "infer_tag": False, "force_include": {}}


@pytest.fixture
def without_headers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))


def test_every_module_on_the_list_is_there_once_and_in_order() -> None:
    assert [each for each in MODULES if not (ROOT / "src" / each).is_file()] == []
    assert sorted(set(MODULES)) == MODULES


@pytest.mark.parametrize("wanted", [None, "0"])
def test_nothing_is_compiled_unasked(
    hook: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wanted: str | None
) -> None:
    monkeypatch.delenv("GATEPOST_COMPILE", raising=False)
    if wanted:
        monkeypatch.setenv("GATEPOST_COMPILE", wanted)
    assert initialize(hook, tmp_path) == PURE


def test_sources_that_are_worked_on_are_not_compiled(
    hook: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GATEPOST_COMPILE", "1")
    assert initialize(hook, tmp_path, "editable") == PURE


def test_another_word_is_refused(hook: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GATEPOST_COMPILE", "yes")
    with pytest.raises(SystemExit, match="0, 1 or auto"):
        initialize(hook, tmp_path)


@pytest.mark.usefixtures("without_headers")
def test_auto_makes_do_without_headers_and_says_so(
    hook: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GATEPOST_COMPILE", "auto")
    assert initialize(hook, tmp_path) == PURE
    assert "apt-get install python3-dev" in capsys.readouterr().err


@pytest.mark.usefixtures("without_headers")
def test_1_does_not_make_do(hook: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GATEPOST_COMPILE", "1")
    with pytest.raises(SystemExit, match="apt-get install python3-dev"):
        initialize(hook, tmp_path)


def test_a_missing_compiler_is_named_with_its_remedy(
    hook: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "Python.h").touch()
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setenv("CC", "no-such-compiler -pipe")
    assert hook._compile(tmp_path, ["a.py"], tmp_path / "made") == ("no-such-compiler is missing: apt-get install gcc")


@pytest.mark.parametrize(
    ("said", "code", "trouble"),
    [
        ("gatepost/a.py:3: warning: Unsupported default attribute value\n", 0, "Unsupported default"),
        ("error: command 'gcc' failed\n", 1, "'gcc' failed"),
        ("gcc: note: something\n", 0, ""),
    ],
)
def test_what_mypyc_would_leave_out_is_not_let_pass(
    hook: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str, code: int, trouble: str
) -> None:
    (tmp_path / "Python.h").touch()
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(hook.shutil, "which", str)  # every compiler is there
    done = SimpleNamespace(stdout=said, stderr="", returncode=code)
    monkeypatch.setattr(hook.subprocess, "run", lambda *words, **options: done)
    found = hook._compile(tmp_path, ["a.py"], tmp_path / "made")
    assert trouble in found if trouble else not found
