"""The yardstick, stock aiosmtpd, which keeps each message in a file and relays nothing."""

from __future__ import annotations

import contextlib
import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path

from measuring import LOGIN, PASSWORD, Peer, Subject, Tree
from peers.running import running

from servers import Authority, free_ports

__all__ = ["PEER"]


def _versions() -> dict[str, str]:
    return {"aiosmtpd": importlib.metadata.version("aiosmtpd")}


@contextlib.contextmanager
def _aiosmtpd(folder: Path, authority: Authority) -> Iterator[Subject]:
    (port,) = free_ports(1)
    stock = Path(__file__).parent.parent / "stock.py"
    facts: list[str | Path] = [folder, authority.certificate, authority.key, str(port), LOGIN, PASSWORD]
    with running("aiosmtpd", [sys.executable, "-W", "ignore", stock, *facts], folder / "out.log", port) as pid:
        yield Subject(Tree(pid), port, 0, PASSWORD)


PEER = Peer(_aiosmtpd, _versions, "aiosmtpd relays nothing, and is not asked for (b).")
