"""Kill a server again and again while mail goes through it, and see that no 250 was a lie (`make crash`).

Eight senders whose messages have one recipient or two, on two routes; a next hop that goes up and down; somebody who
holds, releases, retries and redirects all that waits; and SIGKILL at random moments: of the whole tree, of the parent
alone, of one worker alone.  In the end every message that got its 250 has arrived, for each recipient; one that arrived
twice was in flight when something died.  All chance comes from the seed.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gatepost.spool.layout import folders
from gatepost.spool.reader import open_reader
from gatepost.spool.spool import Entry

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from servers import Authority, Gatepost, accepts, free_ports, wait_for  # noqa: E402 - tests/ is no package

LOGIN = "tim@example.org"
KINDS = ("tree", "parent", "worker", "worker")
# What an operator does meanwhile, to all that waits.  Either route takes everything: no redirect loses anything.
VERBS = (
    ("hold", "--all"),
    ("release", "--all-held"),
    ("retry", "--all"),
    ("redirect", "--all", "--to-route", "com"),
    ("redirect", "--state", "deferred", "--to-route", "net"),
)


@dataclass
class Report:
    """What came of it.

    Attributes:
        accepted: marks of messages that got their 250, each with a recipient: ``mark/recipient``.
        arrivals: when each of them arrived, in order.
        names: the id and recipient under which each was kept.
        settled: when the log says that one, by id and recipient, was delivered, and that was written down.
        deaths: when something was killed (after the first time; before the second all that it had sent was noted by
            the sink), and what.
        downs: when the next hop went down, and took replies along.
        held: messages that were put on hold because they were in flight at several crashes.
        changed: how often a verb changed something.
    """

    accepted: set[str] = field(default_factory=set)
    arrivals: dict[str, list[float]] = field(default_factory=dict)
    names: dict[str, tuple[str, str]] = field(default_factory=dict)
    settled: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    deaths: list[tuple[float, float, str]] = field(default_factory=list)
    downs: list[float] = field(default_factory=list)
    held: int = 0
    changed: int = 0

    @property
    def lost(self) -> list[str]:
        """Messages that got their 250 and never arrived."""
        return sorted(self.accepted - self.arrivals.keys())

    @property
    def twice(self) -> dict[str, list[float]]:
        """Messages that arrived more than once."""
        return {mark: times for mark, times in self.arrivals.items() if len(times) > 1}

    @property
    def twice_without_need(self) -> list[str]:
        """Those of them that came again though it was written down that they had arrived, or though nothing died."""
        ends = [(began, ended) for began, ended, _ in self.deaths] + [(down, down) for down in self.downs]
        return sorted(
            mark
            for mark, times in self.twice.items()
            if any(settled < times[-1] for settled in self.settled.get(self.names[mark], ()))
            or not all(
                any(began <= again and ended >= once for began, ended in ends)
                for once, again in itertools.pairwise(times)
            )
        )

    def __str__(self) -> str:
        kinds = Counter(kind for _, _, kind in self.deaths)
        return (
            f"{len(self.deaths)} kills ({', '.join(f'{number} {kind}' for kind, number in sorted(kinds.items()))}); "
            f"{len(self.accepted)} messages got their 250, {len(self.arrivals)} arrived, {len(self.lost)} lost; "
            f"{len(self.twice)} arrived twice, {len(self.twice_without_need)} of them without need; "
            f"{self.held} were held at the end and released; {self.changed} verbs changed something meanwhile"
        )


class Crash:
    """One run.

    Args:
        folder: for everything.
        seed: of all chance.
        senders: how many.
        workers: of the server.
    """

    def __init__(self, folder: Path, seed: int, senders: int = 8, workers: int = 2) -> None:
        self.chance = random.Random(seed)
        self.report = Report()
        self.folder = folder
        self.authority = Authority(folder / "certificates")
        (self.sink_port,) = free_ports(1)
        self.server = Gatepost(
            folder / "server",
            self.authority,
            top=f"workers = {workers}",
            routes="".join(
                [
                    f"""\
[[route]]
name = "{name}"
transport = "smarthost"
host = "127.0.0.1"
port = {self.sink_port}
tls = "none"
{match}
"""
                    for name, match in (("com", 'match = { recipient_domains = ["example.com"] }'), ("net", ""))
                ]
            ),
            tables="""\
[queue]
retry = ["1s"]

