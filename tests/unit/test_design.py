"""What the shape of the whole promises: small files, whole tables, a lean worker, a lock without addresses."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))

# What a worker may load beside Python and itself.
WORKER_MAY_LOAD = {
    "_argon2_cffi_bindings",
    "_cffi_backend",
    "_openssl",
    "aiosmtpd",
    "annotated_types",
    "anyio",
    "argon2",
    "atpublic",
    "attr",
    "attrs",
    "certifi",
    "cffi",
    "click",
    "cryptography",
    "h11",
    "httpcore2",
    "httpx2",
    "idna",
    "joserfc",
    "public",
    "pydantic",
    "pydantic_core",
    "truststore",
    "typing_extensions",
    "typing_inspection",
    "uvloop",
}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_says_what_it_is_and_stays_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    assert len(text.splitlines()) <= 400
    assert not text or ast.get_docstring(ast.parse(text)), "wants a docstring that says what it is"


def table_entries() -> Iterable[str]:
    """Return every string that names something to import later: ``package.module:name``."""
    pattern = re.compile(r"gatepost(?:\.\w+)+:\w+")
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and pattern.fullmatch(node.value):
                yield node.value


@pytest.mark.parametrize("entry", sorted(set(table_entries())))
def test_what_tables_name_can_be_imported(entry: str) -> None:
    module, _, name = entry.partition(":")
    package = importlib.import_module(module)

    # alembic writes "package:folder" for a folder inside a package.
    assert hasattr(package, name) or (Path(str(package.__file__)).parent / name).is_dir()


def test_a_worker_loads_no_more_than_it_needs() -> None:
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            "import json, sys, gatepost.app, gatepost.cli.serve; print(json.dumps(list(sys.modules)))",
        ],
        capture_output=True,
        check=True,
        text=True,
    )
    modules = set(json.loads(loaded.stdout))
    packages = (
        {name.partition(".")[0] for name in modules}
        - sys.stdlib_module_names
        - {"__main__", "gatepost", "sitecustomize"}
    )

    # What mypyc made of all modules together has a name of its own.
    assert not {
        name
        for name in packages - WORKER_MAY_LOAD
        if not name.startswith(("__editable__", "_virtualenv", "_distutils")) and not name.endswith("__mypyc")
    }
    assert not {"sqlalchemy", "alembic", "fastapi", "uvicorn"} & packages
    assert not {name for name in modules if name.startswith(("gatepost.cli.account", "gatepost.identity.migrat"))}


def test_passlib_is_not_installed_beside_the_fork_that_owns_its_folder() -> None:
    owners = {
        distribution.metadata["Name"]
        for distribution in importlib.metadata.distributions()
        if any(str(file).startswith("passlib/") for file in distribution.files or ())
    }

    assert owners == {"libpass"}


def test_the_lock_file_holds_hashes_and_no_addresses() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    requirements = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]

    assert requirements
    assert all(re.match(r"[a-z0-9._-]+==\S+ (?:;.*)?\\$", line) for line in requirements)
    assert text.count("--hash=sha256:") >= len(requirements)
    assert "://" not in text
    assert "--index-url" not in text


def test_the_lock_file_holds_every_dependency() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    locked = {
        line.partition("==")[0]
        for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
        if "==" in line
    }
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]

    def name(requirement: str) -> str:
        return re.split(r"[\[<>=; ]", requirement, maxsplit=1)[0].lower().replace("_", "-")

    assert {name(each) for each in wanted} <= locked


@pytest.mark.parametrize("word", ["utils", "helpers", "common", "base", "manager", "handler", "processor", "misc"])
def test_no_module_is_named_after_nothing(word: str) -> None:
    assert not [path for path in SOURCES if word in path.with_suffix("").parts[len(ROOT.parts) :]]
