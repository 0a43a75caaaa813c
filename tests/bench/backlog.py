"""What a long queue costs, and whether one account's long queue delays another's mail.

The spools are filled by hand: a million messages would take half an hour by SMTP.  They are read as fast as the server
will, for all of them are due when it starts.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Iterator
from pathlib import Path

from measuring import LOGIN, Subject, Tree, load_with
from report import Row
from subjects import gatepost

from gatepost.app import RealClock
from gatepost.model.address import parse_mailbox
from gatepost.model.envelope import Envelope, MessageId, Recipient
from gatepost.spool.files import Files
from gatepost.spool.lane import lane_of
from gatepost.spool.layout import make_folder
from gatepost.spool.message_id import MessageIds
from gatepost.spool.row import WRITTEN, fresh_progress, row_of
from gatepost.spool.schema import BODY_FOLDER, connect_writer, migrate
from gatepost.spool.spool import Entry
from servers import Authority, Gatepost, free_ports, wait_for

__all__ = ["fairness", "fill", "million"]

_HEADER = f"From: {LOGIN}\r\nTo: rcpt@dest.test\r\nSubject: news\r\nMessage-ID: <1@example.test>\r\n\r\n".encode()
_CONTENT = _HEADER + (b"x" * 76 + b"\r\n") * 4
_MILLION, _HUNDRED_THOUSAND = 1_000_000, 100_000
_LOOK_SECONDS = 60
_READY_SECONDS, _MORE_MIB, _DELAY_SECONDS = 10, 64, 5


def fill(folder: Path, count: int, accounts: int, due: float) -> MessageId:
    """Make the spool in *folder*, or add to it, so many messages of so many accounts; return the name of the last."""
    make_folder(folder / BODY_FOLDER, Files())
    connection = connect_writer(folder)
    names = MessageIds(RealClock())
    recipient = Recipient(parse_mailbox("rcpt@dest.test"))
    envelopes = [
        Envelope(
            parse_mailbox(LOGIN),
            (recipient,),
            account=f"account-{number}-of-{accounts}",
            credential="c1",
            header_bytes=len(_HEADER),
            size_bytes=len(_CONTENT),
        )
        for number in range(accounts)
    ]
    usual = [
        row_of(Entry(MessageId(""), each, due, due, progress=fresh_progress(each), lane=lane_of(each.account)), None)
        for each in envelopes
    ]
    name = names.make()

    def rows() -> Iterator[tuple[object, ...]]:
        nonlocal name
        for number in range(count):
            name = names.make()
            yield (name, due + number / count, *usual[number % accounts][2:])

    try:
        migrate(connection, folder)
        connection.execute("PRAGMA synchronous = OFF")
        made = iter(rows())
        while True:
            part = [row for _, row in zip(range(10_000), made, strict=False)]
            if not part:
                break
            connection.execute("BEGIN")
            marks = ",".join("?" * len(part[0]))
            connection.executemany(f"INSERT INTO message ({WRITTEN}) VALUES ({marks})", part)
            connection.executemany("INSERT INTO content VALUES (?, ?)", [(row[0], _CONTENT) for row in part])
            connection.execute("COMMIT")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        connection.close()
    return name


def million(_repeats: int, folder: Path, authority: Authority, count: int = _MILLION) -> list[Row]:
    """Start two workers on empty spools, and on a million messages of a thousand accounts whose next hop is away."""
    (nobody,) = free_ports(1)
    route = f'[[route]]\nname = "away"\ntransport = "smarthost"\nhost = "127.0.0.1"\nport = {nobody}\ntls = "none"\n'
    server = Gatepost(folder / "million", authority, routes=route, top="workers = 2")
    secret = server.add_account(LOGIN, LOGIN)
    empty, _ = _weigh(server, secret)
    spools = server.folder / "state/spool"
    for number in range(2):
        fill(spools / str(number), count // 2, 1000, time.time() - 3600)
    full, seconds = _weigh(server, secret)
    more = full - empty
    return [
        Row(f"{count:,} queued messages: MiB more at most", f"{more:.1f}", str(_MORE_MIB), more <= _MORE_MIB),
        Row(
            f"start to ready with {count:,} queued messages, seconds",
            f"{seconds:.2f}",
            str(_READY_SECONDS),
            seconds <= _READY_SECONDS,
        ),
    ]


def _weigh(server: Gatepost, secret: str) -> tuple[float, float]:
    """Return the most memory of the whole tree within a minute, and how long the start took; it must take mail."""
    server.log.unlink(missing_ok=True)
    began = time.monotonic()
    with server:
        seconds = time.monotonic() - began
        assert server.process is not None
        tree = Tree(server.process.pid)
        said = load_with(Subject(tree, server.starttls_port, server.implicit_port, secret), "--conns 4 --sessions 40")
        if said["sessions_failed"]:
            raise RuntimeError(f"{said['sessions_failed']} sessions failed: {said['errors'][:1]}")
        most, end = 0.0, time.monotonic() + _LOOK_SECONDS
        while time.monotonic() < end:
            most = max(most, sum(tree.resident_mib()))
            time.sleep(0.25)
    return most, seconds


def fairness(_repeats: int, folder: Path, authority: Authority) -> list[Row]:
    """Start on 100,000 messages of one account, all due before the single one of another; send one more meanwhile."""
    due = time.time() - 3600
    own = folder / "fair"
    own.mkdir()
    with gatepost(own, authority) as subject:
        server = subject.server
        assert server is not None
        server.stop()
        spool = server.folder / "state/spool/0"
        fill(spool, _HUNDRED_THOUSAND, 1, due)
        alone = fill(spool, 1, 2, due + 1800)
        server.log.unlink()
        server.start()
        ready = time.time()
        waited = _delivered_at(server, alone) - ready
        sent = time.time()
        said = load_with(subject, "--conns 1 --sessions 1")
        if said["sessions_failed"]:
            raise RuntimeError(f"the message was not taken: {said['errors'][:1]}")
        name = _accepted(server)
        came = _delivered_at(server, name) - sent
        left = _HUNDRED_THOUSAND - sum(line["event"] == "delivered" for line in server.lines())
    return [
        Row(
            "after a start behind 100,000 of another account, seconds from ready to delivered",
            f"{waited:.2f}",
            str(_DELAY_SECONDS),
            waited <= _DELAY_SECONDS,
        ),
        Row(
            f"sent while {left:,} of another account waited, seconds to delivered",
            f"{came:.2f}",
            str(_DELAY_SECONDS),
            came <= _DELAY_SECONDS and left > 0,
        ),
    ]


def _accepted(server: Gatepost) -> str:
    """Return the name of the one message that was sent, once the log has it."""
    names: list[str] = []

    def is_there() -> bool:
        names.extend([line["message"] for line in server.lines() if line["event"] == "message accepted"])
        return bool(names)

    wait_for("the log to say that the message was accepted", is_there)
    return names[0]


def _delivered_at(server: Gatepost, name: str) -> float:
    """Wait until the log says that a message was delivered; return when."""

    moments: list[float] = []

    def is_there() -> bool:
        with server.log.open("rb") as log:
            for line in log:
                if b'"delivered"' in line and name.encode() in line and line.endswith(b"\n"):
                    moments.append(dt.datetime.fromisoformat(json.loads(line)["time"]).timestamp())
        return bool(moments)

    wait_for(f"message {name} to be delivered", is_there, seconds=300)
    return moments[0]
