"""Real servers for tests: ``gatepost serve`` as its users start it, and a private Postfix as its next hop.

Each runs on 127.0.0.1 on ports that are kept free for it, in a folder of its own, and is ended by its process id.
"""

from __future__ import annotations

import atexit
import collections
import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import trustme

__all__ = ["Authority", "Gatepost", "Postfix", "free_ports", "wait_for"]

# How long is waited for what comes at once, unless the machine is busy, or something is broken.
PATIENCE = 90.0
_PORTS_KEPT = 200


_kept: collections.deque[socket.socket] = collections.deque()


def free_ports(count: int) -> list[int]:
    """Return *count* ports of 127.0.0.1 that nobody listens on, and that the system gives to nobody who takes any.

    They are kept by sockets that are bound and do not listen: a server that sets SO_REUSEADDR, as all do, can listen
    beside them, and who connects meanwhile is refused.  The oldest are let go.
    """
    ports = []
    for _ in range(count):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        ports.append(sock.getsockname()[1])
        _kept.append(sock)
    _let_go(_PORTS_KEPT)
    return ports


def _let_go(leave: int) -> None:
    while len(_kept) > leave:
        _kept.popleft().close()


atexit.register(_let_go, 0)


def wait_for(what: str, condition: Any, *, seconds: float = PATIENCE) -> Any:
    """Ask *condition* until its answer is true; return the answer.

    Raises:
        TimeoutError: it was not in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.02)


def accepts(port: int) -> bool:
    """Tell whether somebody listens on *port* of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Authority:
    """A certificate authority made on the fly, and a certificate of its for localhost and 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.ca = folder / "ca.pem"
        self.certificate = folder / "certificate.pem"
        self.key = folder / "key.pem"
        authority = trustme.CA()
        leaf = authority.issue_cert("localhost", "127.0.0.1")
        authority.cert_pem.write_to_path(str(self.ca))
        self.certificate.write_bytes(b"".join(part.bytes() for part in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(str(self.key))
        self.key.chmod(0o600)

    def client_context(self) -> ssl.SSLContext:
        """Return a context that trusts this authority alone."""
        return ssl.create_default_context(cafile=str(self.ca))


@dataclass
class Gatepost:
    """``gatepost serve`` with a configuration of its own.

    Args:
        folder: where configuration, state and output lie.
        authority: who made the certificate.
        routes: the ``[[route]]`` tables, as TOML.
        tables: any other tables, as TOML; they may not repeat those written here.
        auth: what stands in ``[auth]``, as TOML.
        loop: which event loop.
        environment: variables for every command.
        top: what stands before all tables, as TOML.
    """

    folder: Path
    authority: Authority
    routes: str
    tables: str = ""
    auth: str = ""
    loop: str = "auto"
    environment: dict[str, str] = field(default_factory=dict)
    top: str = "workers = 1"
    process: subprocess.Popen[bytes] | None = None
    # What was read of the log, and its lines: who waits asks for them fifty times a second.
    _read: tuple[bytes, list[dict[str, Any]]] = field(default=(b"", []), init=False, repr=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.starttls_port, self.implicit_port = free_ports(2)
        self.config = self.folder / "gatepost.toml"
        self.log = self.folder / "serve.log"
        self.trouble = self.folder / "serve.err"
        self.config.write_text(
            f"""\
hostname = "gatepost.example.org"
state_dir = "{self.folder / "state"}"
{self.top}

[[listener]]
name = "submission"
address = "127.0.0.1"
port = {self.starttls_port}
tls = "starttls"

[[listener]]
name = "submissions"
address = "127.0.0.1"
port = {self.implicit_port}
tls = "implicit"

[tls]
certificate = "{self.authority.certificate}"
key = "{self.authority.key}"

[auth]
{self.auth}

{self.routes}

