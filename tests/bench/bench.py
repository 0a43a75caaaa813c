"""Lay gatepost beside stock aiosmtpd: CPU, messages a second, latency and memory under the same loads (`make bench`).

One server runs at a time; repeats are interleaved, and every second one goes the other way round.  gatepost keeps and
relays each message to a sink, and its CPU is counted until the sink has them all; aiosmtpd only writes files.  The CPU
is that of the server's whole process tree.  gatepost runs with one worker and with two.  Then come two servers side by
side, for comparison with two workers, the time from start to `ready`, the memory of an idle worker, and messages a
second on a disk whose every sync takes 5 ms more.

BENCH_REPEATS (3), BENCH_LOADS (a,c,d) and BENCH_MORE (apart,start,sync) say how much; the exit code is 1 if a bar is
missed or a session failed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from servers import Authority, Gatepost, accepts, free_ports, wait_for  # noqa: E402 - tests/ is no package

BUILD = HERE / "build"
LOGIN = "test@example.test"
PASSWORD = "secret-pass-1"
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Load:
    """What smtpload does, whole and half; at most how much of aiosmtpd's CPU, and of one worker's, it may take."""

    what: str
    arguments: str
    bar: float
    bar_of_two: float | None = None
    half: str = ""


LOADS = {
    "a": Load(
        "one 4 KiB message a session, 32 connections",
        "--conns 32 --sessions 2000 --seconds 20",
        0.6,
        1.05,
        "--conns 16 --sessions 1000 --seconds 20",
    ),
    "c": Load(
        "100 messages of 4 KiB a session, 10 connections",
        "--conns 10 --sessions 20 --msgs 100",
        0.5,
        1.05,
        "--conns 5 --sessions 10 --msgs 100",
    ),
    "d": Load("messages of 10 MiB, 4 connections", "--conns 4 --sessions 20 --size 10485760", 0.3),
}


START_BAR, IDLE_BAR, SYNC_BAR = 1.5, 70.0, 4000.0
LIMITS = """\
[limits]
connections_per_address = 2000
connections_per_minute = 1000000
recipients_per_day = 100000000
messages_per_minute = 1000000
"""


class Tree:
    """A process and all its descendants, by /proc."""

    def __init__(self, root: int) -> None:
        self.root = root

    def pids(self) -> list[int]:
        """Return those that are alive."""
        found = [self.root]
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
        return ticks / TICK

    def resident_mib(self) -> list[float]:
        """Return the resident memory of each, that of the root first."""
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids()]
        return [each * os.sysconf("SC_PAGE_SIZE") / (1 << 20) for each in pages]

    def forget_peak(self) -> None:
        """Start to measure the peak of memory anew."""
        for pid in self.pids():
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")

    def peak_mib(self) -> float:
        """Return the sum of the peaks of resident memory."""
        kib = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith("VmHWM:"):
                        kib += int(line.split()[1])
        return kib / 1024


class Sink:
    """The next hop: it counts messages and throws them away."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self.statistics = folder / "sink.stats"
        self.process = subprocess.Popen(
            [BUILD / "smtpsink", "--port", str(port), "--stats", self.statistics], stdout=subprocess.DEVNULL
        )
        wait_for("the sink", lambda: accepts(port))

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
    """A server under load."""

    tree: Tree
    port: int
    password: str
    sink: Sink | None = None
    server: Gatepost | None = None
    start_seconds: float = 0.0


@contextlib.contextmanager
def gatepost(
    folder: Path, authority: Authority, workers: int = 1, environment: dict[str, str] | None = None
) -> Iterator[Subject]:
    """Run gatepost with its defaults, but for limits that the load would meet."""
    (sink_port,) = free_ports(1)
    sink = Sink(folder, sink_port)
    server = Gatepost(
        folder / "gatepost",
        authority,
        routes=f"""\
[[route]]
name = "sink"
transport = "smarthost"
host = "127.0.0.1"
port = {sink_port}
tls = "none"
""",
        tables=LIMITS,
        top=f"workers = {workers}",
        environment=environment or {},
    )
    try:
        password = server.add_account(LOGIN, LOGIN)
        began = time.monotonic()
        with server:
            assert server.process is not None
            seconds = time.monotonic() - began
            yield Subject(Tree(server.process.pid), server.starttls_port, password, sink, server, seconds)
    finally:
        sink.close()


