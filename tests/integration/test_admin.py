"""The admin process of a real server: health and metrics while workers live, die and are reloaded."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import smtplib
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gatepost.observe.verify import verify
from servers import Authority, Gatepost, free_ports, wait_for

LOGIN = "tim@example.org"
MESSAGE = b"From: <tim@example.org>\r\nSubject: hello\r\n\r\nhello\r\n"
Samples = dict[tuple[str, tuple[str, ...]], float]


class Server(Gatepost):
    """A server with an admin process."""

    secret = ""
    admin_port = 0

    def ask(self, path: str) -> tuple[int, str]:
        """Ask the admin process."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=60)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def is_ready(self) -> bool:
        """Tell whether it says so."""
        with contextlib.suppress(OSError):
            return self.ask("/health/ready")[0] == 200
        return False

    def samples(self) -> Samples:
        """Read the metrics."""
        status, text = self.ask("/metrics")
        assert status == 200
        return {
            (sample.name, tuple(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def processes(self) -> dict[str, int]:
        """Return the processes that the parent has forked, by name."""
        assert self.process is not None
        pid = self.process.pid
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        return {Path(f"/proc/{each}/comm").read_text().strip(): int(each) for each in found}

    def client(self) -> smtplib.SMTP:
        """Log in."""
        client = smtplib.SMTP("localhost", self.starttls_port, timeout=60)
        client.starttls(context=self.authority.client_context())
        client.login(LOGIN, self.secret)
        return client

    def submit(self) -> None:
        """Send a message."""
        with self.client() as client:
            assert client.sendmail(LOGIN, ["bob@example.net"], MESSAGE) == {}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Server:
    """Return one that is not started."""
    folder = tmp_path_factory.mktemp("admin") / "server"
    port = free_ports(1)[0]
    server = Server(
        folder,
        authority,
        routes=f'[[route]]\nname = "sandbox"\ntransport = "sandbox"\npath = "{folder / "sandbox"}"\n',
        top="workers = 2",
        tables=f'[admin]\nlisten = "127.0.0.1:{port}"\n[observe]\naudit_file = "{folder / "audit.log"}"\n',
    )
    server.admin_port = port
    server.secret = server.add_account(LOGIN)
    return server


@pytest.fixture
def fresh(made: Server) -> Server:
    """Return it, as if it had never been started."""
    made.log.unlink(missing_ok=True)
    made.trouble.unlink(missing_ok=True)
    return made


@pytest.fixture
def server(fresh: Server) -> Iterator[Server]:
    """Return it, started."""
    made = fresh
    with made:
        wait_for("gatepost to be ready for its mail", made.is_ready)
        yield made
    assert made.trouble.read_text() == ""


def reach(what: str, condition: Callable[[], Any]) -> None:
    wait_for(what, lambda: bool(condition()))


def test_a_server_that_is_well_says_so(server: Server) -> None:
    assert server.ask("/health/live") == (200, '{"live":true}\n')
    assert server.ask("/health/ready") == (200, '{"ready":true,"workers":2}\n')
    assert server.ask("/")[0] == 404


def test_messages_are_counted_over_all_workers(server: Server) -> None:
    for _ in range(8):
        server.submit()
    with contextlib.suppress(smtplib.SMTPAuthenticationError), smtplib.SMTP("localhost", server.starttls_port) as bad:
        bad.starttls(context=server.authority.client_context())
        bad.login(LOGIN, "wrong")
    delivered = ("gatepost_queue_delivered_total", ("sandbox",))
    reach("all to be delivered", lambda: server.samples().get(delivered) == 8)
    found = server.samples()
    assert found["gatepost_session_messages_total", ("accepted", "2xx")] == 8
    assert found["gatepost_session_recipients_total", ()] == 8
    assert found["gatepost_session_accept_seconds_count", ()] == 8
    assert 0 < found["gatepost_session_accept_seconds_sum", ()] < 8
    assert found["gatepost_queue_delivery_seconds_count", ("sandbox",)] == 8
    logins: Counter[str] = Counter()
    for (name, labels), value in found.items():
        if name == "gatepost_session_logins_total":
            logins[labels[2]] += int(value)
    assert set(logins) == {"success", "failed"}
    assert logins["success"] == 8
    assert sum(value for (name, _), value in found.items() if name == "gatepost_session_tls_logins_total") == 8
    assert found["gatepost_queue_messages", ()] == 0
    assert found["gatepost_queue_route_open", ("sandbox",)] == 1
    assert found["gatepost_spool_free_bytes", ()] > found["gatepost_spool_reserve_bytes", ()]
    assert found["gatepost_tls_certificate_expiry_seconds", ()] > time.time()
    assert found["gatepost_observe_uncounted_total", ()] == 0
    assert "tim" not in server.ask("/metrics")[1], "no login stands in a label"


def test_open_sessions_show(server: Server) -> None:
    assert server.samples()["gatepost_session_open", ()] == 0
    clients = [server.client() for _ in range(5)]
    assert server.samples()["gatepost_session_open", ()] == 5
    for client in clients:
        client.quit()
    reach("the sessions to be gone", lambda: server.samples()["gatepost_session_open", ()] == 0)


def test_no_counter_falls_when_workers_are_killed(server: Server) -> None:
    accepted = ("gatepost_session_messages_total", ("accepted", "2xx"))
    for _ in range(4):
        server.submit()
    seen = [server.samples()[accepted]]
    for name in ("gatepost-0", "gatepost-1"):
        os.kill(server.processes()[name], signal.SIGKILL)
        seen.append(server.samples()[accepted])
        reach("the worker to be back", server.is_ready)
        server.submit()
        seen.append(server.samples()[accepted])
    assert seen == [4, 4, 5, 5, 6]
    assert server.samples()["gatepost_supervisor_lost_total", ()] == 2


def test_a_worker_that_does_not_answer_is_named(server: Server) -> None:
    worker = server.processes()["gatepost-1"]
    os.kill(worker, signal.SIGSTOP)
    try:
        status, text = server.ask("/health/ready")
        assert status == 503
        assert json.loads(text) == {"ready": False, "workers": {"1": "does not answer"}}
        assert server.ask("/health/live")[0] == 200
        found = server.samples()
        assert (found["gatepost_worker_up", ("0",)], found["gatepost_worker_up", ("1",)]) == (1, 0)
    finally:
        os.kill(worker, signal.SIGCONT)
    reach("the worker to answer", server.is_ready)


def test_an_admin_process_that_dies_comes_back_and_knows_what_was_counted(server: Server) -> None:
    server.submit()
    os.kill(server.processes()["gatepost-admin"], signal.SIGKILL)
    server.submit()
    reach("the admin process", server.is_ready)
    assert server.samples()["gatepost_session_messages_total", ("accepted", "2xx")] == 2


def generations(server: Server) -> list[float]:
    found = server.samples()
    return [found["gatepost_worker_generation", (number,)] for number in "01"]


def test_reloads_are_counted_and_show(server: Server) -> None:
    assert server.process is not None
    for generation in (2, 3):
        server.process.send_signal(signal.SIGHUP)
        wanted = [generation, generation]
        reach("both workers to reload", lambda: generations(server) == wanted)  # noqa: B023 - it ends in this turn
    assert server.samples()["gatepost_app_reloads_total", ("success",)] == 4
    assert not [line for line in server.lines() if line["event"] == "a process does not listen"]


def test_the_admin_process_ends_with_the_server(fresh: Server) -> None:
    with fresh:
        admin = fresh.processes()["gatepost-admin"]
        assert fresh.stop() == 0
    assert not Path(f"/proc/{admin}").exists()


def test_the_admin_process_ends_when_the_parent_is_killed(fresh: Server) -> None:
    with fresh:
        processes = fresh.processes()
        assert fresh.process is not None
        fresh.process.kill()
        reach("all to end", lambda: not any(Path(f"/proc/{each}").exists() for each in processes.values()))


def test_a_port_that_is_taken_is_said_at_the_start(fresh: Server) -> None:
    with socket.create_server(("127.0.0.1", fresh.admin_port)):
        fresh.trouble.unlink(missing_ok=True)
        with pytest.raises(RuntimeError, match="listener admin: cannot listen"):
            fresh.start()


def test_logins_and_mail_are_audited_before_the_client_hears_of_them(server: Server) -> None:
    trail = server.folder / "audit.log"

    def events(name: str) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in trail.read_bytes().splitlines()]
        return [line for line in found if line["event"] == name]

    before = len(events("login succeeded")), len(events("message accepted"))
    with server.client() as client:
        assert len(events("login succeeded")) == before[0] + 1
        client.sendmail(LOGIN, ["bob@example.net", "eve@example.net"], MESSAGE)
        assert len(events("message accepted")) == before[1] + 1
    accepted = events("message accepted")[-1]
    assert (accepted["login"], accepted["sender"]) == (LOGIN, LOGIN)
    assert accepted["recipients"] == ["bob@example.net", "eve@example.net"]
    reach("the delivery", lambda: [line for line in events("delivered") if line["message"] == accepted["message"]])
    failed = len(events("login failed"))
    with smtplib.SMTP("localhost", server.starttls_port) as bad:
        bad.starttls(context=server.authority.client_context())
        with pytest.raises(smtplib.SMTPAuthenticationError):
            bad.login(LOGIN, "wrong")
        assert len(events("login failed")) > failed
    assert server.secret not in trail.read_text()
    os.kill(server.processes()["gatepost-1"], signal.SIGKILL)
    reach("the worker to be back", server.is_ready)
    assert server.process is not None
    server.process.send_signal(signal.SIGHUP)
    reach("the reload to be audited", lambda: len(events("config reloaded")) >= 2)
    verdict = verify([("audit", trail.read_bytes().splitlines(keepends=True))])
    assert verdict.first is None
    assert verdict.chains >= 3
    assert server_verify(trail).startswith("whole      yes\n")


def server_verify(trail: Path) -> str:
    """Run the verb on *trail*."""
    done = subprocess.run(
        [sys.executable, "-m", "gatepost", "audit", "verify", str(trail)], capture_output=True, text=True, check=True
    )
    return done.stdout