[limits]
connections_per_minute = 0
recipients_per_day = 0
messages_per_minute = 0
""",
        )
        self.secret = self.server.add_account(LOGIN)
        self.senders = senders
        self.verb: subprocess.Popen[bytes] | None = None

    def run(self, kills: int, pause: float, messages: int = 0) -> Report:
        """Kill so often, *pause* seconds apart on average, and until so many messages were accepted."""
        with contextlib.ExitStack() as stack:
            sink = stack.enter_context(self._process("sink", HERE / "sink.py", self.sink_port))
            wait_for("the sink", lambda: accepts(self.sink_port))
            self.server.start()
            stack.callback(self._kill_tree)
            stack.callback(self._end_verb)
            with contextlib.ExitStack() as senders:
                for number in range(self.senders):
                    name, seed = f"s{number}", self.chance.randrange(1 << 30)
                    words = [self.server.starttls_port, self.authority.ca, LOGIN, self.secret, name, seed]
                    senders.enter_context(self._process(name, HERE / "sender.py", *words))
                is_up = True
                while len(self.report.deaths) < kills or self._accepted() < messages:
                    self._begin_verb()
                    time.sleep(self.chance.uniform(0.2, 2 * pause - 0.2))
                    if self.chance.random() < 0.4:
                        is_up = not is_up
                        sink.send_signal(signal.SIGUSR2 if is_up else signal.SIGUSR1)
                    if len(self.report.deaths) < kills:
                        self._kill(self.chance.choice(KINDS))
                        print(
                            f"\r{len(self.report.deaths)}/{kills} kills, {self._accepted()} messages",
                            end="",
                            flush=True,
                        )
            sink.send_signal(signal.SIGUSR2)
            self._end_verb()
            self._wait_until_empty()
            self._read()
        print()
        return self.report

    @contextlib.contextmanager
    def _process(self, name: str, script: Path, *words: object) -> Iterator[subprocess.Popen[bytes]]:
        with (self.folder / f"{name}.out").open("wb") as out, (self.folder / f"{name}.err").open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, script, *map(str, words)], stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def _children(self) -> list[int]:
        assert self.server.process is not None
        pid = self.server.process.pid
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def _kill(self, kind: str) -> None:
        assert self.server.process is not None
        if kind == "worker":
            workers = self._children()
            if workers:
                began = time.time()
                worker = self.chance.choice(workers)
                os.kill(worker, signal.SIGKILL)
                wait_for("the worker to be gone", lambda: worker not in self._children())
                self._wait_for_sink()
                self.report.deaths.append((began, time.time(), kind))
            return
        began = time.time()
        if kind == "tree":
            self._kill_tree()
        else:
            self.server.process.kill()
        self.server.process.wait()
        self._wait_for_sink()
        self.report.deaths.append((began, time.time(), kind))
        self._end_verb()
        # The log is read for "ready", and must be that of the new one.
        self.server.log.rename(self.server.log.with_name(f"serve-{len(self.report.deaths)}.log"))
        self.server.start()

    def _begin_verb(self) -> None:
        """Let somebody change what waits, unless the verb before is still at work."""
        if self.verb is not None and self.verb.poll() is None:
            return
        self._end_verb()
        words = [sys.executable, "-m", "gatepost", "queue", *self.chance.choice(VERBS), "--config", self.server.config]
        self.verb = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def _end_verb(self) -> None:
        """Wait for the verb under way: without a server it would keep the next one from starting."""
        if self.verb is not None:
            self.report.changed += self.verb.wait(60) == 0
            self.verb = None

    def _kill_tree(self) -> None:
        process = self.server.process
        if process is not None and process.poll() is None:
            children = self._children()
            for each in (process.pid, *children):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)
            process.wait()

    def _wait_for_sink(self) -> None:
        """Wait until the sink has noted what the dead had sent: it lies in the sockets of a busy sink for a while."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.sink_port), 60) as client:
            lines = client.makefile("rb")
            for _ in range(3):  # each is one more turn of its loop
                lines.readline()
                client.sendall(b"NOOP\r\n")

    def _accepted(self) -> int:
        return sum(path.read_bytes().count(b"\n") for path in self.folder.glob("s[0-9]*.out"))

    def _queued(self) -> list[Entry]:
        found: list[Entry] = []
        for folder in folders(self.server.folder / "state/spool"):
            with open_reader(folder) as reader:
                found += reader.list(limit=100_000)
        return found

    def _wait_until_empty(self) -> None:
        # On a slow machine a message may have met the next hop away twice; its third try is minutes later.
        retry_at = time.monotonic() + 60

        def is_empty() -> bool:
            nonlocal retry_at
            waiting = self._queued()
            if waiting and time.monotonic() > retry_at:
                retry_at = time.monotonic() + 60
                self.server.run("queue", "retry", "--all")
            held = [entry.id for entry in waiting if entry.is_held]
            if held:
                self.report.held += len(held)
                self.server.run("queue", "release", *held)
            return not waiting

        wait_for("the queue to be empty", is_empty, seconds=300)

    def _read(self) -> None:
        for path in self.folder.glob("s[0-9]*.out"):
            self.report.accepted.update(path.read_text().split())
        for line in (self.folder / "sink.out").read_text().splitlines():
            moment, *message = line.split()
            if not message:
                self.report.downs.append(float(moment))
                continue
            mark, name, recipient = message
            self.report.names[f"{mark}/{recipient}"] = name, recipient
            self.report.arrivals.setdefault(f"{mark}/{recipient}", []).append(float(moment))
        for path in self.server.folder.glob("serve*.log"):
            for line in path.read_bytes().splitlines():
                # The end of a line may be missing where somebody was killed.
                if b'"event":"delivered"' in line and line.endswith(b"}"):
                    told = json.loads(line)
                    moment = dt.datetime.fromisoformat(told["time"]).timestamp()
                    self.report.settled.setdefault((told["message"], told["recipient"]), []).append(moment)
        trouble = (self.folder / "sink.err").read_text()
        if trouble:
            raise RuntimeError(f"the sink: {trouble}")


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--messages", type=int, default=0, help="go on until so many got their 250")
    parser.add_argument("--pause", type=float, default=2.0, help="seconds between kills, on average")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    print(f"seed {options.seed}")
    with tempfile.TemporaryDirectory(prefix="gatepost-crash-", ignore_cleanup_errors=True) as folder:
        report = Crash(Path(folder), options.seed, workers=options.workers).run(
            options.kills, options.pause, options.messages
        )
    print(report)
    return 1 if report.lost or report.twice_without_need else 0


if __name__ == "__main__":
    sys.exit(main())
