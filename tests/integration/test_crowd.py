"""Crowds that do as little as they can starve nobody, meet their limits, and leave nothing behind."""

from __future__ import annotations

import asyncio
import http.client
import smtplib
import statistics
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from crowd import Crowd, Guest, many_descriptors
from fuzz.fuzzing import LOOPS
from fuzz.weight import descriptors, resident_kib, weigh
from gatepost.observe.events import SessionClosed
from integration.client import log_in
from servers import Authority, Gatepost, free_ports, wait_for
from stopwatch import Stopwatch

LOGIN = "tim@example.org"
MESSAGE = b"From: <tim@example.org>\r\nSubject: hello\r\n\r\nhello\r\n"
SLOW, STUCK, IDLE = 300, 500, 500
HONEST_SECONDS = 2.0
TIMEOUT = 40  # long enough for all of them to come, also on a slow machine
TOTAL, PER_ADDRESS = 1500, 130


@pytest.fixture(autouse=True)
def room() -> Iterator[None]:
    """Let the test open as many sockets as the crowd needs."""
    with many_descriptors(6000):
        yield


class Server(Gatepost):
    """A server whose metrics can be read."""

    secret = ""
    admin_port = 0

    def count(self, name: str, *labels: str) -> float:
        """Read one metric, whose labels hold *labels*."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=60)
        with closing(connection):
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and set(labels) <= set(sample.labels.values())
        )

    def workers(self) -> list[int]:
        """Return the process ids of the workers."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(each) for each in children if "admin" not in Path(f"/proc/{each}/comm").read_text()]

    def weight(self) -> tuple[int, int]:
        """Return how many sockets the workers have open, and how much memory they have."""
        workers = self.workers()
        sockets = sum(name.startswith("socket:") for worker in workers for name in descriptors(worker))
        return sockets, sum(map(resident_kib, workers))


def send(server: Server, context) -> float:
    """Send a message as an honest client does; return how long it took."""
    with (
        Stopwatch() as watch,
        smtplib.SMTP_SSL("localhost", server.implicit_port, context=context, timeout=60) as client,
    ):
        client.login(LOGIN, server.secret)
        client.sendmail(LOGIN, "bob@example.net", MESSAGE)
        return watch.seconds


@pytest.fixture(params=LOOPS)
def server(request: pytest.FixtureRequest, tmp_path: Path, authority: Authority) -> Iterator[Server]:
    """Return a server of two workers."""
    (port,) = free_ports(1)
    server = Server(
        tmp_path / "server",
        authority,
        loop=request.param,
        top="workers = 2",
        routes=f'[[route]]\nname = "sandbox"\ntransport = "sandbox"\npath = "{tmp_path / "sandbox"}"\n',
        tables=f"""\
[admin]
listen = "127.0.0.1:{port}"

[limits]
connections = {TOTAL}
connections_per_address = {PER_ADDRESS}
connections_per_minute = 0
login_timeout = "{TIMEOUT}s"
handshake_timeout = "{TIMEOUT}s"
""",
    )
    server.admin_port = port
    server.secret = server.add_account(LOGIN)
    with server:
        yield server


async def come_and_hear(crowd: Crowd, count: int, network: int, each: int) -> tuple[list[Guest], int]:
    """Open connections; return them when all have heard something, and how many heard 421."""
    guests = await crowd.come(count, network=network, each=each)
    async with asyncio.timeout(60):
        while not all(guest.heard.endswith(b"\r\n") for guest in guests):
            await asyncio.sleep(0.01)
    return guests, sum(guest.heard.startswith(b"421 4.7.0 Too many connections") for guest in guests)


@pytest.mark.timeout(600)
@pytest.mark.rfc("5321 §3.8")
def test_a_crowd_keeps_no_honest_client_waiting_and_leaves_nothing_behind(server: Server, authority: Authority):
    context = authority.client_context()

    async def visit() -> None:
        crowd = Crowd(server.starttls_port, server.implicit_port, context)
        await crowd.gather(SLOW, STUCK, IDLE)
        # All of them are there, and an honest client does not notice.
        took = [await asyncio.to_thread(send, server, context) for _ in range(5)]
        assert statistics.median(took) < HONEST_SECONDS
        assert not any(guest.is_gone for guest in crowd.guests)
        # One address may have so many connections, and no more.
        greedy, turned_away = await come_and_hear(crowd, PER_ADDRESS + 10, network=5, each=1000)
        assert turned_away == 10
        # And all addresses together so many.
        late, turned_away = await come_and_hear(crowd, 90, network=6, each=100)
        assert turned_away == SLOW + STUCK + IDLE + PER_ADDRESS + 90 - TOTAL
        for guest in (*greedy, *late):
            guest.leave()
        # Silence ends, and so does a line that never does; nobody who is stuck is waited for.
        async with asyncio.timeout(TIMEOUT + 120):
            while not all(guest.is_gone for guest in crowd.guests):
                await asyncio.sleep(0.1)
        assert all(b"\r\n421 4.4.2 " in guest.heard for guest in (*crowd.slow, *crowd.idle))
        assert not any(guest.heard for guest in crowd.stuck[1::2])
        await crowd.leave()

    for _ in range(4):
        send(server, context)  # both workers have done everything once
    sockets, memory_kib = server.weight()
    asyncio.run(visit())
    wait_for("the sockets to be closed", lambda: server.weight()[0] <= sockets)
    wait_for("the memory to be given back", lambda: server.weight()[1] <= memory_kib * 1.2)
    assert server.count("gatepost_listener_refused_total", "address") == 10
    assert server.count("gatepost_listener_refused_total", "total") == 20
    assert server.count("gatepost_listener_handshake_failures_total", "submissions") >= STUCK
    assert server.count("gatepost_listener_sessions_total") >= SLOW + IDLE
    assert statistics.median([send(server, context) for _ in range(5)]) < HONEST_SECONDS


async def test_a_crowd_that_walks_away_leaves_no_task_and_no_timer(start, tmp_path: Path):
    limits = {"connections_per_address": 200, "connections_per_minute": 0}
    async with start(limits=limits) as server:
        worker = server.worker

        def is_empty() -> bool:
            return not worker.sessions and worker.listeners[0].connections.count == 0

        async def come_and_go() -> None:
            crowd = Crowd(server.ports["submission"], server.ports["submissions"], server.client_context)
            await crowd.gather(slow=100, stuck=150, idle=150)
            client = await log_in(server)
            async with asyncio.timeout(60):
                while (len(worker.sessions), worker.listeners[0].connections.count) != (251, 401):
                    await asyncio.sleep(0.01)
            await client.close()
            await crowd.leave()
            async with asyncio.timeout(60):
                while not is_empty():
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)

        await come_and_go()
        before = weigh()
        server.events.clear()
        await come_and_go()
        assert sum(isinstance(event, SessionClosed) for event in server.events) == 251
        async with asyncio.timeout(60):
            while not weigh().is_no_more_than(before):
                await asyncio.sleep(0.1)
        assert not server.troubles
