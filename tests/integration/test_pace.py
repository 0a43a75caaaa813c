"""The pace of a route over processes: what two send together, what a killed one leaves, what a restart remembers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import smtplib
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from gatepost.state.pace import Pace, PaceLimits
from gatepost.state.pace_file import PACE_FILE, SLOT_BYTES, PaceFile
from servers import Authority, Gatepost, free_ports, wait_for

LOGIN = "tim@example.org"
MESSAGE = b"From: <tim@example.org>\r\nSubject: hello\r\n\r\nhello\r\n"

SENDER = """
import sys, time
from pathlib import Path
from gatepost.state.pace import Pace, PaceLimits
from gatepost.state.pace_file import PaceFile
file = PaceFile(Path(sys.argv[1])); file.open()
pace = Pace(file, PaceLimits("some", per_second=50))
print("ready", flush=True)
sys.stdin.readline()
end = time.time() + 1.5
while (now := time.time()) < end:
    wait = pace.take(1, now)
    if not wait:
        print(now)
    time.sleep(min(wait, 0.01))
"""

HOLDER = """
import sys
from pathlib import Path
from gatepost.state.pace_file import PaceFile
file = PaceFile(Path(sys.argv[1])); file.open()
slot = file.slot(b"some", 1.0)
assert file.lock(slot)
print(slot, flush=True)
sys.stdin.readline()
"""


def opened(path: Path) -> PaceFile:
    file = PaceFile(path)
    file.open()
    return file


@contextlib.contextmanager
def process(code: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as made:
        try:
            yield made
        finally:
            made.kill()


def test_two_processes_keep_to_one_limit_and_start_at_once(tmp_path: Path) -> None:
    path = tmp_path / PACE_FILE
    with process(SENDER, path) as one, process(SENDER, path) as two:
        for each in (one, two):
            assert each.stdout is not None
            assert each.stdout.readline() == "ready\n"
        outputs = []
        for each in (one, two):
            assert each.stdin is not None
            each.stdin.write("\n")
            each.stdin.flush()
        outputs = [each.communicate(timeout=60)[0] for each in (one, two)]
    times = sorted(float(line) for output in outputs for line in output.split())
    window: deque[float] = deque()
    for moment in times:
        window.append(moment)
        while window[0] <= moment - 1.0:
            window.popleft()
        assert len(window) <= 50
    assert times


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    file = opened(tmp_path / PACE_FILE)
    pace = Pace(file, PaceLimits("some", per_second=1000))
    with process(HOLDER, tmp_path / PACE_FILE) as holder:
        assert holder.stdout is not None
        slot = int(holder.stdout.readline())
        assert not file.lock(slot)
        assert 0 < pace.take(1, 2.0) < 0.1
        assert pace.slow_down(1.0, 2.0) > 0
        holder.kill()
        holder.wait(60)
        assert pace.take(1, 2.0) == 0
    file.close()


def test_a_day_and_a_slower_pace_are_known_after_a_restart(tmp_path: Path) -> None:
    limits, now = PaceLimits("some", per_second=10, messages_per_day=2), time.time()
    file = opened(tmp_path / PACE_FILE)
    pace = Pace(file, limits)
    assert pace.take(1, now) == 0
    assert pace.take(1, now + 1) == 0
    pace.slow_down(now + 1, now + 2)
    file.close()
    file = opened(tmp_path / PACE_FILE)
    pace = Pace(file, limits)
    assert pace.per_minute(now + 2) == pytest.approx(270, rel=0.01)
    assert pace.take(1, now + 10) > 60
    file.close()
    assert pace.take(1, now + 10) == 0  # closed: it counts by itself, and stops nothing


def test_a_damaged_or_foreign_file_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / PACE_FILE
    for octets in (b"", b"nonsense", b"gatepost-pace-01", bytes(10_000_000)):
        path.write_bytes(octets)
        file = opened(path)
        assert Pace(file, PaceLimits("some", messages_per_day=1)).take(1, 1e9) == 0
        assert path.stat().st_size == 257 * SLOT_BYTES
        assert path.stat().st_mode & 0o077 in (0, 0o044)
        file.close()


def test_without_the_file_a_process_counts_by_itself(tmp_path: Path) -> None:
    (tmp_path / PACE_FILE).mkdir()
    file = PaceFile(tmp_path / PACE_FILE)
    with pytest.raises(OSError, match="directory"):
        file.open()
    pace = Pace(file, PaceLimits("some", messages_per_day=1))
    assert pace.take(1, 1e9) == 0
    assert pace.take(1, 1e9) > 0
    file.close()


class Provider:
    """Takes ten messages a day with five recipients each; anything more is a violation."""

    def __init__(self) -> None:
        self.messages = 0
        self.violations: list[str] = []

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        if len(envelope.rcpt_tos) > 5:
            self.violations.append("too many recipients")
            return "550 5.5.3 too many recipients"
        if self.messages >= 10:
            self.violations.append("too many messages")
            return "450 4.7.1 too many messages"
        self.messages += 1
        return "250 2.0.0 taken"


class Server(Gatepost):
    """Two workers."""

    secret = ""

    @property
    def workers(self) -> list[int]:
        assert self.process is not None
        pid = self.process.pid
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def told(self, event: str) -> list[dict[str, object]]:
        return [line for line in self.lines() if line["event"] == event]

    def submit(self, recipients: int) -> None:
        with smtplib.SMTP("localhost", self.starttls_port, timeout=60) as client:
            client.starttls(context=self.authority.client_context())
            client.login(LOGIN, self.secret)
            client.sendmail(LOGIN, [f"a{number}@example.net" for number in range(recipients)], MESSAGE)


def test_two_workers_and_who_follows_a_killed_one_break_no_limit_of_a_day(tmp_path: Path, authority: Authority) -> None:
    provider = Provider()
    [port] = free_ports(1)
    controller = Controller(provider, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        routes = (
            '[[route]]\nname = "out"\ntransport = "smarthost"\nprovider = "mta"\n'
            f"port = {port}\nmessages_per_day = 10\nrecipients_per_message = 5\n"
        )
        server = Server(tmp_path / "server", authority, routes=routes, top="workers = 2")
        server.secret = server.add_account(LOGIN)
        with server:
            server.submit(20)  # four messages there
            for _ in range(4):
                server.submit(1)
            wait_for("24 recipients", lambda: len(server.told("delivered")) == 24)
            first, *_ = server.workers
            os.kill(first, signal.SIGKILL)
            wait_for("another worker", lambda: len(server.workers) == 2 and first not in server.workers)
            for _ in range(6):
                server.submit(1)
            wait_for("the day's last", lambda: len(server.told("delivered")) == 26)
            rows = json.loads(server.run("queue", "list", "--json"))
        assert len(rows) == 4
        assert provider.messages == 10
        assert provider.violations == []
        assert not server.told("deferred")
    finally:
        controller.stop()
