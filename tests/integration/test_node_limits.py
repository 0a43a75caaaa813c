"""What holds over all workers of a node: connections, quotas, and the end of sessions whose login was revoked."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest

from servers import Authority, Gatepost, wait_for
from stopwatch import Stopwatch

LOGIN = "tim@example.org"
MESSAGE = b"From: <tim@example.org>\r\nSubject: hello\r\n\r\nhello\r\n"
LIMITS = """
[limits]
connections_per_address = 8
recipients_per_day = 40
messages_per_minute = 0
"""


class Server(Gatepost):
    """Two workers, of which a test says who accepts."""

    secret = ""

    @property
    def workers(self) -> list[int]:
        """Process ids of the workers."""
        assert self.process is not None
        pid = self.process.pid
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    @contextlib.contextmanager
    def only(self, worker: int) -> Iterator[None]:
        """Let only *worker* do anything."""
        others = [each for each in self.workers if each != worker]
        for each in others:
            os.kill(each, signal.SIGSTOP)
        try:
            yield
        finally:
            for each in others:
                os.kill(each, signal.SIGCONT)

    def connect(self, login: bool = True) -> smtplib.SMTP:
        """Connect, and log in."""
        client = smtplib.SMTP("localhost", self.starttls_port, timeout=60)
        try:
            client.starttls(context=self.authority.client_context())
            if login:
                client.login(LOGIN, self.secret)
        except smtplib.SMTPException:
            client.close()
            raise
        return client

    def told(self, event: str) -> list[dict[str, object]]:
        """Return the lines of the log about *event*."""
        return [line for line in self.lines() if line["event"] == event]


@pytest.fixture
def server(tmp_path: Path, authority: Authority) -> Iterator[Server]:
    routes = f'[[route]]\nname = "sandbox"\ntransport = "sandbox"\npath = "{tmp_path / "sandbox"}"\n'
    made = Server(tmp_path / "server", authority, routes=routes, top="workers = 2", tables=LIMITS)
    made.secret = made.add_account(LOGIN)
    with made:
        yield made
    assert made.trouble.read_text() == ""


def send(client: smtplib.SMTP, recipients: int) -> int:
    """Send a message to so many; return to how many it went."""
    client.mail(LOGIN)
    taken = sum(client.rcpt(f"bob{number}@example.net")[0] == 250 for number in range(recipients))
    if not taken:
        client.rset()
        return 0
    code, _ = client.data(MESSAGE)
    return taken if code == 250 else 0


def test_a_revoked_credential_ends_its_sessions_on_all_workers(server: Server) -> None:
    [credential] = json.loads(server.run("credential", "list", "--json"))
    clients = []
    for worker in server.workers:
        with server.only(worker):
            clients += [server.connect(), server.connect()]
    in_data = clients[-1]
    in_data.mail(LOGIN)
    in_data.rcpt("bob@example.net")
    assert in_data.docmd("DATA")[0] == 354
    in_data.sock.sendall(MESSAGE)
    server.run("credential", "revoke", credential["id"])
    with Stopwatch() as watch:
        for client in clients:
            code, text = client.getreply()
            assert (code, text.split(b"[")[0]) == (421, b"4.7.0 This login is no longer valid ")
            with pytest.raises(smtplib.SMTPServerDisconnected):
                client.getreply()
        assert watch.seconds < 5.0
    wait_for("the log", lambda: len(server.told("session revoked")) == 4)
    assert {line["reason"] for line in server.told("session revoked")} == {"credential revoked"}
    assert not server.told("message accepted")
    with pytest.raises(smtplib.SMTPAuthenticationError):
        server.connect()


def test_a_disabled_account_is_out_at_once(server: Server) -> None:
    with contextlib.ExitStack() as stack:
        clients = []
        for worker in server.workers:
            with server.only(worker):
                clients.append(server.connect())
                stack.callback(clients[-1].close)
        server.run("account", "disable", LOGIN)
        with Stopwatch() as watch:
            for client in clients:
                assert client.getreply()[0] == 421
            assert watch.seconds < 5.0


def test_connections_are_counted_over_all_workers(server: Server) -> None:
    with contextlib.ExitStack() as stack:
        clients = []
        for worker in server.workers:
            with server.only(worker):
                for _ in range(4):
                    clients.append(server.connect(login=False))
                    stack.callback(clients[-1].close)
        for worker in server.workers:
            with server.only(worker), pytest.raises(smtplib.SMTPConnectError) as refused:
                server.connect()
            assert refused.value.smtp_code == 421
            assert refused.value.smtp_error.startswith(b"4.7.0 ")

        def comes_in() -> bool:
            try:
                stack.callback(server.connect(login=False).close)
            except smtplib.SMTPConnectError:
                return False
            return True

        clients[0].quit()

        def comes_in_elsewhere() -> bool:
            with server.only(server.workers[1]):
                return comes_in()

        # The worker that it left hears of its end a moment after us, and not while it is stopped.
        wait_for("room", comes_in_elsewhere)
        assert not comes_in_elsewhere()
        # A worker that dies takes its connections along, and the one in its place begins with none.
        os.kill(server.workers[0], signal.SIGKILL)
        wait_for("another", lambda: len(server.told("worker started")) == 3)
        assert [comes_in() for _ in range(4)] == [True, True, True, False]


def test_a_quota_is_of_the_node_and_of_the_day(server: Server) -> None:
    sent = 0
    with contextlib.ExitStack() as stack:
        clients = []
        for worker in server.workers:
            with server.only(worker):
                clients.append(stack.enter_context(server.connect()))
        for number in range(12):
            sent += send(clients[number % 2], 4)
        assert sent == 40
    server.stop()
    server.log.unlink()
    with server, server.connect() as client:
        assert send(client, 1) == 0


def test_a_worker_killed_in_the_middle_lets_nobody_have_more(server: Server) -> None:
    first, second = server.workers
    with server.only(first):
        client = server.connect()
    sent = send(client, 5) + send(client, 5)
    assert sent == 10
    os.kill(first, signal.SIGKILL)
    client.close()
    wait_for("another", lambda: len(server.told("worker started")) == 3)
    with server.only(second), server.connect() as client:
        while taken := send(client, 7):
            sent += taken
    # It may have taken a recipient or two along: what it had set aside and not used.
    assert 40 - 2 <= sent <= 40
