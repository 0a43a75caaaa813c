"""The three programs that build images (docker, podman, buildah), and containers run by the two that can."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from shell import ROOT, WORK, Failed, has, output, run, say
from stand_in import BASE, COMPILER, LOCKS, make_base, make_wheelhouse

__all__ = ["Built", "Container", "EngineContainer", "Mount", "build", "can_run", "choose"]

_CONTEXT = ("Dockerfile", ".dockerignore", "LICENSE", "README.md", "hatch_build.py", "pyproject.toml", *LOCKS)
_BASE = "python:3.11-slim-bookworm"


@dataclass(frozen=True, slots=True)
class Built:
    """An image, what built it and from which base, its size, and whether what messages pass through is compiled."""

    engine: str
    name: str
    base: str
    size_bytes: int
    is_compiled: bool


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or folder of this machine, at a place in the container."""

    here: Path
    there: str
    is_writable: bool = False


class Container(Protocol):
    """A container with a read-only root, no capabilities and a network of its own; the trial uses each kind alike."""

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Run the image's entry point with *arguments*; its standard output is a pipe."""
        ...

    def inside(self, *command: str) -> list[str]:
        """Return the command that runs *command* in the running container."""
        ...

    def stop(self) -> None:
        """Send SIGTERM to its first process."""
        ...

    def remove(self) -> None:
        """Leave nothing of it."""
        ...


class EngineContainer:
    """A container of docker or podman."""

    def __init__(self, image: Built, mounts: Iterable[Mount], environ: Mapping[str, str]) -> None:
        self._engine = image.engine
        self._image = image.name
        self._name = "gatepost-trial"
        self._options = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none"]
        self._options += ["--sysctl=net.ipv4.ip_unprivileged_port_start=0", "--tmpfs=/tmp:size=16m,noexec,nosuid,nodev"]
        for mount in mounts:
            self._options.append(f"--volume={mount.here}:{mount.there}:{'rw' if mount.is_writable else 'ro'}")
        self._options += [f"--env={name}={value}" for name, value in environ.items()]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Run the image's entry point with *arguments*; its standard output is a pipe."""
        self.remove()
        command = [self._engine, "run", "--rm", f"--name={self._name}", *self._options, self._image, *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def inside(self, *command: str) -> list[str]:
        """Return the command that runs *command* in the running container."""
        return [self._engine, "exec", "--interactive", self._name, *command]

    def stop(self) -> None:
        """Send SIGTERM to its first process."""
        run(self._engine, "kill", "--signal=TERM", self._name)

    def remove(self) -> None:
        """Leave nothing of it."""
        with suppress(Failed):
            run(self._engine, "rm", "--force", "--volumes", self._name)


def choose() -> str:
    """Return the program to build with: the one that ENGINE names, or the first that works.

    Raises:
        Failed: there is none that works.
    """
    for engine in os.environ.get("ENGINE", "docker podman buildah").split():
        if has(engine) and output(engine, "info"):
            return engine
        if has(engine):
            say(f"{engine}: is installed, but does not answer; trying the next")
    raise Failed("none of docker, podman and buildah works here: apt-get install buildah debootstrap")


def can_run(image: Built) -> bool:
    """Tell whether the program that built *image* can run it, too."""
    if image.engine == "buildah":
        return False
    try:
        run(image.engine, "run", "--rm", "--network=none", image.name, "--version", seconds=60)
    except Failed as error:
        say(f"{image.engine}: builds, but cannot run containers here ({str(error).splitlines()[-1]})")
        return False
    return True


def build(engine: str, version: str) -> Built:
    """Build the image from a copy of what it is made of; where no base can be pulled, from one made here."""
    context = WORK / "context"
    shutil.rmtree(context, ignore_errors=True)
    context.mkdir(parents=True)
    for each in _CONTEXT:
        shutil.copy(ROOT / each, context)
    shutil.copytree(ROOT / "src", context / "src", ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    compiles = os.environ.get("COMPILE", "1")
    arguments = {"VERSION": version, "REVISION": output("git", "-C", str(ROOT), "rev-parse", "HEAD") or "unknown"}
    arguments["COMPILE"] = compiles
    base = _BASE
    try:
        run(engine, "pull", _BASE, seconds=120)
    except Failed:
        base = "Debian bookworm with Debian's Python, made by debootstrap"
        say(f"base: {_BASE} cannot be pulled here; in its place stands {base}")
        _import(engine, make_base(BASE), BASE)
        arguments |= {"BASE": BASE, "PIP_NO_INDEX": "1"}
        if compiles == "1":
            _import(engine, make_base(COMPILER), COMPILER)
            arguments |= {"COMPILER": COMPILER}
        make_wheelhouse(context / "wheelhouse")
    name = f"localhost/gatepost:{version}"
    say(f"build: {engine}, {name}")
    _build(engine, context, name, arguments, [] if base == _BASE else ["--pull=never"])
    return Built(engine, name, base, _size(engine, name), compiles == "1")


def _build(engine: str, context: Path, name: str, arguments: Mapping[str, str], options: list[str]) -> None:
    # HEALTHCHECK is Docker's: the format of the OCI has no place for it.
    # In a chroot podman and buildah build also where they cannot run containers; docker looks here before it pulls.
    options = [] if engine == "docker" else ["--format=docker", "--isolation=chroot", *options]
    words = [f"--build-arg={key}={value}" for key, value in arguments.items()]
    run(engine, "build", *options, *words, f"--tag={name}", context)


def _import(engine: str, archive: Path, name: str) -> None:
    if engine != "buildah":
        run(engine, "import", archive, name)
        return
    folder = WORK / "import"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "Dockerfile").write_text(f"FROM scratch\nADD {archive.name} /\n")
    (folder / archive.name).hardlink_to(archive)
    run("buildah", "build", "--isolation=chroot", f"--tag={name}", folder)
    shutil.rmtree(folder)


def _size(engine: str, name: str) -> int:
    if engine != "buildah":
        return int(run(engine, "image", "inspect", "--format={{.Size}}", name))
    manifest = json.loads(json.loads(run("buildah", "inspect", "--type=image", name))["Manifest"])
    return sum(int(layer["size"]) for layer in manifest["layers"])
