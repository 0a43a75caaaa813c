"""A control group (v2) for a server whose processes come and go: it counts also those that nobody waits for."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from measuring import Tree

from servers import wait_for

__all__ = ["Group"]

_EVERY = 0.1


class Group(Tree):
    """The processes of a control group.  Its memory is what they have at one time, looked at every 0.1 s."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self._peak = 0.0
        self._enough = threading.Event()
        self._watching: threading.Thread | None = None

    @classmethod
    @contextlib.contextmanager
    def made(cls, name: str) -> Iterator[Self]:
        """Make a group; end what is left in it, by process id, and the group."""
        folder = _root() / name
        folder.mkdir()
        group = cls(folder)
        try:
            yield group
        finally:
            group.peaks_mib()
            wait_for("all of the server to end", group._ended)
            folder.rmdir()

    @staticmethod
    def needed_by(name: str) -> None:
        """End the benchmark if no group can be made."""
        try:
            with Group.made(f"gatepost-bench-{os.getpid()}"):
                pass
        except OSError as error:
            raise SystemExit(
                f"PEERS={name}: its CPU is counted by a control group (v2), and none can be made: {error}"
            ) from None

    def joined_by(self, *words: str | Path) -> list[str | Path]:
        """Return how to run *words* in the group."""
        return ["sh", "-c", 'echo 0 >"$0/cgroup.procs" && exec "$@"', self.folder, *words]

    def pids(self) -> list[int]:
        """Return those that are alive."""
        return [int(each) for each in (self.folder / "cgroup.procs").read_text().split()]

    def cpu(self) -> float:
        """Return the seconds they took, with those of all that have ended."""
        said = dict(line.split() for line in (self.folder / "cpu.stat").read_text().splitlines())
        return int(said["usage_usec"]) / 1e6

    def forget_peak(self) -> None:
        """Start to watch the memory anew."""
        self.peaks_mib()
        self._peak = 0.0
        self._enough.clear()
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self._watching.start()

    def peaks_mib(self) -> list[float]:
        """Stop watching; return the most that all of them had at one time."""
        self._enough.set()
        if self._watching is not None:
            self._watching.join()
            self._watching = None
        return [self._peak]

    def _watch(self) -> None:
        while not self._enough.wait(_EVERY):
            self._peak = max(self._peak, sum(self.resident_mib()))

    def _ended(self) -> bool:
        pids = self.pids()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not pids


def _root() -> Path:
    """Return where the groups are.

    Raises:
        FileNotFoundError: this system has none.
    """
    for line in Path("/proc/mounts").read_text().splitlines():
        _, folder, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(folder)
    raise FileNotFoundError("/proc/mounts names no cgroup2")
