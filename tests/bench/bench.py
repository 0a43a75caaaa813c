"""Lay gatepost beside other servers: CPU, messages a second, latency and memory under the same loads (`make bench`).

One server runs at a time; repeats are interleaved, and every second one goes the other way round.  gatepost keeps and
relays each message to a sink, and its CPU is counted until the sink has them all; so is that of all peers but aiosmtpd,
which only writes files.  The CPU is that of the server's whole process tree.  Then comes what concerns gatepost alone.
At the end stands each bar, and whether it is met.

PEERS (aiosmtpd; some of aiosmtpd,postfix,exim,chasquid,chasquid-cheap,haraka: who is missing tells how to get it, and
what else it needs), BENCH_REPEATS (3), BENCH_LOADS (a,b,c,d) and BENCH_MORE
(apart,chosen,attack,pipelined,eight,idle,start,sync,million,fair,dkim) say how much; BENCH_REPORT names a file for a
report.  The exit code is 1 if a bar is missed, or a session with gatepost or with a peer that a bar is about failed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path[:0] = [str(folder) for folder in Path(__file__).resolve().parents[:2]]

from alone import MORE  # noqa: E402 - tests/ is no package
from measuring import BUILD, Result, Start, measure, send  # noqa: E402
from report import Row, print_rows, write_report  # noqa: E402
from subjects import PEERS, gatepost  # noqa: E402

from servers import Authority  # noqa: E402


@dataclass(frozen=True)
class Load:
    """What smtpload does; at most how much of a peer's CPU, and of one worker's, gatepost may take."""

    what: str
    arguments: str
    bars: Mapping[str, float] = field(default_factory=dict)
    bar_of_two: float | None = None


ONE_MESSAGE = "--conns 32 --sessions 2000 --seconds 20"
LOADS = {
    "a": Load("one 4 KiB message a session, 32 connections", ONE_MESSAGE, {"aiosmtpd": 0.6, "postfix": 0.45}, 1.05),
    "b": Load("the same on implicit TLS", "{tls} " + ONE_MESSAGE),
    "c": Load(
        "100 messages of 4 KiB a session, 10 connections",
        "--conns 10 --sessions 20 --msgs 100",
        {"aiosmtpd": 0.5, "postfix": 0.2},
        1.05,
    ),
    "d": Load("messages of 10 MiB, 4 connections", "--conns 4 --sessions 20 --size 10485760", {"aiosmtpd": 0.3}),
}
MEGABYTES_PER_MESSAGE, CPU_PER_MEGABYTE_BAR = 10.48576, 6.0

Results = dict[tuple[str, str], list[Result]]


def subjects(peers: Sequence[str]) -> dict[str, Start]:
    """Return what runs: gatepost with one worker and with two, then *peers*."""
    return {
        "gatepost": gatepost,
        "gatepost x2": lambda folder, authority: gatepost(folder, authority, workers=2),
        **{name: PEERS[name].start for name in peers},
    }


def rounds(running: Mapping[str, Start], repeats: int, loads: Sequence[str], folder: Path) -> Results:
    """Run everything, interleaved; print each figure as it comes."""
    results: Results = {(load, name): [] for load in loads for name in running}
    authority = Authority(folder / "certificates")
    for repeat in range(repeats):
        for name in list(running)[:: -1 if repeat % 2 else 1]:
            own = folder / f"{name}-{repeat}".replace(" ", "-")
            own.mkdir()
            with running[name](own, authority) as subject:
                warm_up = send(subject, "--conns 8 --sessions 40")
                if warm_up["sessions_failed"]:
                    raise RuntimeError(f"{name} does not do its job: {warm_up['errors']}")
                for load in loads:
                    if not subject.tls_port and "{tls}" in LOADS[load].arguments:
                        continue
                    result = measure(subject, LOADS[load].arguments)
                    results[load, name].append(result)
                    print(
                        f"{repeat + 1}/{repeats} ({load}) {name:14}{result.cpu_ms:9.3f} ms CPU a message"
                        f"{result.per_second:9.0f}/s {result.error}",
                        flush=True,
                    )
            shutil.rmtree(own, ignore_errors=True)
    return results


def median(results: Sequence[Result], name: str) -> float:
    """Return the median of one figure."""
    figures: list[float] = [getattr(each, name) for each in results]
    return statistics.median(figures)


def tables(results: Results, running: Mapping[str, Start], loads: Sequence[str]) -> str:
    """Return a table of medians for each load, with the least and the greatest CPU."""
    lines = []
    for load in loads:
        lines += [f"({load}) {LOADS[load].what}; full handshake, AUTH PLAIN; medians", ""]
        lines += ["| server | CPU ms/msg | from - to | msgs/s | MB/s | p50 ms | p99 ms | peak MiB | failed |"]
        lines += ["|---|--:|--:|--:|--:|--:|--:|--:|--:|"]
        for name in running:
            each = results[load, name]
            if each:
                figures = [
                    name,
                    f"{median(each, 'cpu_ms'):.3f}",
                    f"{min(one.cpu_ms for one in each):.3f} - {max(one.cpu_ms for one in each):.3f}",
                    f"{median(each, 'per_second'):.0f}",
                    f"{median(each, 'mb_per_second'):.1f}",
                    f"{median(each, 'p50_ms'):.2f}",
                    f"{median(each, 'p99_ms'):.2f}",
                    f"{max(one.peak_mib for one in each):.0f}",
                    f"{sum(one.failed for one in each)}",
                ]
                lines.append(f"| {' | '.join(figures)} |")
        lines.append("")
    return "\n".join(lines)


def bars(results: Results, running: Mapping[str, Start], loads: Sequence[str]) -> list[Row]:
    """Lay what gatepost took beside what the others took."""
    rows = []
    for load in loads:
        own = results[load, "gatepost"]
        cpu = median(own, "cpu_ms")
        for peer, bar in LOADS[load].bars.items():
            if peer in running:
                ratio = cpu / median(results[load, peer], "cpu_ms")
                rows.append(Row(f"({load}) CPU, of {peer}'s", f"{ratio:.3f}", f"{bar}", ratio <= bar))
        two = LOADS[load].bar_of_two
        if two is not None:
            ratio = median(results[load, "gatepost x2"], "cpu_ms") / cpu
            rows.append(Row(f"({load}) two workers' CPU, of one's", f"{ratio:.3f}", f"{two}", ratio <= two))
        if load == "d":
            per_megabyte = cpu / MEGABYTES_PER_MESSAGE
            met = per_megabyte <= CPU_PER_MEGABYTE_BAR
            rows.append(Row("(d) CPU ms a MB", f"{per_megabyte:.2f}", f"{CPU_PER_MEGABYTE_BAR:g}", met, "5"))
            if "postfix" in running:
                speed, theirs = (median(each, "mb_per_second") for each in (own, results[load, "postfix"]))
                rows.append(Row("(d) MB/s, Postfix's", f"{speed:.0f}", f"{theirs:.0f}", speed >= theirs))
    judged = {"gatepost", "gatepost x2", *(peer for load in LOADS.values() for peer in load.bars)}
    failed = sum(each.failed for (_, name), some in results.items() if name in judged for each in some)
    rows.append(Row("failed sessions", str(failed), "0", failed == 0))
    return rows


def chosen(name: str, default: str) -> list[str]:
    """Return the words of an environment variable."""
    return [each for each in os.environ.get(name, default).split(",") if each]


def main() -> int:
    """Run the benchmark."""
    loads, more = chosen("BENCH_LOADS", "a,b,c,d"), chosen("BENCH_MORE", ",".join(MORE))
    repeats = int(os.environ.get("BENCH_REPEATS", "3"))
    peers = chosen("PEERS", "aiosmtpd")
    for what, names, known in (("PEERS", peers, PEERS), ("BENCH_LOADS", loads, LOADS), ("BENCH_MORE", more, MORE)):
        for name in names:
            if name not in known:
                raise SystemExit(f"{what}: there is no {name}; there are {', '.join(known)}")
    versions = {what: version for name in peers for what, version in PEERS[name].versions().items()}
    for what, version in versions.items():
        print(what, version, flush=True)
    running = subjects(peers)
    BUILD.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        # Not below /tmp, which may be memory: a sync would cost nothing there.
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=BUILD))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        results = rounds(running, repeats, loads, folder) if loads else {}
        said = tables(results, running, loads)
        rows = bars(results, running, loads) if loads else []
        authority = Authority(folder / "certificates-alone")
        for name in more:
            own = folder / name
            own.mkdir()
            rows += MORE[name](repeats, own, authority)
            shutil.rmtree(own, ignore_errors=True)
    print(f"\n{said}")
    print_rows(rows)
    if "BENCH_REPORT" in os.environ:
        notes = [PEERS[name].note for name in peers]
        write_report(Path(os.environ["BENCH_REPORT"]), said, rows, repeats, versions, notes)
    return 0 if all(row.met is not False for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
