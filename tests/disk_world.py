"""A server whose state lies on a disk in trouble, its client, its next hop, and what became of each message."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from mailer import Mailer
from next_hop_thread import ThreadedNextHop
from servers import Authority, Gatepost, wait_for
from small_disk import Ballast

__all__ = ["FULL", "OK", "RESERVE", "UNAVAILABLE", "World", "make_server"]

FULL, UNAVAILABLE, OK = "452 4.3.1", "451 4.3.0", "250 2.0.0"
RESERVE = 6 << 20


def make_server(folder: Path, authority: Authority, hop: ThreadedNextHop) -> Gatepost:
    return Gatepost(
        folder,
        authority,
        f'[[route]]\nname = "hop"\ntransport = "smarthost"\nhost = "127.0.0.1"\nport = {hop.port}\ntls = "none"\n',
        tables=f"""
[limits]
message_bytes = "2MiB"

[spool]
reserve_bytes = {RESERVE}

[queue]
retry = ["1s"]

[observe]
audit_file = "{folder / "state" / "audit.log"}"
""",
    )


class World:
    """A server whose state lies on a small disk of its own, and its client."""

    def __init__(self, server: Gatepost, hop: ThreadedNextHop, ballast: Ballast | None = None) -> None:
        self.server = server
        if ballast is not None:
            self.ballast = ballast
        self.hop = hop
        self.mailer = Mailer(server.implicit_port, server.authority.client_context())
        self.accepted: list[str] = []
        hop.hop.mails.clear()
        hop.take()

    def send(self, mark: str, size: int = 200, *, declared: int | None = None) -> str:
        reply = self.mailer.send(mark, size, declared=declared)
        if reply == OK:
            self.accepted.append(mark)
        return reply

    def fill(self, fill: Callable[[int], None], leave: int) -> None:
        """Let somebody fill the disk, and wait until the server has noticed: it asks ten times a second."""
        fill(leave)
        wait_for("the server to notice", lambda: self.send(f"before-{len(self.accepted)}") == FULL)

    def send_all(self, name: str, count: int) -> None:
        for number in range(count):
            assert self.send(f"{name}-{number}") == OK

    def wait_for_all(self) -> None:
        """Wait until everything that got its 250 has arrived, and nothing else came or came twice."""
        wait_for("all mail", lambda: len(self.hop.marks) >= len(self.accepted))
        assert self.hop.marks == Counter(self.accepted)

    def check_alive(self, refusal: str = FULL) -> None:
        """See that nothing died, and that clients heard of no other trouble."""
        assert self.server.process is not None
        assert self.server.process.poll() is None
        assert "Traceback" not in self.server.trouble.read_text()
        failed = [line for line in self.server.lines() if line["event"] == "session failed"]
        assert [line for line in failed if refusal not in line["reply"]] == []
        assert [line["event"] for line in self.server.lines()].count("ready") == 1
        assert not [line for line in self.server.lines() if line["level"] == "critical"]
