"""Libraries of our own that stand between a server and its disk: made from the sources beside this file."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

__all__ = ["built"]


def built(name: str, folder: Path) -> Path:
    """Compile ``tests/<name>.c`` into *folder*; without a compiler skip the test, naming the Debian packages."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("cc is missing: apt-get install gcc libc6-dev")
    library = folder / f"{name}.so"
    source = Path(__file__).with_name(f"{name}.c")
    flags = ["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Wno-format-truncation"]
    words = [compiler, *flags, "-o", str(library), str(source), "-ldl", "-lpthread"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return library
