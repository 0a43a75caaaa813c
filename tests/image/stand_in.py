"""What stands in for a registry and a package index where an image is built without them.

The base image is then made by debootstrap from Debian's packages, with Debian's own Python, and another one with a
compiler; the wheels are downloaded here, held to the same hashes, and handed to the build.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from shell import ROOT, WORK, Failed, has, run, say

__all__ = ["BASE", "COMPILER", "LOCKS", "make_base", "make_wheelhouse"]

BASE = "localhost/gatepost-base:bookworm"
COMPILER = "localhost/gatepost-compiler:bookworm"
LOCKS = ("requirements-compile.lock", "requirements-image.lock")
_PACKAGES = {BASE: "ca-certificates,python3,python3-venv", COMPILER: "gcc,libc6-dev,python3-dev,python3-venv"}
_KEPT_OUT = (
    "./dev/*",
    "./etc/hostname",
    "./etc/hosts",
    "./etc/resolv.conf",
    "./var/cache/apt/*",
    "./var/lib/apt/lists/*",
)


def make_base(name: str) -> Path:
    """Return an archive of a small Debian with Python, or of the COMPILER's, made once.

    Raises:
        Failed: it cannot be made here.
    """
    archive = WORK / ("compiler.tar" if name == COMPILER else "base.tar")
    if archive.exists():
        return archive
    if not has("debootstrap"):
        raise Failed("no base image can be pulled, and debootstrap is missing: apt-get install debootstrap")
    if os.geteuid() != 0:
        raise Failed("no base image can be pulled, and debootstrap needs root to make one")
    say(f"{archive.stem}: making it with debootstrap, from Debian's packages (about a minute)")
    folder = archive.with_suffix("")
    shutil.rmtree(folder, ignore_errors=True)
    run("debootstrap", "--variant=minbase", f"--include={_PACKAGES[name]}", "bookworm", folder)
    unfinished = archive.with_suffix(".part")
    run("tar", "-C", folder, *(f"--exclude={each}" for each in _KEPT_OUT), "-cf", unfinished, ".")
    shutil.rmtree(folder)
    unfinished.rename(archive)
    return archive


def make_wheelhouse(folder: Path) -> None:
    """Download what the image is made of, and by, into *folder*, as wheels for Python 3.11, held to their hashes."""
    say("wheels: downloading them here, for a build without a package index")
    locks = [word for each in LOCKS for word in ("-r", ROOT / each)]
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps")
    run(*pip, "--only-binary", ":all:", "--python-version", "3.11", "--require-hashes", *locks, "-d", folder)
