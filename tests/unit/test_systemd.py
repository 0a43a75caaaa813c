"""Sockets handed over by systemd, and what it is told: real descriptors, real datagrams."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatepost.errors import ConfigError
from gatepost.systemd import assign, inherited_sockets, notify

LOOK = """
import json, os, sys
from gatepost.errors import ConfigError
from gatepost.systemd import inherited_sockets
if sys.argv[1]:
    os.environ["LISTEN_PID"] = sys.argv[1].replace("mine", str(os.getpid()))
try:
    found = inherited_sockets(os.environ)
except ConfigError as error:
    print(json.dumps({"error": str(error)}))
else:
    print(json.dumps({
        "sockets": {
            name: [sock.fileno(), sock.getsockname()[1], sock.getblocking(), os.get_inheritable(sock.fileno())]
            for name, sock in found.items()
        },
        "left": sorted(name for name in os.environ if name.startswith("LISTEN")),
    }))
"""


def start_with(
    descriptors: list[int], *, pid: str = "mine", count: str | None = None, names: str | None = None
) -> dict[str, object]:
    """Start a process as systemd does: *descriptors* are 3, 4 ... of it, and the variables say so."""
    environ = {**os.environ, "LISTEN_FDS": str(len(descriptors)) if count is None else count, "LISTEN_PIDFDID": "7"}
    if names is not None:
        environ["LISTEN_FDNAMES"] = names
    # What is moved to 3, 4 ... must not lie there already; nor may it lie where another test has something.
    high = [fcntl.fcntl(each, fcntl.F_DUPFD, 200) for each in descriptors]
    moves = " ".join(f"{3 + number}<&{each}" for number, each in enumerate(high))
    command = ["bash", "-c", f'exec "$0" "$@" {moves}', sys.executable, "-c", LOOK, pid]
    try:
        done = subprocess.run(command, env=environ, pass_fds=high, capture_output=True, text=True, check=True)
    finally:
        for each in high:
            os.close(each)
    found: dict[str, object] = json.loads(done.stdout)
    return found


@contextlib.contextmanager
def listening(count: int = 1, host: str = "127.0.0.1") -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.create_server((host, 0))) for _ in range(count)]


def test_sockets_come_by_name_non_blocking_and_are_not_passed_on() -> None:
    with listening(2) as (one, two):
        found = start_with([one.fileno(), two.fileno()], names="submission:submissions")
        ports = [each.getsockname()[1] for each in (one, two)]
    assert found == {
        "sockets": {"submission": [3, ports[0], False, False], "submissions": [4, ports[1], False, False]},
        "left": [],
    }


@pytest.mark.parametrize("names", [None, "", "unknown:unknown", "gatepost.socket:gatepost.socket", "unknown"])
def test_sockets_without_names_of_their_own_are_called_by_their_place(names: str | None) -> None:
    with listening(2) as (one, two):
        found = start_with([one.fileno(), two.fileno()], names=names)
        places = [f"127.0.0.1:{each.getsockname()[1]}" for each in (one, two)]
    assert isinstance(found["sockets"], dict)
    assert list(found["sockets"]) == places


def test_the_second_of_one_name_is_called_by_its_place() -> None:
    with listening(2) as (one, two):
        found = start_with([one.fileno(), two.fileno()], names="submission:submission")
        place = f"127.0.0.1:{two.getsockname()[1]}"
    assert isinstance(found["sockets"], dict)
    assert list(found["sockets"]) == ["submission", place]


@pytest.mark.parametrize("pid", ["", "1", "x", "-1"])
def test_what_is_for_another_process_is_left_to_it_but_not_told_on(pid: str) -> None:
    with listening() as (one,):
        assert start_with([one.fileno()], pid=pid, names="submission") == {"sockets": {}, "left": []}


@pytest.mark.parametrize("count", ["", "one", "-1", "1 2", "²"])
def test_a_count_that_is_none_is_refused(count: str) -> None:
    with listening() as (one,):
        assert "LISTEN_FDS" in str(start_with([one.fileno()], count=count)["error"])


def test_nothing_handed_over_is_nothing() -> None:
    assert start_with([], names="") == {"sockets": {}, "left": []}
    assert inherited_sockets({}) == {}


def test_more_than_there_is_is_refused() -> None:
    with listening() as (one,):
        assert "descriptor 4" in str(start_with([one.fileno()], count="2")["error"])


def test_a_file_a_datagram_socket_and_a_connection_are_refused(tmp_path: Path) -> None:
    with (
        (tmp_path / "file").open("w") as file,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as silent,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as local,
    ):
        local.bind(str(tmp_path / "socket"))
        local.listen()
        for wrong in (file, datagrams, silent, local):
            assert "descriptor 3" in str(start_with([wrong.fileno()])["error"])


def test_one_place_twice_is_refused() -> None:
    with listening() as (one,):
        assert "is handed over twice" in str(start_with([one.fileno(), one.fileno()])["error"])


def test_listeners_get_the_socket_of_their_name_whatever_its_port() -> None:
    with listening(2) as (one, two):
        given = assign({"b": two, "a": one}, [("a", "*", 587), ("b", "192.0.2.1", 465)])
    assert given == {"a": one, "b": two}


@pytest.mark.parametrize(
    ("bound", "configured"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "*"), ("0.0.0.0", "0.0.0.0")]
)
def test_listeners_get_the_socket_of_their_address_and_port(bound: str, configured: str) -> None:
    with listening(1, bound) as (one,):
        port = one.getsockname()[1]
        assert assign({"x": one}, [("other", configured, port + 1), ("submission", configured, port)]) == {
            "submission": one
        }


@pytest.mark.parametrize("configured", ["127.0.0.2", "*", "::1", "0.0.0.0"])
def test_a_socket_for_no_listener_is_refused(configured: str) -> None:
    said = r"socket x: is handed over for no listener \(127\.0\.0\.1:\d+\)"
    with listening() as (one,), pytest.raises(ConfigError, match=said):
        assign({"x": one}, [("submission", configured, one.getsockname()[1])])


def test_the_second_socket_of_one_listener_is_refused() -> None:
    with listening(1) as (one,), socket.create_server(("127.0.0.1", 0)) as two:
        port = two.getsockname()[1]
        with pytest.raises(ConfigError, match="for no listener"):
            assign({"submission": one, "x": two}, [("submission", "127.0.0.1", port)])


def test_an_ipv6_socket_is_for_every_address() -> None:
    if not socket.has_ipv6:
        pytest.skip("there is no IPv6 here")
    try:
        one = socket.create_server(("::", 0), family=socket.AF_INET6)
    except OSError as error:
        pytest.skip(f"there is no IPv6 here: {error}")
    with one:
        port = one.getsockname()[1]
        assert assign({f"[::]:{port}": one}, [("submission", "*", port)]) == {"submission": one}


def test_a_listener_without_a_socket_binds_for_itself() -> None:
    assert assign({}, [("submission", "*", 587)]) == {}


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, dict[str, str]]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        name = str(tmp_path / "notify") if request.param == "path" else f"\0gatepost-{tmp_path.name}-{os.getpid()}"
        sock.bind(name)
        sock.settimeout(5)
        yield sock, {"NOTIFY_SOCKET": name.replace("\0", "@")}


def test_states_are_told_a_line_each(manager: tuple[socket.socket, dict[str, str]]) -> None:
    sock, environ = manager
    notify(environ, READY=1, STATUS="2 workers accept")
    assert sock.recv(1000) == b"READY=1\nSTATUS=2 workers accept\n"


def test_a_reload_tells_the_moment(manager: tuple[socket.socket, dict[str, str]]) -> None:
    sock, environ = manager
    notify(environ, RELOADING=1)
    first, second = sock.recv(1000).decode().splitlines()
    assert first == "RELOADING=1"
    assert second.startswith("MONOTONIC_USEC=")
    assert int(second.partition("=")[2]) > 0
    notify(environ, RELOADING="1", MONOTONIC_USEC="5")
    assert sock.recv(1000) == b"RELOADING=1\nMONOTONIC_USEC=5\n"


def test_a_text_cannot_add_a_state(manager: tuple[socket.socket, dict[str, str]]) -> None:
    sock, environ = manager
    notify(environ, STATUS="bad\nMAINPID=1\r\nx \udc80")
    assert sock.recv(1000) == b"STATUS=bad MAINPID=1 x ?\n"


def test_a_manager_that_does_not_listen_holds_nobody_up(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        name = str(tmp_path / "notify")
        sock.bind(name)
        for _ in range(5000):  # more than fits
            notify({"NOTIFY_SOCKET": name}, STATUS="x" * 200)


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "notify", "/nowhere/notify", f"/{'x' * 200}", "/a\0b", "@"])
def test_without_a_manager_nothing_is_told_and_nothing_raised(address: str) -> None:
    notify({"NOTIFY_SOCKET": address}, READY=1)
    notify({}, READY=1)
