"""Debian's Postfix, with Dovecot as its SASL server and a stored password that costs nothing to check."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from measuring import LOGIN, PASSWORD, Peer, Sink, Subject, Tree
from peers.running import needs_root, open_folder

from servers import Authority, accepts, free_ports, wait_for

__all__ = ["PEER"]

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


def _versions() -> dict[str, str]:
    needs_root("postfix")
    for name, package in (("postfix", "postfix"), ("dovecot", "dovecot-core")):
        if shutil.which(name) is None:
            raise SystemExit(f"PEERS=postfix: {name} is not there; apt-get install {package}")
    postfix = subprocess.run(["postconf", "-dh", "mail_version"], capture_output=True, text=True, check=True).stdout
    dovecot = subprocess.run(["dovecot", "--version"], capture_output=True, text=True, check=True).stdout
    return {"Postfix": postfix.strip(), "Dovecot": dovecot.split()[0]}


@contextlib.contextmanager
def _postfix(folder: Path, authority: Authority) -> Iterator[Subject]:
    port, tls_port = free_ports(2)
    with open_folder() as own, contextlib.closing(Sink(folder)) as sink:
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


def _control(own: Path, verb: str, log: IO[bytes]) -> None:
    done = subprocess.run(
        ["postfix", "-c", own / "etc", verb], check=False, stdin=subprocess.DEVNULL, stdout=log, stderr=log
    )
    if done.returncode:
        said = (own / "start.log").read_text() + ((own / "mail.log").read_text() if (own / "mail.log").exists() else "")
        raise RuntimeError(f"postfix {verb}: {said[-1000:]}")


def _write(own: Path, authority: Authority, ports: dict[str, int]) -> None:
    for name in ("etc", "queue/private", "data", "dovecot"):
        (own / name).mkdir(parents=True)
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


PEER = Peer(_postfix, _versions, "Postfix's logins are checked by Dovecot, against a stored password in clear.")
