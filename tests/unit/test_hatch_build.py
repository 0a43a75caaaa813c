"""What compiles gatepost, without a compiler: that is done once, before the tests, and judged by test_compiled."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
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
    (tmp_path / "a.py").touch()
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(hook.shutil, "which", str)  # every compiler is there
    done = SimpleNamespace(stdout=said, stderr="", returncode=code)
    monkeypatch.setattr(hook.subprocess, "run", lambda *words, **options: done)
    found = hook._compile(tmp_path, ["a.py"], tmp_path / "made")
    assert trouble in found if trouble else not found


PLAIN = '''\
from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from gatepost.model.address import Base


@dataclass(slots=True)
class Data:
    """Some data.

    Args:
        name: of it.
    """

    kind: ClassVar[str] = "data"
    name: str
    size: int = 3
    parts: list[str] = field(default_factory=list)
    seen: int = field(init=False, default=0)
    hidden: str = field(repr=False, default="?")


@dataclass(slots=True)
class More(Data):
    """More of it."""

    rest: str = ""


class Other:
    """No data."""

    size: int = 1


@dataclass
class Own:
    """It makes itself."""

    size: int

    def __init__(self) -> None:
        self.size = 7


@dataclass
class Checked:
    """It has more to do."""

    size: int

    def __post_init__(self) -> None:
        self.size += 1


@dataclass(slots=True)
class Ours(Base):
    """Of a class of another module."""

    size: int


@dataclass(frozen=True)
class Frozen:
    """It stays as it is."""

    size: int
'''


def written_out(hook: ModuleType, folder: Path, text: str) -> str:
    """*text* with its constructors, beside a module that holds a class it imports."""
    other = folder / "gatepost/model/address.py"
    other.parent.mkdir(parents=True)
    other.write_text("from dataclasses import dataclass\n\n@dataclass\nclass Base:\n    weight: float\n")
    found: str = hook._with_constructors(text, folder)
    return found


def test_constructors_are_written_out_and_no_line_changes_its_number(hook: ModuleType, tmp_path: Path) -> None:
    before, after = PLAIN.splitlines(), written_out(hook, tmp_path, PLAIN).splitlines()
    assert len(after) == len(before)
    changed = [line.strip() for line, old in zip(after, before, strict=True) if line != old and line]
    assert changed == [
        "def __init__(self, name: str, size: int = 3, parts: list[str] | None = None, hidden: str = '?') -> None: "
        "self.name = name; self.size = size; self.parts = list() if parts is None else parts; self.seen = 0; "
        "self.hidden = hidden",
        "def __init__(self, name: str, size: int = 3, parts: list[str] | None = None, hidden: str = '?', "
        "rest: str = '') -> None: self.name = name; self.size = size; "
        "self.parts = list() if parts is None else parts; self.seen = 0; self.hidden = hidden; self.rest = rest",
        "def __init__(self, weight: float, size: int) -> None: self.weight = weight; self.size = size",
        "def __init__(self, size: int) -> None: self.size = size  # type: ignore[misc]",
    ]
    assert written_out(hook, tmp_path / "again", "x = 1\n") == "x = 1\n"


def test_what_was_written_out_makes_the_same_objects(hook: ModuleType, tmp_path: Path) -> None:
    text = PLAIN.replace("from gatepost.model.address import Base\n", "\n").partition(
        "@dataclass(slots=True)\nclass Ours"
    )[0]
    spaces: list[dict[str, Any]] = []
    for each in (text, written_out(hook, tmp_path, text)):
        module = ModuleType("made")
        sys.modules["made"] = module  # where `dataclass` looks what annotations mean
        exec(compile(each, "made", "exec", dont_inherit=True), vars(module))
        spaces.append(vars(module))
    del sys.modules["made"]
    for name, values in (("Data", ("a",)), ("Data", ("a", 4, ["b"])), ("More", ("a",)), ("Own", ()), ("Checked", (1,))):
        one, other = [space[name](*values) for space in spaces]
        assert repr(one) == repr(other)
    data = spaces[1]["Data"]
    assert data("a") == data("a") != data("b")
    assert data("a").parts is not data("a").parts
    assert data.kind == "data"
    with pytest.raises(TypeError):
        data()


HEAD = "from dataclasses import dataclass, field\nimport enum\n\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("class A(enum.Flag, boundary=enum.STRICT):\n    B = 1\n", "A: mypyc leaves out boundary="),
        ('@dataclass(kw_only=True)\nclass A:\n    """."""\n    b: int\n', "A: kw_only= is not written out"),
        ('@dataclass(init=False)\nclass A:\n    """."""\n    b: int\n', "A: init= is not written out"),
        ('@dataclass\nclass A:\n    """."""\n    b: int = field(kw_only=True)\n', "A: kw_only= is not"),
        ('@dataclass\nclass A:\n    """."""\n    b: int | None = field(default_factory=int)\n', "A: b may be None"),
        ('@dataclass\nclass A(Elsewhere):\n    """."""\n    b: int\n', "A: Elsewhere is not a class whose"),
        (
            'class B:\n    def __post_init__(self): pass\n@dataclass\nclass A(B):\n    """."""\n    b: int\n',
            "A: B is not a class whose",
        ),
        (
            'class B: pass\nclass C: pass\n@dataclass\nclass A(B, C):\n    """."""\n    b: int\n',
            "A: B is not a class whose",
        ),
        (
            '@dataclass\nclass B:\n    """."""\n    b: int\n@dataclass\nclass A(B):\n    """."""\n    b: str\n',
            "A: b is a field already",
        ),
    ],
)
def test_what_would_not_be_as_the_source_says_is_not_let_pass(
    hook: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        written_out(hook, tmp_path, HEAD + text)
    (tmp_path / "Python.h").touch()
    (tmp_path / "a.py").write_text(HEAD + text)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(hook.shutil, "which", str)
    assert hook._compile(tmp_path, ["a.py"], tmp_path / "made").startswith(f"a.py: class {why}")


def parameters(of: ast.FunctionDef) -> list[tuple[str, bool]]:
    """Names, and whether they have defaults."""
    names, optional = [each.arg for each in of.args.args[1:]], len(of.args.defaults)
    return [(name, place >= len(names) - optional) for place, name in enumerate(names)]


def test_every_constructor_that_is_written_out_takes_what_that_of_dataclass_does(hook: ModuleType) -> None:
    seen = 0
    for module in MODULES:
        text = (ROOT / "src" / module).read_text()
        made = ast.parse(hook._with_constructors(text, ROOT / "src"))
        own = {
            each.name
            for each in ast.walk(ast.parse(text))
            if isinstance(each, ast.ClassDef) and "__init__" in ast.unparse(each)
        }
        for node in [each for each in made.body if isinstance(each, ast.ClassDef) and each.name not in own]:
            for constructor in [each for each in node.body if getattr(each, "name", "") == "__init__"]:
                kind = getattr(importlib.import_module(module.removesuffix(".py").replace("/", ".")), node.name)
                wanted = inspect.signature(kind).parameters.values()
                assert isinstance(constructor, ast.FunctionDef)
                assert parameters(constructor) == [(each.name, each.default is not each.empty) for each in wanted]
                seen += 1
    assert seen > 30
