"""How a peer is run: as root, in a folder that its own users can reach, with a view of /etc that nobody else has."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from servers import accepts, free_ports, wait_for

__all__ = ["needs_root", "open_folder", "running", "seeing"]


def needs_root(name: str) -> None:
    """End the benchmark unless it is root's."""
    if os.geteuid() != 0:
        raise SystemExit(f"PEERS={name}: needs root")


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """Give a folder that the users of a server can reach: the build folder may lie below a home closed to them."""
    own = Path(f"/var/tmp/gatepost-bench-{free_ports(1)[0]}")
    own.mkdir()
    own.chmod(0o755)
    try:
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)


def seeing(etc: Path, *words: str | Path) -> list[str | Path]:
    """Return how to run *words* so that they, and nobody else, find what lies in *etc* laid over /etc."""
    script = 'mount -t overlay -o "ro,lowerdir=$0:/etc" gatepost-bench /etc && exec "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, etc, *words]


@contextlib.contextmanager
def running(name: str, words: Sequence[str | Path], log: Path, *ports: int) -> Iterator[int]:
    """Run *words*, which stay in the foreground, until the block ends; return the process id once all *ports* accept.

    Raises:
        RuntimeError: it ended before that; what it said in *log* is named.
    """
    with log.open("wb") as out:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        wait_for(name, lambda: process.poll() is not None or all(map(accepts, ports)))
        if process.poll() is not None:
            raise RuntimeError(f"{name} ended: {log.read_text()[-1000:]}")
        yield process.pid
    finally:
        process.terminate()
        process.wait()
