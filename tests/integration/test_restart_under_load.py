"""Mail goes through while the server reloads each second, and while one server takes over from another.

The load comes from other processes (`crash/sender.py` has its own; here every session must come to its end), and the
next hop counts.  Both run for some seconds here; RELOAD_SECONDS and RESTART_SECONDS make them longer.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from servers import Authority, Gatepost, accepts, free_ports, wait_for

LOGIN = "tim@example.org"
ROOT = Path(__file__).parent.parent
CLIENT = Path(__file__).with_name("session_load.py")
LIMITS = """\
[limits]
connections_per_address = 1000
connections_per_minute = 1000000
recipients_per_day = 1000000
messages_per_minute = 1000000
"""


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Run a next hop; give its port and the file in which it notes what it took."""
    (port,) = free_ports(1)
    notes = tmp_path / "sink.out"
    with notes.open("wb") as out, (tmp_path / "sink.err").open("wb") as err:
        process = subprocess.Popen([sys.executable, ROOT / "crash/sink.py", str(port)], stdout=out, stderr=err)
    try:
        wait_for("the sink", lambda: accepts(port))
        yield port, notes
    finally:
        process.kill()
        process.wait()


def make(folder: Path, authority: Authority, port: int, workers: int = 2) -> tuple[Gatepost, str]:
    route = f'[[route]]\nname = "sink"\ntransport = "smarthost"\nhost = "127.0.0.1"\nport = {port}\ntls = "none"\n'
    server = Gatepost(folder, authority, routes=route, tables=LIMITS, top=f"workers = {workers}")
    return server, server.add_account(LOGIN)


class Load:
    """Sessions of one message each, one after the other, in some processes."""

    def __init__(self, folder: Path, server: Gatepost, secret: str, authority: Authority, clients: int = 4) -> None:
        words = [server.starttls_port, server.implicit_port, authority.ca, LOGIN, secret]
        self.outputs = [folder / f"load-{number}.out" for number in range(clients)]
        self.processes = []
        for number, path in enumerate(self.outputs):
            with path.open("wb") as out:
                self.processes.append(
                    subprocess.Popen(
                        [sys.executable, CLIENT, *map(str, words), f"c{number}"],
                        stdin=subprocess.DEVNULL,
                        stdout=out,
                        stderr=subprocess.STDOUT,
                    )
                )

    def go_on(self, seconds: float, messages: int = 20) -> None:
        """Let it go on for so long, and until so many messages more got their 250."""
        before = self._count()
        time.sleep(seconds)
        wait_for("mail to go on", lambda: self._count() >= before + messages)

    def _count(self) -> int:
        return sum(path.read_text().count('"mark"') for path in self.outputs)

    def finish(self) -> tuple[set[str], list[dict[str, Any]], int]:
        """End it; return what was accepted, what went wrong, and how many TLS sessions were resumed."""
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait(90)
        lines = [json.loads(line) for path in self.outputs for line in path.read_text().splitlines()]
        accepted = {line["mark"] for line in lines if "mark" in line}
        return accepted, [line for line in lines if "trouble" in line], sum(line.get("resumed", 0) for line in lines)


def arrived(notes: Path) -> list[str]:
    return [line.split()[1] for line in notes.read_text().splitlines()]


@pytest.mark.timeout(300)
def test_reloads_each_second_fail_no_session_and_tickets_hold(tmp_path: Path, sink: tuple[int, Path]) -> None:
    port, notes = sink
    authority = Authority(tmp_path / "certificates")
    server, secret = make(tmp_path / "server", authority, port)
    good = authority.certificate.read_bytes(), authority.key.read_bytes()
    seconds = int(os.environ.get("RELOAD_SECONDS", "12"))

    def told(event: str) -> int:
        return [line["event"] for line in server.lines()].count(event)

    with server:
        load = Load(tmp_path, server, secret, authority)
        try:
            load.go_on(1)
            assert server.process is not None
            for number in range(seconds):
                is_bad = number % 10 == 4
                event, times = ("reload refused", 1) if is_bad else ("config reloaded", 2)
                before = told(event)
                authority.key.write_bytes(good[1][:100] if is_bad else good[1])
                server.process.send_signal(signal.SIGHUP)
                load.go_on(1)
                wait_for("the reload", lambda: told(event) >= before + times)  # noqa: B023 - it ends in this turn
                authority.key.write_bytes(good[1])
            load.go_on(1)
        finally:
            accepted, troubles, resumed = load.finish()
        wait_for("all to arrive", lambda: accepted <= set(arrived(notes)))
        refused, reloaded = told("reload refused"), told("config reloaded")
    assert troubles == []
    assert len(accepted) >= 20 * seconds
    assert len(arrived(notes)) == len(set(arrived(notes))) == len(accepted)
    assert resumed > len(accepted) // 2
    assert refused == len([number for number in range(seconds) if number % 10 == 4])
    assert reloaded == 2 * (seconds - refused)


@pytest.mark.timeout(300)
def test_one_server_takes_over_from_another_and_nobody_is_refused(tmp_path: Path, sink: tuple[int, Path]) -> None:
    """As systemd does it: the sockets stay open, the next server waits for the lock of the one before."""
    port, notes = sink
    authority = Authority(tmp_path / "certificates")
    server, secret = make(tmp_path / "server", authority, port)
    sockets = []
    for number in (server.starttls_port, server.implicit_port):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", number))
        sock.listen(1024)
        sockets.append(sock)

    def start(number: int) -> tuple[subprocess.Popen[bytes], Path]:
        log = tmp_path / f"serve-{number}.log"

        # Descriptors 3 and 4, as a service manager hands them over.
        script = (
            "import fcntl, os, sys; copies = [fcntl.fcntl(int(each), fcntl.F_DUPFD, 10) for each in sys.argv[2:]]; "
            "[os.dup2(copy, 3 + place) for place, copy in enumerate(copies)]; "
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='2', LISTEN_FDNAMES='submission:submissions'); "
            "os.execv(sys.executable, [sys.executable, '-m', 'gatepost', 'serve', '--config', sys.argv[1]])"
        )
        handed = [sock.fileno() for sock in sockets]
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-c", script, str(server.config), *map(str, handed)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                pass_fds=handed,
            )
        servers.append(process)
        return process, log

    def is_ready(process: subprocess.Popen[bytes], log: Path) -> None:
        wait_for("a start", lambda: '"event":"ready"' in log.read_text() or process.poll() is not None, seconds=90)
        assert process.poll() is None, log.read_text()[-4000:]

    seconds = int(os.environ.get("RESTART_SECONDS", "12"))
    servers: list[subprocess.Popen[bytes]] = []
    load = None
    try:
        process, log = start(0)
        is_ready(process, log)
        load = Load(tmp_path, server, secret, authority)
        load.go_on(1)
        restarts = 0
        end = time.monotonic() + seconds
        while time.monotonic() < end or restarts < 3:
            restarts += 1
            after, log = start(restarts)
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            assert process.wait(90) == 0
            process = after
            is_ready(process, log)
            load.go_on(1.5)
        accepted, troubles, _ = load.finish()
        load = None
        wait_for("all to arrive", lambda: accepted <= set(arrived(notes)))
    finally:
        if load is not None:
            load.finish()
        for each in servers:
            each.send_signal(signal.SIGTERM)
            each.wait(90)
        for sock in sockets:
            sock.close()
    assert troubles == []
    assert len(accepted) >= 20 * restarts
    assert len(arrived(notes)) == len(set(arrived(notes))) == len(accepted)
    shutil.rmtree(server.folder)
