"""The servers that are laid side by side: gatepost, and its peers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from measuring import LOGIN, Sink, Subject, Tree
from peers import aiosmtpd, chasquid, exim, haraka, postfix

from servers import Authority, Gatepost

__all__ = ["PEERS", "gatepost"]

_LIMITS = """\
[limits]
connections = 20000
connections_per_address = 20000
connections_per_minute = 1000000
recipients_per_day = 100000000
messages_per_minute = 1000000
failed_logins_per_address = 1000000
failed_logins_per_network = 1000000
failed_logins_per_login = 1000000
"""


@contextlib.contextmanager
def gatepost(
    folder: Path,
    authority: Authority,
    workers: int = 1,
    environment: dict[str, str] | None = None,
    secret: str | None = None,
) -> Iterator[Subject]:
    """Run gatepost with its defaults, but for limits that the load would meet; *secret* is a chosen password."""
    with contextlib.closing(Sink(folder)) as sink:
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


PEERS = {
    "aiosmtpd": aiosmtpd.PEER,
    "postfix": postfix.PEER,
    "exim": exim.PEER,
    "chasquid": chasquid.PEER,
    "chasquid-cheap": chasquid.CHEAP,
    "haraka": haraka.PEER,
}
