"""Compiles what every message passes through, by mypyc, while a wheel is built with GATEPOST_COMPILE=1 or =auto.

pyproject.toml lists the modules.  Their sources stay as they are and lie in the wheel beside what was made of them:
without a compiler gatepost runs from them.  It takes gcc and Python's headers, and of packages mypy and setuptools.
With ``auto`` a wheel is made in any case, and why it is not compiled is said; with 1 that is an error.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompileHook(BuildHookInterface[Any]):
    """Adds the compiled modules to the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and say what the wheel has more."""
        wanted = os.environ.get("GATEPOST_COMPILE", "0")
        if wanted not in {"0", "1", "auto"}:
            raise SystemExit(f"GATEPOST_COMPILE={wanted}: it is 0, 1 or auto")
        if wanted == "0" or version == "editable":
            return
        # Kept below build/, so that only what has changed is compiled once more.
        made = Path(self.root, "build", "mypyc", str(sys.implementation.cache_tag))
        trouble = _compile(Path(self.root, "src"), self.config["modules"], made)
        if trouble and wanted == "1":
            raise SystemExit(f"cannot be compiled: {trouble}")
        if trouble:
            # Standard error alone is shown by whoever builds.
            print(f"not compiled, which costs CPU with each message: {trouble}", file=sys.stderr)  # noqa: T201
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["force_include"] |= {str(each): str(each.relative_to(made)) for each in made.rglob("*.so")}


def _compile(source: Path, modules: list[str], made: Path) -> str:
    """Compile *modules*, files below *source*, to the folder *made*; return what hinders, if anything."""
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "Python's headers are missing: apt-get install python3-dev"
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC")).split()[0]
    if shutil.which(compiler) is None:
        return f"{compiler} is missing: apt-get install gcc"
    shutil.rmtree(made, ignore_errors=True)  # a module may be on the list no more
    written_out = made.with_name(f"{made.name}-source")
    shutil.rmtree(written_out, ignore_errors=True)
    shutil.copytree(source, written_out, ignore=shutil.ignore_patterns("__pycache__"))
    for each in modules:
        path = written_out / each
        try:
            path.write_text(_with_constructors(path.read_text(encoding="utf-8"), source), encoding="utf-8")
        except ValueError as error:
            return f"{each}: {error}"
    done = subprocess.run(  # noqa: S603
        [sys.executable, __file__, made, *modules], cwd=written_out, capture_output=True, text=True, check=False
    )
    said = done.stdout + done.stderr
    # mypyc leaves out what it warns of, such as the default of an attribute.
    warnings = re.findall(r"^\S+\.py:.*: warning: .*$", said, re.MULTILINE)
    return "\n".join(warnings) if done.returncode == 0 else said


# What a decorator may ask for; `__init__` is the same with it and without.
_OPTIONS = {"frozen", "slots", "eq", "order", "repr", "unsafe_hash"}
_FIELD_OPTIONS = {"default", "default_factory", "init", "repr", "compare", "hash"}


def _with_constructors(text: str, source: Path) -> str:
    """Return a module in which data classes have their `__init__` written out, in place of their docstring.

    `dataclass` would make one at run time, which is interpreted: half of what Python interprets for a message.  No line
    changes its number.

    Raises:
        ValueError: something would not be as the source says.
    """
    lines = text.split("\n")
    classes = _classes(text, source)
    for node in [each for each in ast.parse(text).body if isinstance(each, ast.ClassDef)]:
        if node.keywords:
            raise ValueError(
                f"class {node.name}: mypyc leaves out {', '.join(str(each.arg) for each in node.keywords)}="
            )
        # Where there is no docstring to take the place of, it stays as it is, and costs more.
        if _decorator(node) is not None and not _makes_itself(node) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            assert docstring.end_lineno is not None
            lines[docstring.lineno - 1 : docstring.end_lineno] = [
                f"{' ' * docstring.col_offset}{_constructor(node, classes)}",
                *[""] * (docstring.end_lineno - docstring.lineno),
            ]
    return "\n".join(lines)


def _classes(text: str, source: Path) -> dict[str, ast.ClassDef]:
    """Return the classes of a module by name, and those of ours that it imports."""
    found = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gatepost."):
            path = Path(source, *(node.module or "").split(".")).with_suffix(".py")
            names = {each.name for each in node.names}
            if path.exists():
                there = ast.parse(path.read_text(encoding="utf-8")).body
                found |= {each.name: each for each in there if isinstance(each, ast.ClassDef) and each.name in names}
    return found


def _decorator(node: ast.ClassDef) -> ast.Call | None:
    """Return what makes it a data class, if anything does."""
    for each in node.decorator_list:
        call = each if isinstance(each, ast.Call) else ast.Call(each, [], [])
        if isinstance(call.func, ast.Name) and call.func.id in {"dataclass", "value"}:
            return call
    return None


def _makes_itself(node: ast.ClassDef) -> bool:
    methods = {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
    return bool(methods & {"__init__", "__post_init__"})


def _constructor(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> str:
    decorator = _decorator(node)
    assert decorator is not None
    asked = {each.arg: ast.unparse(each.value) for each in decorator.keywords}
    _refuse_other(node, asked.keys() - _OPTIONS)
    parameters, body = [], []
    for each in _fields(node, classes):
        name, kind, given = ast.unparse(each.target), ast.unparse(each.annotation), each.value
        options = {}
        default = None if given is None else ast.unparse(given)
        if isinstance(given, ast.Call) and ast.unparse(given.func) == "field":
            options = {each.arg: ast.unparse(each.value) for each in given.keywords}
            default = options.get("default")
        _refuse_other(node, options.keys() - _FIELD_OPTIONS)
        made = f"{options['default_factory']}()" if "default_factory" in options else default
        if options.get("init") == "False":
            if made is not None:
                body.append(f"self.{name} = {made}")
        elif "default_factory" in options:
            if "None" in kind or "Optional" in kind or "Any" in kind:
                raise ValueError(f"class {node.name}: {name} may be None, which stands for a new one")
            parameters.append(f"{name}: {kind} | None = None")
            body.append(f"self.{name} = {made} if {name} is None else {name}")
        else:
            parameters.append(f"{name}: {kind}" + ("" if default is None else f" = {default}"))
            body.append(f"self.{name} = {name}")
    # mypy knows no such constructor of what is frozen.
    remark = "  # type: ignore[misc]" if asked.get("frozen") == "True" else ""
    return f"def __init__(self, {', '.join(parameters)}) -> None: {'; '.join(body) or 'pass'}{remark}"


def _refuse_other(node: ast.ClassDef, options: set[str | None]) -> None:
    if options:
        raise ValueError(f"class {node.name}: {', '.join(map(str, options))}= is not written out")


def _fields(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> list[ast.AnnAssign]:
    """Return the fields, those that are inherited first."""
    inherited: list[ast.AnnAssign] = []
    for base in [ast.unparse(each) for each in node.bases]:
        if base not in classes or len(node.bases) > 1 or _makes_itself(classes[base]):
            raise ValueError(f"class {node.name}: {base} is not a class whose fields are known")
        inherited += _fields(classes[base], classes)
    if _decorator(node) is None:
        return inherited
    own = [each for each in node.body if isinstance(each, ast.AnnAssign)]
    own = [each for each in own if not ast.unparse(each.annotation).startswith("ClassVar")]
    again = {ast.unparse(each.target) for each in inherited} & {ast.unparse(each.target) for each in own}
    if again:
        raise ValueError(f"class {node.name}: {', '.join(again)} is a field already")
    return inherited + own


_WEAK_SLOT = re.compile(
    r"^ *Py_(VISIT|CLEAR)\(\*\(\(PyObject \*\*\)\(\(char \*\)self \+ sizeof\(PyObject \*\) \+ sizeof\(\w+\)\)\)\);\n",
    re.MULTILINE,
)
_END = re.compile(r"^ *CPyDef_\w+_clear(_subtype)?\(\(PyObject \*\)self\);\n", re.MULTILINE)
_CLEAR = "    if (Py_TYPE(self)->tp_weaklistoffset) PyObject_ClearWeakRefs((PyObject *)self);\n"


def _mend(path: Path) -> bool:
    """Let objects end the weak references to them before themselves; tell whether mypyc had it otherwise.

    Where a class has one of Python's above it, mypy 2.4 takes the first of them for one that the object holds, and
    leaves the others pointing to where the object was.
    """
    text, count = _WEAK_SLOT.subn("", path.read_text())
    if count:
        path.write_text(_END.sub(lambda end: _CLEAR + end[0], text))
    return bool(count) or _CLEAR in text


def main(made: Path, modules: list[str]) -> None:
    """Compile *modules*, files below the folder we are in."""
    from mypyc.build import mypycify
    from setuptools import setup

    work = made.with_name(f"{made.name}-work")
    # The fastest that was measured: "s" takes a tenth more of the CPU and 1 MiB less of a worker's memory, "3" no less.
    extensions = mypycify(
        ["--strict", "--config-file=", f"--cache-dir={work / 'cache'}", *modules],
        opt_level="2",
        debug_level="0",
        multi_file=True,
        target_dir=str(work / "c"),
    )
    mended = [_mend(each) for each in (work / "c").rglob("*.c")]
    if not any(mended):
        raise SystemExit("mypyc has changed: see whether objects still end without their weak references")
    for extension in extensions:
        # Modules call one another straight, not by way of a table: less to fetch for each call.
        extension.extra_compile_args += ["-fvisibility=hidden", "-fno-plt"]
    options = {"build_lib": str(made), "build_temp": str(work / "objects"), "parallel": os.cpu_count()}
    setup(
        name="gatepost",
        packages=[],
        py_modules=[],
        ext_modules=extensions,
        options={"build_ext": options},
        script_args=["-q", "build_ext"],
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
