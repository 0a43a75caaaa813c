"""What is measured of gatepost alone: neighbours, chosen secrets, pipelining, memory, start, slow disk, long queues."""

from __future__ import annotations

import contextlib
import json
import smtplib
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from attack import attack
from backlog import fairness, million
from measuring import BUILD, LOGIN, PASSWORD, Subject, load_with, measure, send, words
from report import Row
from subjects import gatepost

from servers import Authority

__all__ = ["MORE"]

_WARM_UP = "--conns 8 --sessions 40"
_IDLE = 10_000
_SENDERS, _BIG = 200, 1 << 20


def _folder(folder: Path, name: object) -> Path:
    own = folder / str(name)
    own.mkdir()
    return own


def apart(repeats: int, folder: Path, authority: Authority) -> list[Row]:
    """Give two servers of one worker, which share nothing, half of a load each.

    On two cores, which client and sink need as well, that is what two workers of one server cannot do better.
    """
    rows = []
    for name, half in (("a", "--conns 16 --sessions 1000 --seconds 20"), ("c", "--conns 5 --sessions 10 --msgs 100")):
        costs = []
        for repeat in range(repeats):
            with contextlib.ExitStack() as stack:
                own = [_folder(folder, f"{name}-{repeat}-{number}") for number in range(2)]
                subjects = [stack.enter_context(gatepost(each, authority)) for each in own]
                for subject in subjects:
                    send(subject, _WARM_UP)
                before = sum(subject.tree.cpu() for subject in subjects)
                with ThreadPoolExecutor(2) as pool:
                    said = list(pool.map(send, subjects, [half] * 2))
                spent = sum(subject.tree.cpu() for subject in subjects) - before
                costs.append(spent * 1000 / sum(each["messages"] for each in said))
        cost = statistics.median(costs)
        rows.append(Row(f"({name}) two servers side by side, half each, CPU ms a message", f"{cost:.3f}"))
    return rows


def chosen_secret(repeats: int, folder: Path, authority: Authority) -> list[Row]:
    """Let the same users come back with a chosen secret, which is checked by argon2id, and with a generated one.

    Both servers stand, and are loaded in turn: what else goes on at the machine changes within a minute.
    """
    one_message = "--conns 32 --sessions 2000 --seconds 20"
    costs: dict[str | None, list[float]] = {None: [], PASSWORD: []}
    with contextlib.ExitStack() as stack:
        subjects = {
            secret: stack.enter_context(
                gatepost(_folder(folder, f"secret-{len(secret or '')}"), authority, secret=secret)
            )
            for secret in costs
        }
        for subject in subjects.values():
            send(subject, _WARM_UP)
        for _ in range(2 * repeats):
            for secret, found in costs.items():
                found.append(measure(subjects[secret], one_message).cpu_ms)
    generated, chosen = (statistics.median(each) for each in costs.values())
    ratio = chosen / generated
    return [Row("(a) with argon2id, of (a)", f"{ratio:.3f}", "1.1", ratio <= 1.1)]


def pipelined(repeats: int, folder: Path, authority: Authority) -> list[Row]:
    """Send pipelined to two workers whose route is paused."""
    rates = []
    for repeat in range(repeats):
        with gatepost(_folder(folder, repeat), authority, workers=2) as subject:
            _pause(subject)
            rates.append(load_with(subject, "--conns 32 --sessions 128 --msgs 100 --pipeline")["msgs_per_s"])
    rate = statistics.median(rates)
    return [
        Row("(c) pipelined, route paused, two workers, messages a second", f"{rate:.0f}", "6000", rate >= 6000, "9000")
    ]


def eight(repeats: int, folder: Path, authority: Authority) -> list[Row]:
    """Weigh a worker that takes eight messages of 10 MiB at once."""
    peaks = []
    for repeat in range(repeats):
        with gatepost(_folder(folder, repeat), authority) as subject:
            send(subject, _WARM_UP)
            subject.tree.forget_peak()
            send(subject, "--conns 8 --sessions 16 --size 10485760")
            peaks.append(subject.tree.peaks_mib()[1])
    peak = statistics.median(peaks)
    return [Row("(d) peak MiB of a worker with eight at once", f"{peak:.1f}", "60", peak <= 60, "45")]


def idle(repeats: int, folder: Path, authority: Authority) -> list[Row]:
    """Weigh connections that are logged in and say nothing, without and with 1 MiB sent before."""
    del repeats
    rows = []
    with gatepost(_folder(folder, "idle"), authority, workers=2) as subject:
        send(subject, _WARM_UP)
        each, alive, seconds = _weigh(subject, f"{{tls}} --conns 32 --idle {_IDLE} --hold 12")
        rows.append(Row("(e) KiB an idle connection", f"{each:.1f}", "40", each <= 40, "22"))
        rows.append(Row("(e) of 10,000 idle connections answer", str(alive), str(_IDLE), alive == _IDLE))
        rows.append(Row("an honest client meanwhile, seconds", f"{seconds:.2f}", "2", seconds <= 2))
    with gatepost(_folder(folder, "sent"), authority) as subject, contextlib.ExitStack() as stack:
        send(subject, _WARM_UP)
        stack.enter_context(_who_sent(subject, authority))  # what one more crowd takes, after the first of its kind
        before = sum(subject.tree.resident_mib())
        stack.enter_context(_who_sent(subject, authority))
        each = (sum(subject.tree.resident_mib()) - before) * 1024 / _SENDERS
        rows.append(Row("(e2) KiB an idle connection that has sent 1 MiB", f"{each:.1f}", "64", each <= 64, "24"))
    return rows


