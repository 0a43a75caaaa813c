"""Next hops whose Debian packages conflict with Postfix's, unpacked beside it: Exim and chasquid.

Both run on ports of their own, as root and as an ordinary user, and ask no name server.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Self

import pytest

from servers import Authority, accepts, free_ports, reachable_folder, wait_for

__all__ = ["LOGIN", "PASSWORD", "Chasquid", "Exim"]

LOGIN, PASSWORD = "gatepost@chasquid.next.example", "correct horse"

BUILD = Path(__file__).parents[1] / "bench" / "build"


def _unpacked(name: str, path: str) -> Path:
    program = BUILD / name / path
    if not program.exists():
        pytest.skip(f"{name} is missing: make unpacked (its package conflicts with Postfix)")
    return program


class _Server:
    """A program of its own group, in a folder of its own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = reachable_folder(name)
        self.mail = self.folder / "mail"
        (self.port,) = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None

    def _run(self, words: list[str | Path], environment: dict[str, str]) -> None:
        with (self.folder / "out.log").open("wb") as said:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
                env={"PATH": "/usr/bin:/bin", **environment},
            )
        try:
            wait_for(f"{self.name} to accept", self._accepts)
        except BaseException as error:
            said_last = self.log()
            self.stop()
            raise RuntimeError(f"{error}\n{said_last}") from error

    def _accepts(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self._process.returncode}")
        return accepts(self.port)

    def log(self) -> str:
        """Return what it said, for a failing test."""
        return "".join(path.read_text(errors="replace")[-4000:] for path in sorted(self.folder.glob("*log")))

    def stop(self) -> None:
        """End it with all that it started, and take its folder away."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> Self:
        """Start it, and wait until it accepts."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


_EXIM = """\
exim_path = {folder}/exim4
deliver_drop_privilege = true
spool_directory = {folder}/spool
log_file_path = {folder}/%s.log
pid_file_path = {folder}/exim.pid
primary_hostname = exim.next.example
local_interfaces = 127.0.0.1
disable_ipv6 = true
daemon_smtp_ports = {port}
keep_environment = LD_PRELOAD : NSS_WRAPPER_PASSWD : NSS_WRAPPER_GROUP
host_lookup =
rfc1413_hosts =
smtputf8_advertise_hosts = *
tls_advertise_hosts = *
tls_certificate = {folder}/certificate.pem
tls_privatekey = {folder}/key.pem
auth_advertise_hosts = ${{if eq{{$tls_in_cipher}}{{}}{{}}{{*}}}}
acl_smtp_rcpt = recipient
acl_smtp_data = accept

begin acl
recipient:
  deny !authenticated = *
       message = log in first
  deny local_parts = nobody
       message = no such user
  accept

begin routers
here:
  driver = accept
  transport = file

begin transports
file:
  driver = appendfile
  directory = {folder}/mail
  maildir_format
  envelope_to_add
  user = Debian-exim

begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if and {{{{eq{{$auth2}}{{{login}}}}}{{eq{{$auth3}}{{{password}}}}}}}}}
  server_set_id = $auth2
"""


