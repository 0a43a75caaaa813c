"""The parent and its workers, as processes: what dies comes back, what is told to end ends, and nothing is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import trustme

from gatepost.control.client import ask_all
from gatepost.control.protocol import socket_paths
from gatepost.spool.layout import folders
from gatepost.spool.reader import open_reader
from servers import Authority, Gatepost, wait_for
from stopwatch import Stopwatch

LOGIN = "tim@example.org"
MESSAGE = b"From: <tim@example.org>\r\nSubject: hello\r\n\r\nhello\r\n"


class Server(Gatepost):
    """A server whose processes can be looked at."""

    secret = ""

    @property
    def workers(self) -> list[int]:
        """Process ids of what the parent has forked."""
        assert self.process is not None
        pid = self.process.pid
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        return [int(each) for each in text.split()]

    def told(self, event: str) -> list[dict[str, Any]]:
        """Return the lines of the log about *event*."""
        return [line for line in self.lines() if line["event"] == event]

    def client(self) -> smtplib.SMTP:
        """Log in."""
        client = smtplib.SMTP("localhost", self.starttls_port, timeout=60)
        try:
            client.starttls(context=self.authority.client_context())
            client.login(LOGIN, self.secret)
        except BaseException:
            client.close()
            raise
        return client

    def submit(self) -> None:
        """Send a message."""
        with self.client() as client:
            assert client.sendmail(LOGIN, ["bob@example.net"], MESSAGE) == {}

    @property
    def kept(self) -> int:
        """How many messages were delivered."""
        return len(list((self.folder / "sandbox").glob("*.json")))

    @property
    def waiting(self) -> int:
        """How many messages are in its spools."""
        found = 0
        for folder in folders(self.folder / "state/spool"):
            with open_reader(folder) as reader:
                found += len(reader.list(limit=1000))
        return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Server:
    """Return one that is not started."""
    folder = tmp_path_factory.mktemp("supervisor")
    routes = f'[[route]]\nname = "sandbox"\ntransport = "sandbox"\npath = "{folder / "server" / "sandbox"}"\n'
    # A certificate of its own, to be spoilt.
    own = Authority(folder / "certificates")
    server = Server(folder / "server", own, routes=routes, top="workers = 2", tables="[queue]\nretry = ['1s']\n")
    server.secret = server.add_account(LOGIN)
    return server


@pytest.fixture
def server(made: Server) -> Iterator[Server]:
    """Return it, started."""
    made.log.unlink(missing_ok=True)
    made.trouble.unlink(missing_ok=True)
    with made:
        # The test before may have left a message, accepted while it stopped: nobody must count it as theirs.
        wait_for("what was left over to be delivered", lambda: not made.waiting)
        yield made
    assert made.trouble.read_text() == ""


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def is_stopping(server: Server) -> bool:
    """Tell whether every worker has heard that it should end; one that has ended does not answer."""
    answers = ask_all(socket_paths(server.folder / "state/run"), {"verb": "status"}, 60.0)
    return all(not isinstance(each, list) or each[0]["is_draining"] for each in answers.values())


def test_workers_share_the_ports_and_all_take_mail(server: Server) -> None:
    assert len(server.workers) == 2
    before = server.kept
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.client()) for _ in range(12)]
        for client in clients:
            client.sendmail(LOGIN, ["bob@example.net"], MESSAGE)
    wait_for("delivery", lambda: server.kept == before + 12)
    assert {path.name for path in (server.folder / "state/spool").iterdir()} == {"0", "1"}
    assert len(server.told("ready")) == 1
    assert len(server.told("worker started")) == 2


def test_a_worker_that_dies_is_missed_and_replaced_after_pauses_that_grow(server: Server) -> None:
    # Whoever is killed at once takes the line that says that it started along.
    wait_for("both to have started", lambda: len(server.told("worker started")) == 2)
    for deaths in (1, 2):
        [first, second] = server.workers
        os.kill(first, signal.SIGKILL)
        wait_for("another", lambda number=2 + deaths: len(server.told("worker started")) == number)
        assert second in server.workers
        server.submit()
    lost = server.told("worker lost")
    assert lost[0]["reason"] == f"{lost[0]['worker']} was ended by SIGKILL"
    assert sorted(each["pause"] for each in lost) in ([0.1, 0.1], [0.1, 1.0])
    assert server.process is not None
    assert server.process.poll() is None


def test_when_the_parent_dies_the_workers_finish_and_end_and_the_next_server_waits_for_them(server: Server) -> None:
    workers = server.workers
    client = server.client()
    client.mail(LOGIN)
    client.rcpt("bob@example.net")
    assert client.docmd("DATA")[0] == 354
    assert server.process is not None
    server.process.kill()
    server.process.wait()
    time.sleep(0.3)
    assert any(map(alive, workers))  # one has a message on its way
    before = server.kept
    client.sock.sendall(MESSAGE + b".\r\n")
    assert client.getreply()[0] == 250
    server.log.unlink()
    server.start()
    assert not any(map(alive, workers))
    wait_for("delivery", lambda: server.kept == before + 1)
    client.close()
    said = server.trouble.read_text()
    assert not said or "waiting for its end" in said
    server.trouble.write_text("")


def test_sigterm_lets_a_transaction_come_to_its_end_and_tells_others_421(server: Server) -> None:
    busy, idle = server.client(), server.client()
    busy.mail(LOGIN)
    busy.rcpt("bob@example.net")
    assert busy.docmd("DATA")[0] == 354
    assert server.process is not None
    server.process.send_signal(signal.SIGTERM)
    assert idle.getreply()[0] == 421
    with socket.create_connection(("127.0.0.1", server.starttls_port), timeout=60) as late:
        assert late.recv(1000).startswith(b"421 4.3.2 ")
    busy.sock.sendall(MESSAGE + b".\r\n")
    assert busy.getreply()[0] == 250
    with Stopwatch() as watch:
        assert server.process.wait(60) == 0
        assert watch.seconds < 5
    busy.close()
    idle.close()


def test_a_second_sigterm_ends_it_at_once_without_loss(server: Server) -> None:
    before = server.kept
    server.submit()
    busy = server.client()
    busy.mail(LOGIN)
    busy.rcpt("bob@example.net")
    assert busy.docmd("DATA")[0] == 354
    assert server.process is not None
    server.process.send_signal(signal.SIGTERM)
    # A second one before every worker took note of the first would be none to it.
    wait_for("all to stop", lambda: is_stopping(server))
    assert server.process.poll() is None
    with Stopwatch() as watch:
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        assert watch.seconds < 10  # the transaction would have had twenty
    busy.close()
    server.start()
    wait_for("delivery", lambda: server.kept == before + 1)


def test_a_second_server_on_the_same_state_hears_who_is_there(server: Server) -> None:
    again = Server(server.folder.parent / "second", server.authority, routes=server.routes)
    again.config.write_text(server.config.read_text())
    wrapper = "import gatepost.cli.serve as s, gatepost.cli.main as m; s._LOCK_PATIENCE = 0.2; m.main()"
    done = subprocess.run(
        [sys.executable, "-c", wrapper, "serve", "--config", str(again.config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert server.process is not None
    assert done.returncode == 1
    assert f"is in use by process {server.process.pid}; stop it first" in done.stderr
    assert "Traceback" not in done.stderr
    server.submit()


def test_fewer_workers_take_over_the_spools_of_those_that_are_no_more(server: Server) -> None:
    """Mail in the second spool is delivered though only one worker is left."""
    server.stop()
    config = server.config.read_text()
    routes = server.routes
    try:
        # Nothing goes out while it is taken in.
        server.config.write_text(
            config.replace(
                routes,
                routes.replace("sandbox", "smarthost", 2).replace(
                    'path = "', 'host = "127.0.0.1"\nport = 1\ntls = "none"\n# "'
                ),
            )
        )
        server.log.unlink()
        server.start()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(server.client()) for _ in range(12)]
            for client in clients:
                client.sendmail(LOGIN, ["bob@example.net"], MESSAGE)
        server.stop()
        before = server.kept
        server.config.write_text(config.replace("workers = 2", "workers = 1"))
        server.log.unlink()
        server.start()
        assert len(server.workers) == 1
        wait_for("delivery", lambda: server.kept == before + 12)
        server.submit()
    finally:
        server.stop()
        server.config.write_text(config)
        server.log.unlink()
        server.start()


def test_a_server_that_cannot_start_says_why_and_leaves_nobody(made: Server) -> None:
    spool = made.folder / "state/spool/1"
    (spool / "spool.db").rename(spool / "kept.db")
    for name in ("spool.db-wal", "spool.db-shm"):
        (spool / name).unlink(missing_ok=True)
    (spool / "spool.db").write_bytes(b"this is no database, and long enough to be looked at" * 100)
    try:
        made.log.unlink(missing_ok=True)
        with pytest.raises(RuntimeError, match="did not start"):
            made.start()
        text = made.trouble.read_text()
        assert "spool/1" in text
        assert "Traceback" not in text
        assert made.process is not None
        assert made.process.returncode == 1
    finally:
        (spool / "spool.db").unlink()
        (spool / "kept.db").rename(spool / "spool.db")
        made.trouble.unlink()


def test_a_reload_asked_for_while_the_configuration_is_read_comes_after_the_start(made: Server) -> None:
    config, pipe = made.config, made.folder / "gatepost.pipe"
    os.mkfifo(pipe, 0o600)
    made.config, made.process = pipe, None
    made.log.unlink(missing_ok=True)

    def opened() -> int | None:
        with contextlib.suppress(OSError):  # nobody reads yet
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        return None

    def feed() -> None:
        for is_first in (True, False):
            if not is_first:
                wait_for("the start", lambda: made.told("ready"))  # who read first has closed it by then
            with os.fdopen(wait_for("somebody to read the configuration", opened), "wb") as writer:
                if is_first:
                    assert made.process is not None
                    made.process.send_signal(signal.SIGHUP)
                writer.write(config.read_bytes())

    try:
        with ThreadPoolExecutor(1) as pool:
            fed = pool.submit(feed)
            with made:
                fed.result()
                wait_for("the reload", lambda: len(made.told("config reloaded")) == 2)
    finally:
        made.config = config
        pipe.unlink()


class TestReload:
    """SIGHUP."""

    def reload(self, server: Server, *, refused: bool = False) -> None:
        """Ask for it, and wait until it is done."""
        event = "reload refused" if refused else "config reloaded"
        before, number = len(server.told(event)), 1 if refused else 2
        assert server.process is not None
        server.process.send_signal(signal.SIGHUP)
        wait_for("the reload", lambda: len(server.told(event)) == before + number)

    @pytest.fixture(autouse=True)
    def _restored(self, made: Server) -> Iterator[None]:
        files = (made.config, made.authority.certificate, made.authority.key)
        before = [path.read_bytes() for path in files]
        yield
        for path, octets in zip(files, before, strict=True):
            path.write_bytes(octets)

    def test_asked_for_while_the_server_starts_it_comes_after_the_start(self, made: Server) -> None:
        made.process = None
        made.log.unlink(missing_ok=True)
        lock = made.folder / "state/lock"

        def ask() -> None:
            wait_for("a process", lambda: made.process is not None)
            assert made.process is not None
            pid = made.process.pid
            wait_for("its lock", lambda: lock.exists() and lock.read_text().strip() == str(pid))
            os.kill(pid, signal.SIGHUP)

        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ask)
            with made:
                asked.result()
                wait_for("the reload", lambda: len(made.told("config reloaded")) == 2)

    def test_limits_take_effect_for_new_sessions_and_open_ones_go_on(self, server: Server) -> None:
        with server.client() as old:
            server.config.write_text(server.config.read_text() + "\n[limits]\nmessage_bytes = 100000\n")
            self.reload(server)
            assert int(old.esmtp_features["size"]) == 26214400
            assert old.sendmail(LOGIN, ["bob@example.net"], MESSAGE + b"x" * 70 + b"\r\n") == {}
            for _ in range(6):  # both workers
                with server.client() as new:
                    new.ehlo()
                    assert int(new.esmtp_features["size"]) == 100000

    def test_a_new_certificate_is_shown_and_tickets_go_on_working_in_all_workers(self, server: Server) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

        def connect(session: ssl.SSLSession | None = None) -> tuple[ssl.SSLSession | None, bytes, bool]:
            with (
                socket.create_connection(("127.0.0.1", server.implicit_port), timeout=60) as raw,
                context.wrap_socket(raw, server_hostname="localhost", session=session) as tls,
            ):
                tls.recv(1000)
                shown = tls.getpeercert(binary_form=True)
                assert shown is not None
                return tls.session, shown, bool(tls.session_reused)

        ticket, before, _ = connect()
        own = Authority(server.folder / "new")
        server.authority.certificate.write_bytes(own.certificate.read_bytes())
        server.authority.key.write_bytes(own.key.read_bytes())
        self.reload(server)
        assert {connect()[1] for _ in range(8)} == {own_der(own)}
        assert before != own_der(own)
        assert all(connect(ticket)[2] for _ in range(8))
        # What dies now is forked anew with the new certificate, and knows the old tickets.
        os.kill(server.workers[0], signal.SIGKILL)
        wait_for("another", lambda: len(server.told("worker started")) == 3)
        assert {connect()[1] for _ in range(8)} == {own_der(own)}
        assert all(connect(ticket)[2] for _ in range(8))

    @pytest.mark.rfc("6066 §3")
    def test_another_certificate_is_shown_for_its_name_by_all_workers(self, server: Server) -> None:
        more = trustme.CA().issue_cert("mail.example.net")
        chain = server.folder / "more.pem"
        more.private_key_and_cert_chain_pem.write_to_path(str(chain))

        def names(name: str) -> set[str]:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            shown = set()
            for _ in range(8):
                with (
                    socket.create_connection(("127.0.0.1", server.implicit_port), timeout=60) as raw,
                    context.wrap_socket(raw, server_hostname=name) as tls,
                ):
                    der = tls.getpeercert(binary_form=True)
                    assert der is not None
                    shown.add("more" if ssl.DER_cert_to_PEM_cert(der) in chain.read_text() else "default")
            return shown

        assert names("mail.example.net") == {"default"}
        written = server.config.read_text()
        server.config.write_text(f'{written}\n[[tls.pairs]]\ncertificate = "{chain}"\n')
        self.reload(server)
        assert (names("mail.example.net"), names("localhost")) == ({"more"}, {"default"})
        hello, nothing = ssl.MemoryBIO(), ssl.MemoryBIO()
        with contextlib.suppress(ssl.SSLWantReadError):
            ssl.create_default_context().wrap_bio(nothing, hello, server_hostname="mail.example.net").do_handshake()
        before, silence = len(server.told("tls handshake failed")), server.trouble.read_bytes()
        with socket.create_connection(("127.0.0.1", server.implicit_port), timeout=60) as raw:
            raw.sendall(hello.read().replace(b"mail.example.net", b"m\xffil.example.net"))
            assert raw.recv(10)[:1] == b"\x15"  # an alert
        wait_for("the failure", lambda: len(server.told("tls handshake failed")) == before + 1)
        assert server.trouble.read_bytes() == silence
        chain.write_bytes(chain.read_bytes()[:300])
        self.reload(server, refused=True)
        assert "tls.pairs" in server.told("reload refused")[-1]["reason"]
        more.private_key_and_cert_chain_pem.write_to_path(str(chain))
        assert names("mail.example.net") == {"more"}
        # What is forked anew has it, too.
        os.kill(server.workers[0], signal.SIGKILL)
        wait_for("another", lambda: len(server.told("worker started")) == 3)
        assert (names("mail.example.net"), names("localhost")) == ({"more"}, {"default"})
        server.config.write_text(written)
        self.reload(server)
        assert names("mail.example.net") == {"default"}

    @pytest.mark.parametrize("what", ["config", "certificate", "key"])
    def test_what_cannot_be_used_is_refused_whole_and_the_old_goes_on(self, server: Server, what: str) -> None:
        config = server.config.read_text() + "\n[limits]\nmessage_bytes = 100000\n"
        if what == "config":
            server.config.write_text(config + "nonsense = 1\n")
        else:
            server.config.write_text(config)
            path = server.authority.certificate if what == "certificate" else server.authority.key
            path.write_bytes(path.read_bytes()[:200])
        self.reload(server, refused=True)
        assert server.told("reload refused")[-1]["reason"].startswith(f"{server.config}:")
        for _ in range(6):
            with server.client() as client:
                client.ehlo()
                assert int(client.esmtp_features["size"]) == 26214400
        os.kill(server.workers[0], signal.SIGKILL)
        wait_for("another", lambda: len(server.told("worker started")) == 3)
        server.submit()

    def test_a_new_store_is_made_and_one_that_cannot_be_used_refuses_the_reload(self, server: Server) -> None:
        text = server.config.read_text()
        new = server.folder / "new.db"
        server.config.write_text(f'{text}\n[[store]]\ntype = "sqlite"\npath = "{new}"\n')
        self.reload(server)
        assert new.exists()
        with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
            server.client()
        assert caught.value.smtp_code == 535
        broken = server.folder / "broken.db"
        broken.write_bytes(b"no database at all, and long enough to be looked at" * 100)
        server.config.write_text(f'{text}\n[[store]]\ntype = "sqlite"\npath = "{broken}"\n')
        self.reload(server, refused=True)
        assert "broken.db" in server.told("reload refused")[-1]["reason"]
        server.trouble.write_text("")  # what the migration said
        server.config.write_text(text)
        self.reload(server)
        server.submit()

    def test_what_needs_a_restart_is_named_and_stays(self, server: Server) -> None:
        text = server.config.read_text()
        server.config.write_text(
            text.replace(f"port = {server.starttls_port}", "port = 1").replace("workers = 2", "workers = 3")
        )
        self.reload(server)
        said = [line["warning"] for line in server.told("configuration")]
        assert any(each.endswith(": workers: changed, and takes effect at the next restart only") for each in said)
        assert any(": listener: changed" in each for each in said)
        server.submit()
        assert len(server.workers) == 2

    def test_a_route_that_changed_takes_the_mail_from_then_on(self, server: Server) -> None:
        text = server.config.read_text()
        other = server.folder / "other"
        server.config.write_text(text.replace(f"{server.folder / 'sandbox'}", str(other)))
        self.reload(server)
        server.submit()
        wait_for("delivery", lambda: len(list(other.glob("*.json"))) == 1)


def own_der(authority: Authority) -> bytes:
    """Return the certificate of *authority*'s server, as it goes over the wire."""
    return ssl.PEM_cert_to_DER_cert(
        authority.certificate.read_text().split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
    )