@contextlib.contextmanager
def _who_sent(subject: Subject, authority: Authority) -> Iterator[None]:
    """Keep connections open that have sent 1 MiB each."""
    message = b"From: <%b>\r\n\r\n" % LOGIN.encode() + (b"x" * 76 + b"\r\n") * (_BIG // 78)
    context = authority.client_context()
    with contextlib.ExitStack() as stack:
        for _ in range(_SENDERS):
            client = smtplib.SMTP_SSL("localhost", subject.tls_port, context=context)
            stack.callback(client.close)
            client.login(LOGIN, subject.password)
            client.sendmail(LOGIN, "rcpt@dest.test", message)
        yield


def _weigh(subject: Subject, arguments: str) -> tuple[float, int, float]:
    """Return KiB a connection, how many answer at the end, and how long one more client takes meanwhile."""
    before = sum(subject.tree.resident_mib())
    client = subprocess.Popen(words(subject, arguments), stdout=subprocess.PIPE, text=True)
    assert client.stdout is not None
    count = max(json.loads(client.stdout.readline())["idle_open"], 1)
    time.sleep(2)
    weight = (sum(subject.tree.resident_mib()) - before) * 1024 / count
    began = time.monotonic()
    honest = load_with(subject, "--conns 1 --sessions 1")
    seconds = time.monotonic() - began if honest["sessions_ok"] else float("inf")
    alive = json.loads(client.stdout.readline() or "{}").get("idle_alive_at_end", 0)
    client.wait()
    return weight, alive, seconds


def start(repeats: int, folder: Path, authority: Authority) -> list[Row]:
    """Time the start, and weigh an idle worker."""
    seconds, sizes = [], []
    for repeat in range(repeats):
        with gatepost(_folder(folder, repeat), authority) as subject:
            seconds.append(subject.start_seconds)
            sizes.append(subject.tree.resident_mib())
    taken, weight = statistics.median(seconds), statistics.median(each[1] for each in sizes)
    parent = statistics.median(each[0] for each in sizes)
    return [
        Row("start to ready, seconds", f"{taken:.2f}", "1.5", taken <= 1.5, "0.8"),
        Row("idle worker, MiB", f"{weight:.1f}", "70", weight <= 70, "50"),
        Row("parent, MiB", f"{parent:.1f}"),
    ]


def slow_disk(repeats: int, folder: Path, authority: Authority) -> list[Row]:
    """Add 5 ms to each sync, pause the route, and count messages a second."""
    rates, failed = [], 0
    environment = {"LD_PRELOAD": str(BUILD / "slowsync.so"), "SLOWSYNC_MS": "5"}
    for repeat in range(repeats):
        with gatepost(_folder(folder, repeat), authority, workers=2, environment=environment) as subject:
            _pause(subject)
            said = load_with(subject, "--conns 128 --sessions 256 --msgs 100")
            rates.append(said["msgs_per_s"])
            failed += said["sessions_failed"]
            error = "; ".join(said["errors"][:1])
            print(f"{repeat + 1}/{repeats} (sync) {said['msgs_per_s']:9.0f}/s {error}", flush=True)
    rate = statistics.median(rates)
    met = rate >= 4000 and not failed
    return [
        Row(
            "5 ms more a sync, (c) with 128 connections, route paused, two workers, messages a second",
            f"{rate:.0f}",
            "4000",
            met,
            "6000",
        )
    ]


def _pause(subject: Subject) -> None:
    assert subject.server is not None
    subject.server.run("route", "pause", "sink")


def signing(repeats: int, folder: Path, authority: Authority) -> list[Row]:
    """Give one server no key, that of another domain, and then RSA-2048 and Ed25519 for the domain of its mail."""
    load = "--conns 10 --sessions 20 --msgs 100"
    signed, passed = [], []
    for repeat in range(repeats):
        with gatepost(_folder(folder, repeat), authority) as subject:
            send(subject, _WARM_UP)
            costs = [measure(subject, load).cpu_ms]
            for domain in ("elsewhere.example", LOGIN.rpartition("@")[2]):
                assert subject.server is not None
                subject.server.run("dkim", "add", domain)
                costs.append(measure(subject, load).cpu_ms)
        passed.append(costs[1] - costs[0])
        signed.append(costs[2] - costs[1])
    most = statistics.median(signed)
    return [
        Row("(c) DKIM with RSA-2048 and Ed25519, CPU ms a message more", f"{most:.3f}", "1", most <= 1, "0.4"),
        Row("(c) keys of another domain, CPU ms a message more", f"{statistics.median(passed):.3f}"),
    ]


MORE: dict[str, Callable[[int, Path, Authority], list[Row]]] = {
    "apart": apart,
    "chosen": chosen_secret,
    "attack": attack,
    "pipelined": pipelined,
    "eight": eight,
    "idle": idle,
    "start": start,
    "sync": slow_disk,
    "million": million,
    "fair": fairness,
    "dkim": signing,
}
