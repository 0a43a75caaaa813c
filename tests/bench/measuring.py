"""What the benchmark measures, and with what: servers, process trees by /proc, the sink, the load client."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servers import Authority, Gatepost, accepts, free_ports, wait_for

__all__ = [
    "BUILD",
    "LOGIN",
    "PASSWORD",
    "Peer",
    "Result",
    "Sink",
    "Start",
    "Subject",
    "Tree",
    "load_with",
    "measure",
    "send",
]

BUILD = Path(__file__).parent / "build"
LOGIN = "test@example.test"
PASSWORD = "secret-pass-1"
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Tree:
    """Processes and all their descendants, by /proc."""

    def __init__(self, *roots: int) -> None:
        self.roots = roots

    def pids(self) -> list[int]:
        """Return those that are alive."""
        found = list(self.roots)
        for pid in found:
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    found += map(int, (task / "children").read_text().split())
        return found

    def cpu(self) -> float:
        """Return the seconds they took, with those of children that have ended."""
        ticks = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += sum(map(int, fields[11:15]))  # user, system, and both of children
        return ticks / _TICK

    def resident_mib(self) -> list[float]:
        """Return the resident memory of each, that of the roots first."""
        sizes = []
        for pid in self.pids():
            with contextlib.suppress(OSError):
                sizes.append(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / (1 << 20))
        return sizes

    def forget_peak(self) -> None:
        """Start to measure the peak of memory anew."""
        for pid in self.pids():
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")

    def peaks_mib(self) -> list[float]:
        """Return the peak of resident memory of each, that of the roots first."""
        peaks = []
        for pid in self.pids():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith("VmHWM:"):
                        peaks.append(int(line.split()[1]) / 1024)
        return peaks


class Sink:
    """The next hop: it counts messages and throws them away."""

    def __init__(self, folder: Path) -> None:
        (self.port,) = free_ports(1)
        self.statistics = folder / "sink.stats"
        self.process = subprocess.Popen(
            [BUILD / "smtpsink", "--port", str(self.port), "--stats", self.statistics], stdout=subprocess.DEVNULL
        )
        wait_for("the sink", lambda: accepts(self.port))

    def messages(self) -> int:
        """Return how many came."""
        count: int = struct.unpack("<Q", self.statistics.read_bytes()[:8])[0]
        return count

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait()


@dataclass
class Subject:
    """A server under load: its processes, its ports, a password, and where it sends mail on to, if it does."""

    tree: Tree
    port: int
    tls_port: int
    password: str
    sink: Sink | None = None
    server: Gatepost | None = None
    start_seconds: float = 0.0


Start = Callable[[Path, Authority], AbstractContextManager[Subject]]


@dataclass(frozen=True)
class Peer:
    """A server to lay beside gatepost: how it starts, its versions, and what to know when its figures are read.

    What is missing to start it, *versions* says with SystemExit.
    """

    start: Start
    versions: Callable[[], dict[str, str]]
    note: str


def words(subject: Subject, arguments: str) -> list[str]:
    """Return how to call the load client; ``{tls}`` stands for the port with implicit TLS, the other one by default."""
    said = arguments.format(tls=f"--port {subject.tls_port} --mode implicit")
    port = [] if "--port" in said else ["--port", str(subject.port)]
    return [str(BUILD / "smtpload"), *port, "--user", LOGIN, "--pass", subject.password, *said.split()]


def load_with(subject: Subject, arguments: str) -> dict[str, Any]:
    """Run the load client; return what it measured."""
    done = subprocess.run(words(subject, arguments), capture_output=True, text=True, check=False, timeout=300)
    if not done.stdout:
        raise RuntimeError(f"smtpload said nothing: {done.stderr}")
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def send(subject: Subject, arguments: str) -> dict[str, Any]:
    """Run the load client and wait until the sink has what was accepted; return what the client measured."""
    before = subject.sink.messages() if subject.sink else 0
    said = load_with(subject, arguments)
    if subject.sink:
        sink, wanted = subject.sink, before + said["messages"]
        wait_for("the sink to have all messages", lambda: sink.messages() >= wanted, seconds=90)
        # Of a session that failed, one message may have been accepted without the client's knowledge.
        if sink.messages() > wanted + said["sessions_failed"]:
            raise RuntimeError(f"the sink got {sink.messages() - before} of {said['messages']} messages: some twice")
    return said


@dataclass(frozen=True)
class Result:
    """What one load came to on one server."""

    cpu_ms: float
    per_second: float
    mb_per_second: float
    p50_ms: float
    p99_ms: float
    peak_mib: float
    failed: int
    error: str


def measure(subject: Subject, arguments: str) -> Result:
    """Put one load on a server."""
    subject.tree.forget_peak()
    before = subject.tree.cpu()
    said = send(subject, arguments)
    count = max(said["messages"], 1)
    latency = said["txn_ms"] or {"p50": 0.0, "p99": 0.0}
    return Result(
        cpu_ms=(subject.tree.cpu() - before) * 1000 / count,
        per_second=said["msgs_per_s"],
        mb_per_second=said["MB_per_s"],
        p50_ms=latency["p50"],
        p99_ms=latency["p99"],
        peak_mib=sum(subject.tree.peaks_mib()),
        failed=said["sessions_failed"],
        error="; ".join(said["errors"][:1]),
    )