{self.tables}
""",
            encoding="utf-8",
        )

    def port(self, listener: str) -> int:
        """Return the port of a listener, by its name."""
        listeners = tomllib.loads(self.config.read_text(encoding="utf-8"))["listener"]
        (port,) = (each["port"] for each in listeners if each["name"] == listener)
        assert isinstance(port, int)
        return port

    def run(self, *arguments: str, secret: str | None = None) -> str:
        """Run a verb of the command line to its end; return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "gatepost", *arguments, "--config", str(self.config)],
            input="" if secret is None else secret,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, **self.environment},
        )
        if done.returncode:
            raise RuntimeError(
                f"gatepost {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def add_account(self, login: str, *senders: str, secret: str | None = None) -> str:
        """Add an account with one credential; return its secret, which is generated if not given."""
        self._prepare("account", "add", login, *(word for sender in senders for word in ("--sender", sender)))
        if secret is not None:
            self._prepare("credential", "add", login, "--secret-stdin", secret=secret)
            return secret
        return self._prepare("credential", "add", login).strip()

    def _prepare(self, *arguments: str, secret: str = "") -> str:
        """Run a verb as `run` does, but in this process: another one takes ten times as long, most of it to begin."""
        if self.environment:  # which may be for the interpreter
            return self.run(*arguments, secret=secret)
        from click.testing import CliRunner

        from gatepost.cli.main import gatepost

        words = [*arguments, "--config", str(self.config)]
        done = CliRunner().invoke(gatepost, words, input=secret)
        if done.exit_code:
            raise RuntimeError(f"gatepost {' '.join(arguments)}: {done.output}") from done.exception
        return done.stdout

    def start(self) -> Self:
        """Start it and wait until all its listeners accept."""
        with self.log.open("ab") as log, self.trouble.open("ab") as trouble:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gatepost", "serve", "--loop", self.loop, "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=trouble,
                env={**os.environ, **self.environment},
            )
        try:
            wait_for("gatepost to be ready", self._ready)
        except BaseException as error:
            self.stop()
            raise RuntimeError(f"gatepost did not start: {error}\n{self.output()}") from error
        return self

    def _ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"gatepost serve ended with {self.process.returncode}")
        return any(line.get("event") == "ready" for line in self.lines())

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int | None:
        """Send a signal and wait for the end; return the exit code."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise
        return self.process.returncode

    def lines(self) -> list[dict[str, Any]]:
        """Return the log so far, one dictionary per line; a line that is still being written is left out."""
        octets = self.log.read_bytes() if self.log.exists() else b""
        read, lines = self._read
        if not octets.startswith(read):  # it is another file by now
            read, lines = b"", []
        whole = octets[: octets.rfind(b"\n") + 1]
        lines = lines + [json.loads(line) for line in whole[len(read) :].split(b"\n")[:-1]]
        self._read = whole, lines
        return list(lines)

    def output(self) -> str:
        """Return everything it wrote, for a failing test."""
        return "".join(
            f"== {path.name}\n{path.read_text(encoding='utf-8', errors='replace')[-4000:]}\n"
            for path in (self.log, self.trouble)
            if path.exists()
        )

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log/mail.log
maillog_file_prefixes = {folder}
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
shlib_directory = /usr/lib/postfix
meta_directory = {folder}/etc
mail_owner = postfix
setgid_group = postdrop
default_privs = nobody
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = next-hop.example.net
mydestination =
local_recipient_maps =
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
disable_dns_lookups = yes
biff = no
local_header_rewrite_clients =
message_size_limit = 52428800
virtual_mailbox_limit = 0
virtual_mailbox_domains = {domain}, {tls_domain}
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = static:all/
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
smtpd_relay_restrictions = reject_unauth_destination
smtpd_tls_security_level = may
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_tls_received_header = yes
"""

