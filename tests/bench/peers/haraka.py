"""Haraka from npm, with one worker as is its default, relaying all it takes from whoever is logged in."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from measuring import BUILD, LOGIN, PASSWORD, Peer, Sink, Subject, Tree
from peers.running import running

from servers import Authority, free_ports

__all__ = ["PEER"]

_HOME = BUILD / "haraka"
_PACKAGE = _HOME / "node_modules" / "Haraka"

_FILES = {
    "me": "mail.example.test\n",
    "host_list": "",
    "plugins": "tls\nauth/flat_file\nto_sink\n",
    "smtp.ini": "listen=127.0.0.1:{port},127.0.0.1:{tls_port}\nsmtps_port={tls_port}\n",
    "tls.ini": "key={key}\ncert={certificate}\n",
    "outbound.ini": "enable_tls=false\nlocal_mx_ok=true\n",
    "auth_flat_file.ini": f"[core]\nmethods=PLAIN,LOGIN,CRAM-MD5\n[users]\n{LOGIN}={PASSWORD}\n",
    # Haraka 3.3 dies at a connection if a section that it reads is not there, so each is named.
    "connection.ini": """\
[main]
[haproxy]
hosts[] =
[headers]
max_lines=1000
max_received=100
[max]
bytes=52428800
mime_parts=1000
line_length=512
data_line_length=992
[message]
greeting[]=Haraka
helo=hello
close=bye
[uuid]
banner_chars=6
deny_chars=0
""",
}

_TO_SINK = """\
'use strict'
exports.hook_rcpt = (next, connection) => (connection.relaying ? next(OK) : next(DENY, 'log in first'))
exports.hook_get_mx = (next) => next(OK, {{ priority: 0, exchange: '127.0.0.1', port: {sink}, using_lmtp: false }})
"""


def _versions() -> dict[str, str]:
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise SystemExit("PEERS=haraka: node or npm is not there; apt-get install nodejs npm")
    if not _PACKAGE.exists():
        raise SystemExit(
            "PEERS=haraka: Haraka is not there; get it with\n"
            f"  mkdir -p {_HOME} && cp {Path(__file__).parent}/haraka.json {_HOME}/package.json &&\n"
            f"  npm install --prefix {_HOME} --no-package-lock --ignore-scripts"
        )
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    version = json.loads((_PACKAGE / "package.json").read_text())["version"]
    return {"Haraka": version, "Node": node.strip().removeprefix("v")}


@contextlib.contextmanager
def _haraka(folder: Path, authority: Authority) -> Iterator[Subject]:
    port, tls_port = free_ports(2)
    for name in ("config", "plugins", "queue"):
        (folder / name).mkdir()
    with contextlib.closing(Sink(folder)) as sink:
        facts = {"port": port, "tls_port": tls_port, "sink": sink.port, "key": "key.pem", "certificate": "chain.pem"}
        for name, text in _FILES.items():
            (folder / "config" / name).write_text(text.format(**facts))
        (folder / "plugins" / "to_sink.js").write_text(_TO_SINK.format(**facts))
        shutil.copy(authority.key, folder / "config" / "key.pem")
        shutil.copy(authority.certificate, folder / "config" / "chain.pem")
        # A group of RFC 7919, or Haraka computes one of its own while the load runs.
        group = ["-genparam", "-algorithm", "DH", "-pkeyopt", "group:ffdhe2048"]
        subprocess.run(["openssl", "genpkey", *group, "-out", folder / "config" / "dhparams.pem"], check=True)
        words: list[str | Path] = ["node", _PACKAGE / "bin" / "haraka", "-c", folder]
        with running("Haraka", words, folder / "haraka.log", port, tls_port) as pid:
            yield Subject(Tree(pid), port, tls_port, PASSWORD, sink)


PEER = Peer(_haraka, _versions, "Haraka has one worker, its default.")
