"""Make two locks of parts of requirements.lock: what gatepost runs on, which is all that the container image has of it,
and what a wheel of gatepost is built with.

``make generate`` writes them to requirements-image.lock and requirements-compile.lock; the dependencies of each
distribution are read from this environment, where all of requirements.lock is installed.
"""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def closure(requirements: Iterable[str]) -> set[str]:
    """Return the names of *requirements* and of all that they need here."""
    names: set[str] = set()
    waiting = [(Requirement(each), "") for each in requirements]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        for wanted in ("", *requirement.extras):
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                names.add(name)
                waiting += [(Requirement(each), wanted) for each in importlib.metadata.requires(name) or ()]
    return names


def runtime() -> set[str]:
    """Return what gatepost needs to run, with PostgreSQL."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return closure(project["dependencies"] + project["optional-dependencies"]["postgres"])


def compiler() -> set[str]:
    """Return what it takes to build gatepost, and to compile it."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return closure(pyproject["build-system"]["requires"] + pyproject["dependency-groups"]["compile"])


def subset(text: str, names: set[str]) -> str:
    """Return the entries of *names* in *text*, a lock file."""
    blocks = {block.partition("==")[0]: block for block in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)}
    if names - set(blocks):
        raise SystemExit(f"requirements.lock lacks {', '.join(sorted(names - set(blocks)))}")
    return "".join(block for name, block in blocks.items() if name in names)


if __name__ == "__main__":
    everything = (ROOT / "requirements.lock").read_text()
    (ROOT / "requirements-image.lock").write_text(subset(everything, runtime()))
    (ROOT / "requirements-compile.lock").write_text(subset(everything, compiler()))