class Exim(_Server):
    """Debian's Exim, which keeps what it takes from whoever is logged in; it refuses ``nobody``."""

    domain = "exim.next.example"

    def __init__(self, authority: Authority) -> None:
        self._program = _unpacked("exim", "usr/sbin/exim4")
        missing = subprocess.run(["/usr/bin/ldd", self._program], capture_output=True, text=True, check=False).stdout
        if "not found" in missing:
            libraries = "libgnutls-dane0 libidn12 libnsl2 libpcre2-8-0"
            pytest.skip(f"libraries of Exim are missing: apt-get install {libraries}\n{missing}")
        super().__init__("exim")
        # The user that is compiled in need not be there: it is ours, or nobody where root is.
        user, group = (os.geteuid(), os.getegid()) if os.geteuid() else (65534, 65534)
        for source, copy in ((authority.certificate, "certificate.pem"), (authority.key, "key.pem")):
            shutil.copy(source, self.folder / copy)
        [wrapper] = (BUILD / "exim").glob("usr/lib/*/libnss_wrapper.so")
        self._wrapper = self.folder / wrapper.name
        # As root it goes on as nobody, who may not enter where this tree lies.
        shutil.copy(wrapper, self._wrapper)
        shutil.copy(self._program, self.folder / "exim4")
        (self.folder / "conf").write_text(
            _EXIM.format(folder=self.folder, port=self.port, login=LOGIN, password=PASSWORD)
        )
        for name, line in (
            ("passwd", f"Debian-exim:x:{user}:{group}::/:/bin/false"),
            ("group", f"Debian-exim:x:{group}:"),
        ):
            (self.folder / name).write_text(f"{line}\n{Path('/etc', name).read_text()}")
        if not os.geteuid():
            for each in (self.folder, self.folder / "certificate.pem", self.folder / "key.pem"):
                os.chown(each, user, group)

    def start(self) -> Self:
        self._run(
            [self.folder / "exim4", "-C", self.folder / "conf", "-bdf", "-q1m"],
            {
                "LD_PRELOAD": str(self._wrapper),
                "NSS_WRAPPER_PASSWD": str(self.folder / "passwd"),
                "NSS_WRAPPER_GROUP": str(self.folder / "group"),
            },
        )
        return self

    def messages(self, recipient: str) -> list[bytes]:
        """Return what came for *recipient*, with CRLF as it came; it keeps lines without CR."""
        mark = f"Envelope-to: {recipient}\n".encode()
        found = [path.read_bytes() for path in sorted((self.mail / "new").glob("*"))]
        return [each.replace(b"\n", b"\r\n") for each in found if each.startswith(mark)]


_CHASQUID = """\
hostname: "localhost"
smtp_address: "127.0.0.1:{unused}"
submission_address: "127.0.0.1:{port}"
submission_over_tls_address: "127.0.0.1:{tls_port}"
data_dir: "{folder}/data"
mail_log_path: "{folder}/mail.log"
max_data_size_mb: 50
mail_delivery_agent_bin: "/bin/sh"
mail_delivery_agent_args: "-c"
mail_delivery_agent_args: "cat >\\"$0/part.$$\\" && mv \\"$0/part.$$\\" \\"$0/$1.$$\\""
mail_delivery_agent_args: "{folder}/mail"
mail_delivery_agent_args: "%to%"
"""

_USER = """\
users: {{
  key: "{name}"
  value: {{
    scrypt: {{
      logN: 4
      r: 8
      p: 1
      keyLen: 32
      salt: "{salt}"
      encrypted: "{key}"
    }}
  }}
}}
"""


class Chasquid(_Server):
    """Debian's chasquid, which keeps mail for the users of one domain, from whoever is logged in."""

    domain = "chasquid.next.example"

    def __init__(self, authority: Authority, *users: str) -> None:
        self._program = _unpacked("chasquid", "usr/bin/chasquid")
        super().__init__("chasquid")
        conf = self.folder / "conf"
        certificates, domain = conf / "certs" / "localhost", conf / "domains" / self.domain
        for each in (certificates, domain, self.folder / "data", self.mail):
            each.mkdir(parents=True)
        shutil.copy(authority.certificate, certificates / "fullchain.pem")
        shutil.copy(authority.key, certificates / "privkey.pem")
        unused, tls_port = free_ports(2)
        settings = _CHASQUID.format(folder=self.folder, port=self.port, unused=unused, tls_port=tls_port)
        (conf / "chasquid.conf").write_text(settings)
        salt = os.urandom(16)
        key = hashlib.scrypt(PASSWORD.encode(), salt=salt, n=16, r=8, p=1, dklen=32)
        salted, keyed = ("".join(f"\\x{byte:02x}" for byte in each) for each in (salt, key))
        text = [_USER.format(name=each, salt=salted, key=keyed) for each in (LOGIN.partition("@")[0], *users)]
        (domain / "users").write_text("".join(text))

    def start(self) -> Self:
        self._run([self._program, f"-config_dir={self.folder / 'conf'}"], {})
        return self

    def messages(self, recipient: str) -> list[bytes]:
        """Return what came for *recipient*, with CRLF as it came."""
        found = sorted(self.mail.glob(f"{recipient}.*"))
        return [path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") for path in found]
