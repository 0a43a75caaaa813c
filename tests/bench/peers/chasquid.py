"""Debian's chasquid, which finds its next hop by DNS: by a name server of ours that it alone asks."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from measuring import BUILD, LOGIN, PASSWORD, Peer, Sink, Subject, Tree
from peers.running import needs_root, open_folder, running, seeing

from servers import Authority, free_ports

__all__ = ["CHEAP", "PEER"]

_HOST = "mail.example.test"
_DEFAULT_LOG_N, _LEAST_LOG_N = 14, 4

_CONFIG = """\
hostname: "{host}"
smtp_address: "127.0.0.1:{unused}"
submission_address: "127.0.0.1:{port}"
submission_over_tls_address: "127.0.0.1:{tls_port}"
data_dir: "{folder}/data"
mail_log_path: "{folder}/mail.log"
max_data_size_mb: 50
"""

_USERS = """\
users: {{
  key: "{user}"
  value: {{
    scrypt: {{
      logN: {log_n}
      r: 8
      p: 1
      keyLen: 32
      salt: "{salt}"
      encrypted: "{key}"
    }}
  }}
}}
"""

_A, _MX = 1, 15
_ANSWERS = {
    (b"\4dest\4test\0", _MX): struct.pack("!H", 10) + b"\2mx\4dest\4test\0",
    (b"\4dest\4test\0", _A): bytes([127, 0, 0, 1]),
    (b"\2mx\4dest\4test\0", _A): bytes([127, 0, 0, 1]),
}
_NAMES = {name for name, _ in _ANSWERS}


def _program() -> str | None:
    unpacked = BUILD / "chasquid" / "usr" / "bin" / "chasquid"
    return str(unpacked) if unpacked.exists() else shutil.which("chasquid")


def _versions() -> dict[str, str]:
    needs_root("chasquid")
    program = _program()
    if program is None:
        raise SystemExit(
            "PEERS=chasquid: chasquid is not there; as a package it would start a server, so unpack it:\n"
            f"  cd {BUILD} && apt-get download chasquid && dpkg -x chasquid_*.deb chasquid"
        )
    said = subprocess.run([program, "-version"], capture_output=True, text=True, check=True).stdout
    return {"chasquid": said.split()[1]}


def _answer(query: bytes) -> bytes:
    """Answer one question: dest.test has an MX, which is 127.0.0.1; nothing else exists."""
    end = 12
    while query[end]:
        end += 1 + query[end]
    question, name = query[12 : end + 5], query[12 : end + 1].lower()
    (kind,) = struct.unpack("!H", query[end + 1 : end + 3])
    data = _ANSWERS.get((name, kind), b"")
    record = struct.pack("!HHHIH", 0xC00C, kind, 1, 300, len(data)) + data if data else b""
    flags = 0x8580 | (0 if name in _NAMES else 3)
    return query[:2] + struct.pack("!5H", flags, 1, bool(data), 0, 0) + question + record


@contextlib.contextmanager
def _name_server() -> Iterator[str]:
    """Run a name server on an address of its own; return that address."""
    high, low = divmod(free_ports(1)[0], 256)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        address = f"127.53.{high}.{low}"
        listening.bind((address, 53))

        def serve() -> None:
            while True:
                query, client = listening.recvfrom(2048)
                if not query:
                    return
                with contextlib.suppress(IndexError, struct.error):
                    listening.sendto(_answer(query), client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield address
        finally:
            listening.sendto(b"", (address, 53))
            thread.join()


def _write(own: Path, authority: Authority, facts: dict[str, str | int], log_n: int) -> None:
    conf, certificates = own / "conf", own / "conf" / "certs" / _HOST
    domain = conf / "domains" / LOGIN.partition("@")[2]
    for each in (certificates, domain, own / "data", own / "etc"):
        each.mkdir(parents=True)
    shutil.copy(authority.certificate, certificates / "fullchain.pem")
    shutil.copy(authority.key, certificates / "privkey.pem")
    (conf / "chasquid.conf").write_text(_CONFIG.format(host=_HOST, folder=own, **facts))
    salt = os.urandom(16)
    key = hashlib.scrypt(PASSWORD.encode(), salt=salt, n=1 << log_n, r=8, p=1, dklen=32, maxmem=1 << 28)
    salted, keyed = ("".join(f"\\x{byte:02x}" for byte in each) for each in (salt, key))
    users = _USERS.format(user=LOGIN.partition("@")[0], log_n=log_n, salt=salted, key=keyed)
    (domain / "users").write_text(users)


@contextlib.contextmanager
def _chasquid(folder: Path, authority: Authority, log_n: int = _DEFAULT_LOG_N) -> Iterator[Subject]:
    port, tls_port, unused = free_ports(3)
    with contextlib.ExitStack() as stack:
        own = stack.enter_context(open_folder())
        sink = stack.enter_context(contextlib.closing(Sink(folder)))
        address = stack.enter_context(_name_server())
        _write(own, authority, {"port": port, "tls_port": tls_port, "unused": unused}, log_n)
        (own / "etc" / "resolv.conf").write_text(f"nameserver {address}\n")
        hop = f"-testing__outgoing_smtp_port={sink.port}"
        words = seeing(own / "etc", str(_program()), f"-config_dir={own / 'conf'}", hop)
        pid = stack.enter_context(running("chasquid", words, own / "out.log", port, tls_port))
        yield Subject(Tree(pid), port, tls_port, PASSWORD, sink)


PEER = Peer(
    _chasquid,
    _versions,
    "chasquid syncs nothing to the disk, answers each login after 100 ms at the soonest, and hashes the password with\n"
    "  scrypt; its queue has room for few, and sessions may fail when it is full.",
)
CHEAP = Peer(
    functools.partial(_chasquid, log_n=_LEAST_LOG_N),
    _versions,
    "chasquid-cheap is chasquid with a stored password that costs next to nothing to check.",
)
