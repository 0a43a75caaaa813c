"""The servers that are laid side by side: gatepost, stock aiosmtpd, and Debian's Postfix with Dovecot for logins."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

from measuring import LOGIN, PASSWORD, Sink, Subject, Tree

from servers import Authority, Gatepost, accepts, free_ports, wait_for

__all__ = ["PEERS", "Start", "aiosmtpd", "gatepost", "postfix"]

_LIMITS = """\
[limits]
connections = 20000
connections_per_address = 20000
connections_per_minute = 1000000
recipients_per_day = 100000000
messages_per_minute = 1000000
"""


@contextlib.contextmanager
def _sink(folder: Path) -> Iterator[Sink]:
    (port,) = free_ports(1)
    sink = Sink(folder, port)
    try:
        yield sink
    finally:
        sink.close()


@contextlib.contextmanager
def gatepost(
    folder: Path,
    authority: Authority,
    workers: int = 1,
    environment: dict[str, str] | None = None,
    secret: str | None = None,
) -> Iterator[Subject]:
    """Run gatepost with its defaults, but for limits that the load would meet; *secret* is a chosen password."""
    with _sink(folder) as sink:
        server = Gatepost(
            folder / "gatepost",
            authority,
            routes=f"""\
[[route]]
name = "sink"
transport = "smarthost"
host = "127.0.0.1"
port = {sink.port}
tls = "none"
""",
            tables=_LIMITS,
            top=f"workers = {workers}",
            environment=environment or {},
        )
        password = server.add_account(LOGIN, LOGIN, secret=secret)
        began = time.monotonic()
        with server:
            assert server.process is not None
            seconds = time.monotonic() - began
            tree = Tree(server.process.pid)
            yield Subject(tree, server.starttls_port, server.implicit_port, password, sink, server, seconds)


@contextlib.contextmanager
def aiosmtpd(folder: Path, authority: Authority) -> Iterator[Subject]:
    """Run stock aiosmtpd, which only writes files."""
    (port,) = free_ports(1)
    words = [folder, authority.certificate, authority.key, port, LOGIN, PASSWORD]
    with (folder / "out.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", Path(__file__).parent / "stock.py", *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        wait_for("aiosmtpd", lambda: accepts(port))
        yield Subject(Tree(process.pid), port, 0, PASSWORD)
    finally:
        process.terminate()
        process.wait()


_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
shlib_directory = /usr/lib/postfix
meta_directory = /etc/postfix
mail_owner = postfix
setgid_group = postdrop
default_privs = nobody
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mail.example.test
mydestination =
local_recipient_maps =
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
disable_dns_lookups = yes
smtp_host_lookup = native
relayhost = [127.0.0.1]:{sink}
smtp_destination_concurrency_limit = 20
message_size_limit = 52428800
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_tls_security_level = encrypt
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/dovecot-auth
smtpd_sasl_security_options = noanonymous
smtpd_client_connection_count_limit = 0
smtpd_client_restrictions = permit_sasl_authenticated,reject
smtpd_relay_restrictions = permit_sasl_authenticated,reject
smtpd_recipient_restrictions = permit_sasl_authenticated,reject
"""

_MASTER = """\
127.0.0.1:{port}      inet   n - n - -  smtpd
127.0.0.1:{tls_port}  inet   n - n - -  smtpd -o smtpd_tls_wrappermode=yes
cleanup     unix       n - n - 0     cleanup
qmgr        unix       n - n 300 1   qmgr
tlsmgr      unix       - - n 1000? 1 tlsmgr
rewrite     unix       - - n - -     trivial-rewrite
bounce      unix       - - n - 0     bounce
defer       unix       - - n - 0     bounce
trace       unix       - - n - 0     bounce
verify      unix       - - n - 1     verify
flush       unix       n - n 1000? 0 flush
proxymap    unix       - - n - -     proxymap
proxywrite  unix       - - n - 1     proxymap
smtp        unix       - - n - -     smtp
relay       unix       - - n - -     smtp
showq       unix       n - n - -     showq
error       unix       - - n - -     error
retry       unix       - - n - -     error
discard     unix       - - n - -     discard
anvil       unix       - - n - 1     anvil
scache      unix       - - n - 1     scache
postlog     unix-dgram n - n - 1     postlogd
"""

