"""Debian's Exim, daemon and queue runner, relaying all it takes from whoever is logged in."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from control_group import Group
from measuring import BUILD, LOGIN, PASSWORD, Peer, Sink, Subject
from peers.running import needs_root, open_folder, running, seeing

from servers import Authority, free_ports

__all__ = ["PEER"]

_USER = "Debian-exim"  # compiled in, like the path of the configuration

_CONFIG = """\
exim_path = {folder}/exim4
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
pid_file_path = {folder}/exim.pid
primary_hostname = mail.example.test
local_interfaces = 127.0.0.1
disable_ipv6 = true
daemon_smtp_ports = {port} : {tls_port}
tls_on_connect_ports = {tls_port}
tls_advertise_hosts = *
tls_certificate = {folder}/certificate.pem
tls_privatekey = {folder}/key.pem
auth_advertise_hosts = ${{if eq{{$tls_in_cipher}}{{}}{{}}{{*}}}}
# The default would refuse connections of the load (20), and leave most messages of a session to a later run (10).
smtp_accept_max = 2500
smtp_accept_queue_per_connection = 0
message_size_limit = 50M
received_headers_max = 100
host_lookup =
rfc1413_hosts =
never_users =
keep_environment =
acl_smtp_rcpt = recipient
acl_smtp_data = accept

begin acl
recipient:
  accept authenticated = *
  deny message = log in first

begin routers
next_hop:
  driver = manualroute
  domains = *
  transport = to_sink
  route_list = * 127.0.0.1::{sink}
  self = send

begin transports
to_sink:
  driver = smtp
  hosts_try_auth =
  hosts_avoid_tls = *
  hosts_try_chunking =

begin retry
* * F,1h,1m

begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if and {{{{eq{{$auth2}}{{{login}}}}}{{eq{{$auth3}}{{{password}}}}}}}}}
  server_set_id = $auth2
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = Username:: : Password::
  server_condition = ${{if and {{{{eq{{$auth1}}{{{login}}}}}{{eq{{$auth2}}{{{password}}}}}}}}}
  server_set_id = $auth1
"""


def _program() -> str | None:
    unpacked = BUILD / "exim" / "usr" / "sbin" / "exim4"
    return str(unpacked) if unpacked.exists() else shutil.which("exim4")


def _versions() -> dict[str, str]:
    needs_root("exim")
    Group.needed_by("exim")
    program = _program()
    if program is None:
        raise SystemExit(
            "PEERS=exim: exim4 is not there; as a package it conflicts with Postfix's, so unpack it:\n"
            f"  cd {BUILD} && apt-get download exim4-daemon-light && dpkg -x exim4-daemon-light_*.deb exim"
        )
    with open_folder() as own:
        _write_etc(own, "")
        asked = subprocess.run(seeing(own / "etc", program, "-bV"), capture_output=True, text=True, check=False)
    if asked.returncode:
        raise SystemExit(
            f"PEERS=exim: {program} does not run: {asked.stderr.strip()}\nIts libraries come with\n"
            f"  apt-get install --no-install-recommends $(dpkg-deb -f {BUILD}/exim4-daemon-light_*.deb Depends |\n"
            "    tr , '\\n' | grep -o '^ *lib[^ ]*')"
        )
    return {"Exim": asked.stdout.split()[2]}


def _write_etc(own: Path, config: str) -> tuple[int, int]:
    """Write what Exim looks for in /etc: its configuration and its user; return the numbers of user and group."""
    (own / "etc" / "exim4").mkdir(parents=True)
    (own / "etc" / "exim4" / "exim4.conf").write_text(config)
    with contextlib.suppress(KeyError):
        known = pwd.getpwnam(_USER)
        return known.pw_uid, known.pw_gid
    taken = {each.pw_uid for each in pwd.getpwall()} | {each.gr_gid for each in grp.getgrall()}
    number = next(each for each in range(999, 100, -1) if each not in taken)
    users, groups = Path("/etc/passwd").read_text(), Path("/etc/group").read_text()
    (own / "etc" / "passwd").write_text(f"{users}{_USER}:x:{number}:{number}::{own}:/usr/sbin/nologin\n")
    (own / "etc" / "group").write_text(f"{groups}{_USER}:x:{number}:\n")
    return number, number


@contextlib.contextmanager
def _exim(folder: Path, authority: Authority) -> Iterator[Subject]:
    port, tls_port = free_ports(2)
    with contextlib.ExitStack() as stack:
        own = stack.enter_context(open_folder())
        sink = stack.enter_context(contextlib.closing(Sink(folder)))
        group = stack.enter_context(Group.made(own.name))
        facts = {"port": port, "tls_port": tls_port, "sink": sink.port, "login": LOGIN, "password": PASSWORD}
        user, users = _write_etc(own, _CONFIG.format(folder=own, **facts))
        # Each delivery is a new exim4 that its user starts, and that is root's by the bits of the file.
        shutil.copy(str(_program()), own / "exim4")
        os.chown(own / "exim4", 0, users)
        (own / "exim4").chmod(0o4750)
        shutil.copy(authority.certificate, own / "certificate.pem")
        shutil.copy(authority.key, own / "key.pem")
        os.chown(own / "key.pem", user, users)
        for name in ("spool", "log"):
            (own / name).mkdir()
            os.chown(own / name, user, users)
        words = group.joined_by(*seeing(own / "etc", own / "exim4", "-bdf", "-q5m"))
        stack.enter_context(running("Exim", words, own / "out.log", port, tls_port))
        yield Subject(group, port, tls_port, PASSWORD, sink)


PEER = Peer(
    _exim,
    _versions,
    "Exim forgets the children that deliver: its CPU is counted by a control group, its memory every 0.1 s.",
)
