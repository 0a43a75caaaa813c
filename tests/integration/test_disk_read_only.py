"""A disk turns read-only: clients hear 451, deliveries stop, nothing dies, and all goes on once it can be written."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from disk_world import OK, UNAVAILABLE, World, make_server
from mailer import LOGIN, SECRET
from next_hop_thread import ThreadedNextHop
from preload import built
from servers import Authority, wait_for
from small_disk import ext4


@pytest.fixture(scope="module")
def hop() -> Iterator[ThreadedNextHop]:
    with ThreadedNextHop() as hop:
        yield hop


def is_troubled(world: World) -> bool:
    return any(line["event"] == "spool troubled" for line in world.server.lines())


def test_a_server_lives_through_a_disk_that_is_read_only_for_a_while(
    tmp_path: Path, authority: Authority, hop: ThreadedNextHop
) -> None:
    server = make_server(tmp_path, authority, hop)
    server.add_account(LOGIN, secret=SECRET)
    flag = tmp_path / "read-only"
    server.environment.update(
        LD_PRELOAD=str(built("readonly", tmp_path)),
        READONLY_ROOT=str(tmp_path / "state"),
        READONLY_WHILE=str(flag),
    )
    with server:
        world = World(server, hop)
        hop.defer()
        world.send_all("queued", 10)
        assert world.send("filed", 300_000) == OK
        flag.touch()
        for size in (200, 300_000):
            wait_for("the server to notice", lambda size=size: world.send("refused", size) == UNAVAILABLE)
        wait_for("a result that cannot be written", lambda: is_troubled(world))
        hop.take()
        # What was in flight may have arrived; from then on nothing more does.
        arrived = hop.marks
        time.sleep(1.5)
        while hop.marks != arrived:
            arrived = hop.marks
            time.sleep(1.5)
        assert sum(arrived.values()) < len(world.accepted)
        assert world.send("refused too") == UNAVAILABLE
        flag.unlink()
        world.wait_for_all()
        wait_for("a disk that takes mail", lambda: world.send("again", 300_000) == OK)
        world.wait_for_all()
        wait_for("an empty queue", lambda: "[]" in server.run("queue", "list", "--json"))
        world.check_alive(UNAVAILABLE)
        assert server.stop() == 0
    assert [path.name for path in (tmp_path / "state").glob("spool/*/bodies/*")] == []


@pytest.mark.root
@pytest.mark.skipif(shutil.which("mkfs.ext4") is None, reason="mkfs.ext4 is missing: apt-get install e2fsprogs")
def test_a_file_system_that_the_kernel_gave_up_kills_no_server_and_loses_no_mail(
    tmp_path: Path, authority: Authority, hop: ThreadedNextHop
) -> None:
    if not Path("/dev/loop-control").exists():
        pytest.skip("there are no loop devices here")
    server = make_server(tmp_path, authority, hop)
    state, image = tmp_path / "state", tmp_path / "disk"
    with ext4(state, image):
        server.add_account(LOGIN, secret=SECRET)
        with server:
            world = World(server, hop)
            hop.defer()
            world.send_all("queued", 10)
            assert world.send("filed", 300_000) == OK
            # Just what an error of the disk does: the journal ends, and everything says EROFS from now on.
            subprocess.run(["mount", "-o", "remount,abort", str(state)], check=True)
            for size in (200, 300_000):
                wait_for("trouble", lambda size=size: world.send("refused", size) == UNAVAILABLE)
            wait_for("a result that cannot be written", lambda: is_troubled(world))
            hop.take()
            time.sleep(1)
            world.check_alive(UNAVAILABLE)
            assert server.process is not None
            # What cannot be written down is waited for, but not at the second signal.
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            server.stop()
            assert server.trouble.read_text() == ""
        seen = hop.marks
    with ext4(state, image), server:
        wait_for("all mail", lambda: set(hop.marks) >= set(world.accepted))
        wait_for("an empty queue", lambda: "[]" in server.run("queue", "list", "--json"))
        # Only what arrived while nothing could be written came twice.
        assert {mark for mark, count in hop.marks.items() if count > 1} <= set(seen)
