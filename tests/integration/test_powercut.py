"""The power fails: what got its 250 was synced before, file and name, and is there when the server starts again.

The server runs under a library that keeps a second tree with only what was synced (``tests/powercut.c``).  It is killed
in the midst of traffic, and started on that tree.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import smtplib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailer import LOGIN, SECRET, message
from next_hop_thread import ThreadedNextHop
from preload import built
from servers import Authority, Gatepost, wait_for

SENDERS = 4
SIZES = (200, 2_000, 4_000, 4_000, 20_000, 150_000, 150_000)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("powercut", tmp_path_factory.mktemp("powercut"))


@pytest.fixture
def hop() -> Iterator[ThreadedNextHop]:
    with ThreadedNextHop() as hop:
        yield hop


class Sender:
    """Sends message after message in its own thread, until the server is away; notes each 250."""

    def __init__(self, server: Gatepost, name: str, seed: int) -> None:
        self.accepted: list[str] = []
        self.large = 0  # so many of them have a file of their own
        self._server = server
        self._name = name
        self._chance = random.Random(seed)
        self._thread = threading.Thread(target=self._run, name=name)
        self._thread.start()

    def _run(self) -> None:
        context = self._server.authority.client_context()
        with (
            contextlib.suppress(OSError, smtplib.SMTPServerDisconnected),
            smtplib.SMTP_SSL("localhost", self._server.implicit_port, context=context, timeout=300) as client,
        ):
            client.login(LOGIN, SECRET)
            while True:
                mark, size = f"{self._name}-{len(self.accepted)}", self._chance.choice(SIZES)
                client.sendmail(LOGIN, ["ann@example.net"], message(mark, size))
                self.accepted.append(mark)
                self.large += size == max(SIZES)

    def join(self) -> None:
        self._thread.join(300)
        assert not self._thread.is_alive()


def make_server(folder: Path, authority: Authority, hop: ThreadedNextHop) -> Gatepost:
    return Gatepost(
        folder,
        authority,
        f'[[route]]\nname = "hop"\ntransport = "smarthost"\nhost = "127.0.0.1"\nport = {hop.port}\ntls = "none"\n',
        top="workers = 2",
        tables="""
[queue]
retry = ["1s"]

[limits]
connections_per_minute = 0
recipients_per_day = 0
messages_per_minute = 0
""",
    )


def cut(server: Gatepost) -> None:
    """Kill everything, the parent first: it would put others in the place of its workers."""
    assert server.process is not None
    pid = server.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for each in (pid, *map(int, children)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
    server.process.wait()


class PowerCut:
    """One run: traffic, the cut, and a server on what is left.

    Attributes:
        accepted: what got its 250.
        before: how much of it had been delivered by then.
        lost: what never arrived.
        twice: what arrived twice.
    """

    def __init__(
        self, folder: Path, authority: Authority, hop: ThreadedNextHop, library: Path, seed: int, less_durable: str = ""
    ) -> None:
        chance = random.Random(seed)
        first, second = (make_server(folder / name, authority, hop) for name in ("first", "second"))
        first.add_account(LOGIN, secret=SECRET)
        # What was there before the server began is on the disk.
        shutil.copytree(first.folder / "state", second.folder / "state")
        first.environment.update(
            LD_PRELOAD=str(library),
            POWERCUT_ROOT=str(first.folder / "state"),
            POWERCUT_SHADOW=str(second.folder / "state"),
        )
        if less_durable:
            first.environment.update(PYTHONPATH=less_durable_path(), LESS_DURABLE=less_durable)
        first.start()
        try:
            senders = [Sender(first, f"s{number}", chance.randrange(1 << 30)) for number in range(SENDERS)]
            wait_for("the first deliveries", lambda: len(hop.marks) > 10)
            for _ in range(chance.randint(0, 2)):
                hop.defer()
                time.sleep(chance.uniform(0.1, 0.3))
                hop.take()
                time.sleep(chance.uniform(0.1, 0.3))
            # At the end some large ones wait, too.
            hop.defer()
            before = sum(sender.large for sender in senders)
            wait_for("large ones that wait", lambda: sum(sender.large for sender in senders) >= before + 2)
            time.sleep(chance.uniform(0.0, 0.3))
        finally:
            cut(first)
        for sender in senders:
            sender.join()
        self.accepted = {mark for sender in senders for mark in sender.accepted}
        self.before = len(hop.marks)
        hop.take()
        with second:
            wait_for("the end of all deliveries", lambda: is_at_rest(second))
        self.lost = self.accepted - hop.marks.keys()
        self.twice = {mark for mark, count in hop.marks.items() if count > 1}
        print(
            f"seed {seed}, {less_durable or 'as it is'}: {len(self.accepted)} messages got their 250, {self.before} had"
            f" been delivered; {len(self.lost)} lost, {len(self.twice)} arrived twice"
        )


def less_durable_path() -> str:
    here = Path(__file__).parent.parent / "less_durable"
    return os.pathsep.join(filter(None, (str(here), os.environ.get("PYTHONPATH", ""))))


def is_at_rest(server: Gatepost) -> bool:
    return bool(json.loads(server.run("queue", "list", "--not-held", "--json", "--limit", "1")) == [])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_message_that_got_its_250_outlives_a_power_cut(
    tmp_path: Path, authority: Authority, hop: ThreadedNextHop, library: Path, seed: int
) -> None:
    run = PowerCut(tmp_path, authority, hop, library, seed)
    assert len(run.accepted) > 20
    assert run.lost == set()
    # The cut was in the midst of work: some had been delivered, some had not.
    assert 0 < run.before < len(run.accepted)


@pytest.mark.parametrize("less_durable", ["normal", "folder"])
def test_the_test_would_notice_a_spool_that_syncs_less(
    tmp_path: Path, authority: Authority, hop: ThreadedNextHop, library: Path, less_durable: str
) -> None:
    run = PowerCut(tmp_path, authority, hop, library, 1, less_durable)
    assert len(run.accepted) > 20
    assert len(run.lost) > 0