_DOVECOT = """\
base_dir = {folder}/dovecot
state_dir = {folder}/dovecot
log_path = {folder}/dovecot.log
protocols =
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login cram-md5 scram-sha-256
default_login_user = dovenull
default_internal_user = dovecot
passdb {{
  driver = passwd-file
  args = username_format=%u {folder}/users
}}
userdb {{
  driver = static
  args = uid=65534 gid=65534 home=/nonexistent
}}
service auth {{
  unix_listener {folder}/queue/private/dovecot-auth {{
    mode = 0666
  }}
  client_limit = 10000
}}
"""


@contextlib.contextmanager
def postfix(folder: Path, authority: Authority) -> Iterator[Subject]:
    """Run Debian's Postfix, with Dovecot as its SASL server and a stored password that costs nothing to check.

    Needs root, and the packages postfix and dovecot-core.
    """
    for name, package in (("postfix", "postfix"), ("dovecot", "dovecot-core")):
        if shutil.which(name) is None:
            raise SystemExit(f"PEERS=postfix: {name} is not there; apt-get install {package}")
    port, tls_port = free_ports(2)
    # Its users must reach the folder: the build folder may lie below a home that is closed to them.
    own = Path(f"/var/tmp/gatepost-bench-{port}")
    for name in ("etc", "queue/private", "data", "dovecot"):
        (own / name).mkdir(parents=True)
    try:
        with _sink(folder) as sink:
            _write(own, authority, {"port": port, "tls_port": tls_port, "sink": sink.port})
            # Not into pipes: who stays behind would keep them open.
            with (own / "start.log").open("wb") as log:
                login = subprocess.Popen(["dovecot", "-F", "-c", own / "dovecot.conf"], stdout=log, stderr=log)
                try:
                    wait_for("Dovecot", (own / "queue" / "private" / "dovecot-auth").exists)
                    _control(own, "start", log)
                    try:
                        wait_for("Postfix", lambda: accepts(port))
                        master = int((own / "queue" / "pid" / "master.pid").read_text())
                        yield Subject(Tree(master, login.pid), port, tls_port, PASSWORD, sink)
                    finally:
                        _control(own, "stop", log)
                finally:
                    login.terminate()
                    login.wait()
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _control(own: Path, verb: str, log: IO[bytes]) -> None:
    done = subprocess.run(
        ["postfix", "-c", own / "etc", verb], check=False, stdin=subprocess.DEVNULL, stdout=log, stderr=log
    )
    if done.returncode:
        said = (own / "start.log").read_text() + ((own / "mail.log").read_text() if (own / "mail.log").exists() else "")
        raise RuntimeError(f"postfix {verb}: {said[-1000:]}")


def _write(own: Path, authority: Authority, ports: dict[str, int]) -> None:
    shutil.copy(authority.certificate, own / "certificate.pem")
    shutil.copy(authority.key, own / "key.pem")
    facts = {"folder": own, "certificate": own / "certificate.pem", "key": own / "key.pem", **ports}
    (own / "etc" / "main.cf").write_text(_MAIN.format(**facts))
    (own / "etc" / "master.cf").write_text(_MASTER.format(**facts))
    (own / "etc" / "dynamicmaps.cf").write_text("")
    (own / "dovecot.conf").write_text(_DOVECOT.format(**facts))
    (own / "users").write_text(f"{LOGIN}:{{PLAIN}}{PASSWORD}\n")
    for name in ("queue/private", "data"):
        shutil.chown(own / name, "postfix")
        (own / name).chmod(0o700)


Start = Callable[[Path, Authority], AbstractContextManager[Subject]]
PEERS: dict[str, Start] = {"aiosmtpd": aiosmtpd, "postfix": postfix}