MASTER_CF = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
proxymap  unix - - n - - proxymap
tlsmgr    unix - - n 1000? 1 tlsmgr
error     unix - - n - - error
retry     unix - - n - - error
virtual   unix - n n - - virtual
anvil     unix - - n - 1 anvil
postlog   unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """A Postfix of our own: it takes mail for two domains on a high port and puts each message into a file.

    Args:
        folder: an empty folder that user ``postfix`` can reach; its master needs root.
        authority: who made the certificate that it shows after STARTTLS.
        settings: lines for main.cf, which hold instead of those above.
        services: lines for master.cf.
    """

    domain = "next-hop.example.net"
    tls_domain = "tls.next-hop.example.net"

    def __init__(self, folder: Path, authority: Authority, *, settings: str = "", services: str = "") -> None:
        self.folder = folder
        self.authority = authority
        self.settings = settings
        self.services = services
        (self.port,) = free_ports(1)
        self.etc = folder / "etc"
        self.mail = folder / "mail"
        self._mails: dict[str, bytes] = {}

    @staticmethod
    def missing() -> str:
        """Say why it cannot run here; empty if it can."""
        if shutil.which("postfix", path="/usr/sbin:/usr/local/sbin:" + os.environ.get("PATH", "")) is None:
            return "Postfix is missing: apt-get install postfix"
        if os.geteuid() != 0:
            return "Postfix's master needs root"
        return ""

    def start(self) -> Self:
        """Write its configuration, start it, wait until it accepts."""
        import pwd

        owner = pwd.getpwnam("postfix")
        values = {
            "folder": self.folder,
            "port": self.port,
            "domain": self.domain,
            "tls_domain": self.tls_domain,
            "uid": owner.pw_uid,
            "gid": owner.pw_gid,
            "certificate": self.authority.certificate,
            "key": self.authority.key,
        }
        for name in ("etc", "queue", "log"):
            (self.folder / name).mkdir(mode=0o755)
        for name in ("data", "mail"):
            (self.folder / name).mkdir(mode=0o700)
            os.chown(self.folder / name, owner.pw_uid, owner.pw_gid)
        (self.etc / "main.cf").write_text(_instead(MAIN_CF.format(**values), self.settings))
        (self.etc / "master.cf").write_text(MASTER_CF.format(**values) + self.services)
        for name in ("dynamicmaps.cf", "postfix-files"):
            shutil.copy(Path("/etc/postfix") / name, self.etc / name)
        self._control("start")
        try:
            wait_for("Postfix to accept", lambda: accepts(self.port))
        except TimeoutError as error:
            said = self.log()
            self.stop()
            raise RuntimeError(f"{error}\n{said}") from error
        return self

    def stop(self) -> None:
        """Stop it and everything it started."""
        self._control("stop")

    def _control(self, verb: str) -> None:
        # The master keeps the files it was started with: pipes of ours would never close.
        with (self.folder / f"{verb}.log").open("wb") as said:
            done = subprocess.run(
                ["/usr/sbin/postfix", "-c", str(self.etc), verb],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                timeout=120,
                check=False,
            )
        if done.returncode:
            raise RuntimeError(f"postfix {verb}: {(self.folder / f'{verb}.log').read_text()}{self.log()}")

    def log(self) -> str:
        """Return its log."""
        log = self.folder / "log" / "mail.log"
        return log.read_text() if log.exists() else ""

    def messages(self, recipient: str) -> list[bytes]:
        """Return what came for *recipient*, with CRLF as it came; Postfix keeps lines without CR."""
        mark = f"Delivered-To: {recipient}\n".encode()
        found = []
        folder = self.mail / "all" / "new"
        for name in sorted(os.listdir(folder)) if folder.exists() else ():
            # What lies there is whole, and stays as it is.
            octets = self._mails.get(name)
            if octets is None:
                octets = self._mails[name] = (folder / name).read_bytes()
            if octets.find(mark, 0, octets.find(b"Received:")) >= 0:
                found.append(octets.replace(b"\n", b"\r\n"))
        return found

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def _instead(lines: str, others: str) -> str:
    """Return *lines* of main.cf with *others* in the place of those with their names.

    Each process of Postfix warns of a setting that stands there twice, postlogd too: of itself to itself, and where its
    socket is full by then it waits for itself for ever, and everybody else for it.
    """
    names = {line.partition("=")[0].strip() for line in others.splitlines()}
    return "".join([f"{line}\n" for line in lines.splitlines() if line.partition("=")[0].strip() not in names]) + others


def reachable_folder(name: str) -> Path:
    """Make an empty folder that other users can enter: pytest's own is closed to them, and TMPDIR may be."""
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix=f"gatepost-{name}-", dir="/tmp"))
    folder.chmod(0o755)
    return folder


@contextlib.contextmanager
def postfix(authority: Authority, *, settings: str = "", services: str = "") -> Iterator[Postfix]:
    """Run a Postfix in a folder of its own, and leave nothing behind."""
    folder = reachable_folder("postfix")
    try:
        with Postfix(folder, authority, settings=settings, services=services) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def program(name: str, package: str | Sequence[str] = "") -> str:
    """Return the path of a program; skip the test, naming the Debian package, if it is not here."""
    import pytest

    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is missing: apt-get install {package or name}")
    return path