@contextlib.contextmanager
def aiosmtpd(folder: Path, authority: Authority) -> Iterator[Subject]:
    """Run stock aiosmtpd."""
    (port,) = free_ports(1)
    words = [folder, authority.certificate, authority.key, port, LOGIN, PASSWORD]
    with (folder / "out.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", HERE / "stock.py", *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        wait_for("aiosmtpd", lambda: accepts(port))
        yield Subject(Tree(process.pid), port, PASSWORD)
    finally:
        process.terminate()
        process.wait()


Start = Callable[[Path, Authority], AbstractContextManager[Subject]]
SUBJECTS: dict[str, Start] = {
    "gatepost": gatepost,
    "gatepost x2": lambda folder, authority: gatepost(folder, authority, workers=2),
    "aiosmtpd": aiosmtpd,
}


def load_with(subject: Subject, arguments: str) -> dict[str, Any]:
    """Run the load client; return what it measured."""
    words = ["--port", str(subject.port), "--user", LOGIN, "--pass", subject.password, *arguments.split()]
    done = subprocess.run([BUILD / "smtpload", *words], capture_output=True, text=True, check=False, timeout=300)
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
        if sink.messages() > wanted:
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


def measure(subject: Subject, load: Load) -> Result:
    """Put one load on a server."""
    subject.tree.forget_peak()
    before = subject.tree.cpu()
    said = send(subject, load.arguments)
    count = max(said["messages"], 1)
    latency = said["txn_ms"] or {"p50": 0.0, "p99": 0.0}
    return Result(
        cpu_ms=(subject.tree.cpu() - before) * 1000 / count,
        per_second=said["msgs_per_s"],
        mb_per_second=said["MB_per_s"],
        p50_ms=latency["p50"],
        p99_ms=latency["p99"],
        peak_mib=subject.tree.peak_mib(),
        failed=said["sessions_failed"],
        error="; ".join(said["errors"][:1]),
    )


def rounds(repeats: int, loads: list[str]) -> dict[tuple[str, str], list[Result]]:
    """Run everything, interleaved; print each figure as it comes."""
    results: dict[tuple[str, str], list[Result]] = {(load, name): [] for load in loads for name in SUBJECTS}
    BUILD.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        # Not below /tmp, which may be memory: a sync would cost nothing there.
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=BUILD))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        authority = Authority(folder / "certificates")
        for repeat in range(repeats):
            for name in list(SUBJECTS)[:: -1 if repeat % 2 else 1]:
                own = folder / f"{name}-{repeat}"
                own.mkdir()
                with SUBJECTS[name](own, authority) as subject:
                    send(subject, "--conns 8 --sessions 40")  # warm-up
                    for load in loads:
                        result = measure(subject, LOADS[load])
                        results[load, name].append(result)
                        print(
                            f"{repeat + 1}/{repeats} ({load}) {name:12}{result.cpu_ms:9.3f} ms CPU a message"
                            f"{result.per_second:9.0f}/s {result.error}",
                            flush=True,
                        )
                shutil.rmtree(own, ignore_errors=True)
    return results


def report(results: dict[tuple[str, str], list[Result]], loads: list[str]) -> bool:
    """Print the table of medians; tell whether every bar is met."""
    good = True
    for name in loads:
        load = LOADS[name]
        print(f"\n({name}) {load.what}; STARTTLS, full handshake, AUTH PLAIN; medians")
        print(
            f"{'':12}{'CPU ms/msg':>12}{'msgs/s':>9}{'MB/s':>8}{'p50 ms':>9}{'p99 ms':>9}{'peak MiB':>10}{'failed':>8}"
        )
        cpu = {}
        for subject in SUBJECTS:
            each = results[name, subject]
            cpu[subject] = statistics.median(one.cpu_ms for one in each)
            failed = sum(one.failed for one in each)
            good = good and not failed
            print(
                f"{subject:12}{cpu[subject]:12.3f}"
                f"{statistics.median(one.per_second for one in each):9.0f}"
                f"{statistics.median(one.mb_per_second for one in each):8.1f}"
                f"{statistics.median(one.p50_ms for one in each):9.2f}"
                f"{statistics.median(one.p99_ms for one in each):9.2f}"
                f"{max(one.peak_mib for one in each):10.1f}{failed:8}"
            )
        ratio = cpu["gatepost"] / cpu["aiosmtpd"]
        met = ratio <= load.bar
        good = good and met
        print(f"gatepost, relaying, takes {ratio:.3f} of aiosmtpd's CPU; bar {load.bar}: {'met' if met else 'MISSED'}")
        if load.bar_of_two is not None:
            ratio = cpu["gatepost x2"] / cpu["gatepost"]
            met = ratio <= load.bar_of_two
            good = good and met
            verdict = "met" if met else "MISSED"
            print(f"two workers take {ratio:.3f} of the CPU that one takes; bar {load.bar_of_two}: {verdict}")
    return good


