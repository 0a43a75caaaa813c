"""Run commands of others, and say plainly what could not be done."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["ROOT", "WORK", "Failed", "has", "output", "run", "say"]

ROOT = Path(__file__).parents[2]
WORK = ROOT / "build" / "image"


class Failed(Exception):
    """Something that must work did not."""


def say(text: str) -> None:
    """Tell the reader of ``make image``."""
    print(text, flush=True)


def has(program: str) -> bool:
    """Tell whether *program* is installed."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is not None


def run(*command: str | Path, stdin: str = "", seconds: float = 900, env: Mapping[str, str] | None = None) -> str:
    """Run *command* to its end and return its output.

    Raises:
        Failed: it could not be run, took too long, or ended with another code than 0.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
            env={**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin", **(env or {})},
        )
    except OSError as error:
        raise Failed(f"{words[0]}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(words[:3])}: no end after {seconds:.0f} s") from None
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise Failed(f"{' '.join(words)}: exit code {done.returncode}\n{last}")
    return done.stdout


def output(*command: Sequence[str] | str) -> str:
    """Return the output of *command* in one line, or "" if it fails."""
    try:
        return run(*map(str, command)).strip()
    except Failed:
        return ""
