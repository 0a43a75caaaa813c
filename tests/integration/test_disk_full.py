"""A disk fills up: new mail is told so in time, what we have is delivered once, and mail flows when there is room."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from disk_world import FULL, OK, RESERVE, World, make_server
from mailer import LOGIN, SECRET
from next_hop import Mail, say
from next_hop_thread import ThreadedNextHop
from servers import Authority, wait_for
from small_disk import in_a_namespace, missing_namespace, tmpfs

MIB = 1 << 20
ALWAYS_NO = say("550 5.1.1 no such user")
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("accounts")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="runs in a namespace of its own, below")


@pytest.fixture(scope="module")
def hop() -> Iterator[ThreadedNextHop]:
    with ThreadedNextHop() as hop:
        yield hop


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory, authority: Authority, hop: ThreadedNextHop) -> Path:
    """Return a state folder with one account."""
    server = make_server(tmp_path_factory.mktemp("accounts"), authority, hop)
    server.add_account(LOGIN, secret=SECRET)
    return server.folder / "state"


def bounces(hop: ThreadedNextHop) -> list[Mail]:
    return [mail for mail in hop.hop.accepted if mail.reverse_path == ""]


Make = Callable[..., AbstractContextManager[World]]


@pytest.fixture
def world(tmp_path: Path, authority: Authority, accounts: Path, hop: ThreadedNextHop) -> Make:
    """Return what makes a world: ``with world(size="32m") as each``."""

    @contextlib.contextmanager
    def make(**disk: str | int) -> Iterator[World]:
        server = make_server(tmp_path, authority, hop)
        with tmpfs(tmp_path / "state", **disk) as ballast:  # type: ignore[arg-type]
            shutil.copytree(accounts, tmp_path / "state", dirs_exist_ok=True)
            with server:
                yield World(server, hop, ballast)

    return make


@needs_root
def test_mail_is_refused_before_the_disk_is_full_and_what_was_taken_is_delivered(world: Make) -> None:
    with world(size="24m") as each:
        each.hop.defer()
        each.ballast.leave_bytes(RESERVE + MIB)
        wait_for("no room for two MiB", lambda: each.send(f"two-{len(each.accepted)}", declared=2 * MIB) == FULL)
        assert each.send("small-before") == OK
        each.ballast.drop()
        wait_for("room", lambda: each.send("declared", declared=2 * MIB) == OK)
        replies = [each.send(f"large-{number}", MIB) for number in range(30)]
        taken = replies.index(FULL)
        assert taken > 5
        assert set(replies[:taken]) == {OK}
        assert set(replies[taken:]) == {FULL}
        # The last one taken began before the reserve was reached, and used less than half of it.
        assert each.ballast.free_bytes > RESERVE // 2
        assert each.send("small") == FULL
        each.hop.take()
        each.wait_for_all()
        wait_for("room", lambda: each.send("again", MIB) == OK)
        each.wait_for_all()
        each.check_alive()


@needs_root
def test_queued_mail_is_delivered_from_within_the_reserve(world: Make) -> None:
    with world() as each:
        each.hop.defer()
        each.send_all("queued", 20)
        assert each.send("filed", 300_000) == OK
        each.fill(each.ballast.leave_bytes, RESERVE // 4)
        each.hop.take()
        each.wait_for_all()
        assert each.send("refused too") == FULL
        each.ballast.drop()
        wait_for("room", lambda: each.send("again") == OK)
        each.wait_for_all()
        wait_for("an empty queue", lambda: "[]" in each.server.run("queue", "list", "--json"))
        each.check_alive()


@needs_root
def test_a_bounce_is_kept_within_the_reserve(world: Make) -> None:
    with world() as each:
        each.hop.defer()
        each.send_all("doomed", 3)
        each.fill(each.ballast.leave_bytes, RESERVE // 4)
        each.hop.hop.usual()
        each.hop.hop.on("RCPT ann@example.net", ALWAYS_NO)
        wait_for("the bounces", lambda: len(bounces(each.hop)) == len(each.accepted))
        each.ballast.drop()
        wait_for("an empty queue", lambda: "[]" in each.server.run("queue", "list", "--json"))
        assert len(bounces(each.hop)) == len(each.accepted)
        each.check_alive()


@needs_root
@pytest.mark.parametrize("what", ["bytes", "inodes"])
def test_a_disk_that_somebody_else_has_filled_to_the_last_loses_and_doubles_nothing(world: Make, what: str) -> None:
    with world(inodes=200) as each:
        each.server.log.touch()
        each.hop.defer()
        each.send_all("queued", 10)
        assert each.send("filed", 300_000) == OK
        each.fill(each.ballast.leave_bytes if what == "bytes" else each.ballast.leave_inodes, 0)
        assert {each.send(f"refused-{size}", size) for size in (200, 300_000)} == {FULL}
        each.hop.take()
        if what == "bytes":
            # A result that cannot be written is kept, and nothing more is sent until it is.
            wait_for("trouble", lambda: [line for line in each.server.lines() if line["event"] == "spool troubled"])
        else:
            each.wait_for_all()
        assert each.send("refused") == FULL
        each.ballast.drop()
        each.wait_for_all()
        wait_for("room", lambda: each.send("again", 300_000) == OK)
        each.wait_for_all()
        wait_for("an empty queue", lambda: "[]" in each.server.run("queue", "list", "--json"))
        each.check_alive()
        # The end is a clean one, and nothing is left of what was refused.
        each.server.stop()
        assert [path.name for path in (each.server.folder / "state").glob("spool/*/bodies/*")] == []


@needs_root
def test_a_disk_without_inodes_takes_no_mail_and_delivers_what_it_has(world: Make) -> None:
    with world(inodes=300) as each:
        each.hop.defer()
        each.send_all("queued", 20)
        each.fill(each.ballast.leave_inodes, 10)
        assert each.send("refused", 300_000) == FULL
        each.hop.take()
        each.wait_for_all()
        assert each.send("refused too") == FULL
        each.ballast.drop()
        wait_for("inodes", lambda: each.send("again", 300_000) == OK)
        each.wait_for_all()
        each.check_alive()


@needs_root
def test_a_server_starts_within_the_reserve_and_says_why_it_cannot_start_beyond(
    tmp_path: Path, authority: Authority, accounts: Path, hop: ThreadedNextHop
) -> None:
    server = make_server(tmp_path, authority, hop)
    state = tmp_path / "state"
    with tmpfs(state, inodes=200) as ballast:
        shutil.copytree(accounts, state, dirs_exist_ok=True)
        with server:
            each = World(server, hop, ballast)
            each.hop.defer()
            each.send_all("queued", 5)
        for leave, what in (
            (ballast.leave_bytes, "cannot be brought up to date"),
            (ballast.leave_inodes, "the spool cannot be opened"),
        ):
            leave(0)
            server.log.unlink()
            with pytest.raises(RuntimeError, match=what):
                server.start()
            ballast.drop()
        assert "Traceback" not in server.trouble.read_text()
        ballast.leave_bytes(RESERVE // 4)
        hop.take()
        server.log.unlink()
        with server:
            each.wait_for_all()
            assert each.send("refused") == FULL
        subprocess.run(["mount", "-o", "remount,bind,ro", str(state)], check=True)
        server.log.unlink()
        with pytest.raises(RuntimeError, match="cannot be written"):
            server.start()


@pytest.mark.timeout(1600)
@pytest.mark.skipif(bool(missing_namespace()), reason=missing_namespace())
def test_all_this_holds_for_an_ordinary_user_in_a_namespace() -> None:
    done = in_a_namespace(__file__, ROOT / "pyproject.toml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