def measure_apart(repeats: int, folder: Path, authority: Authority) -> bool:
    """Give two servers of one worker, which share nothing, half of a load each: what two cost that are only neighbours.

    On two cores, which client and sink need as well, that is what two workers of one server cannot do better.
    """
    for name, load in LOADS.items():
        if load.bar_of_two is None:
            continue
        costs = []
        for repeat in range(repeats):
            with contextlib.ExitStack() as stack:
                own = [folder / f"apart-{name}-{repeat}-{number}" for number in range(2)]
                for each in own:
                    each.mkdir()
                subjects = [stack.enter_context(gatepost(each, authority)) for each in own]
                for subject in subjects:
                    send(subject, "--conns 8 --sessions 40")  # warm-up
                before = sum(subject.tree.cpu() for subject in subjects)
                with ThreadPoolExecutor(2) as pool:
                    said = list(pool.map(send, subjects, [load.half] * 2))
                spent = sum(subject.tree.cpu() for subject in subjects) - before
                costs.append(spent * 1000 / sum(each["messages"] for each in said))
        print(
            f"\n({name}) two servers side by side, half the load each: {statistics.median(costs):.3f} ms CPU a message"
        )
    return True


def measure_start(repeats: int, folder: Path, authority: Authority) -> bool:
    """Time the start, weigh an idle worker; tell whether the bars are met."""
    seconds, sizes = [], []
    for repeat in range(repeats):
        own = folder / f"start-{repeat}"
        own.mkdir()
        with gatepost(own, authority) as subject:
            seconds.append(subject.start_seconds)
            sizes.append(subject.tree.resident_mib())
    start, idle = statistics.median(seconds), statistics.median(each[1] for each in sizes)
    parent = statistics.median(each[0] for each in sizes)
    print(f"\nfrom start to ready {start:.2f} s; bar {START_BAR}: {'met' if start <= START_BAR else 'MISSED'}")
    verdict = "met" if idle <= IDLE_BAR else "MISSED"
    print(f"idle worker {idle:.1f} MiB, parent {parent:.1f} MiB; bar {IDLE_BAR}: {verdict}")
    return start <= START_BAR and idle <= IDLE_BAR


def measure_sync(repeats: int, folder: Path, authority: Authority) -> bool:
    """Add 5 ms to each sync, pause the route, and count messages a second; tell whether the bar is met."""
    rates = []
    for repeat in range(repeats):
        own = folder / f"sync-{repeat}"
        own.mkdir()
        environment = {"LD_PRELOAD": str(BUILD / "slowsync.so"), "SLOWSYNC_MS": "5"}
        with gatepost(own, authority, workers=2, environment=environment) as subject:
            assert subject.server is not None
            subject.server.run("route", "pause", "sink")
            said = load_with(subject, "--conns 128 --sessions 256 --msgs 100")
            rates.append(said["msgs_per_s"])
            failed = said["sessions_failed"]
            error = "; ".join(said["errors"][:1])
            print(f"{repeat + 1}/{repeats} (sync) {said['msgs_per_s']:9.0f}/s, {failed} failed {error}", flush=True)
            if failed:
                return False
    rate = statistics.median(rates)
    met = rate >= SYNC_BAR
    print(f"5 ms added to each sync, (c) with 128 connections, route paused, two workers: {rate:.0f} messages a second")
    print(f"bar {SYNC_BAR:.0f}: {'met' if met else 'MISSED'}")
    return met


def main() -> int:
    """Run the benchmark."""
    loads = [each for each in os.environ.get("BENCH_LOADS", "a,c,d").split(",") if each]
    more = os.environ.get("BENCH_MORE", "apart,start,sync").split(",")
    repeats = int(os.environ.get("BENCH_REPEATS", "3"))
    good = report(rounds(repeats, loads), loads) if loads else True
    with tempfile.TemporaryDirectory(prefix="run-", dir=BUILD, ignore_cleanup_errors=True) as folder:
        authority = Authority(Path(folder) / "certificates")
        for name, work in (("apart", measure_apart), ("start", measure_start), ("sync", measure_sync)):
            if name in more:
                good = work(repeats, Path(folder), authority) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
