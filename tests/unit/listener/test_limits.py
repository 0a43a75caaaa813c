"""How many connections there may be: one worker, several, and by the minute."""

from __future__ import annotations

import pytest

from gatepost.listener.limits import Connections, network_of
from gatepost.state.connections import ConnectionTable


class Time:
    """A clock that stands still."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_there_are_so_many_in_all() -> None:
    connections = Connections(3, 10)
    assert [connections.enter(f"192.0.2.{number}") for number in range(4)] == ["", "", "", "too many connections"]
    assert connections.count == 3
    connections.leave("192.0.2.0")
    assert connections.enter("192.0.2.3") == ""


def test_there_are_so_many_from_one_address() -> None:
    connections = Connections(10, 2)
    reasons = [connections.enter("192.0.2.1") for _ in range(3)]
    assert reasons == ["", "", "too many connections from this address"]
    assert connections.enter("192.0.2.2") == ""
    connections.leave("192.0.2.1")
    assert connections.enter("192.0.2.1") == ""
    assert connections.enter("192.0.2.1") != ""


def test_addresses_of_one_ipv6_network_are_one() -> None:
    connections = Connections(10, 2)
    assert connections.enter("2001:db8:1:2::1") == ""
    assert connections.enter("2001:db8:1:2:ffff::2") == ""
    assert connections.enter("2001:db8:1:2::3") == "too many connections from this address"
    assert connections.enter("2001:db8:1:3::1") == ""
    connections.leave("2001:db8:1:2::1")
    assert connections.enter("2001:db8:1:2::3") == ""


def test_nobody_is_remembered_who_left() -> None:
    connections = Connections(10_000, 2)
    for number in range(5000):
        address = f"192.0.{number // 256}.{number % 256}"
        assert connections.enter(address) == ""
        connections.leave(address)
    assert connections.count == 0
    assert connections._by_network == {}


def test_limits_hold_over_all_workers() -> None:
    table = ConnectionTable(4)
    workers = [Connections(10, 6, column=table.column(number)) for number in range(4)]
    reasons = [workers[number % 4].enter("192.0.2.1") for number in range(8)]
    assert reasons == [""] * 6 + ["too many connections from this address"] * 2
    reasons = [workers[number % 4].enter(f"192.0.2.{10 + number}") for number in range(5)]
    assert reasons == [""] * 4 + ["too many connections"]
    workers[0].leave("192.0.2.1")
    assert workers[3].enter("192.0.2.1") == ""
    assert workers[2].enter("192.0.2.1") != ""


def test_one_turned_away_leaves_no_trace() -> None:
    table = ConnectionTable(2)
    first, second = (Connections(10, 1, column=table.column(number)) for number in range(2))
    assert first.enter("192.0.2.1") == ""
    assert second.enter("192.0.2.1") != ""
    first.leave("192.0.2.1")
    assert second.enter("192.0.2.1") == ""
    assert table.column(1).total == 0


def test_so_many_come_in_a_minute_over_all_workers() -> None:
    table, time = ConnectionTable(2), Time()
    workers = [Connections(100, 100, 5, column=table.column(number), monotonic=time) for number in range(2)]
    reasons = []
    for number in range(7):
        reasons.append(workers[number % 2].enter("192.0.2.1"))
        if not reasons[-1]:
            workers[number % 2].leave("192.0.2.1")
    assert reasons == [""] * 5 + ["too many connections a minute from this address"] * 2
    assert workers[0].enter("192.0.2.2") == ""
    time.now = 120.0
    assert workers[1].enter("192.0.2.1") == ""


@pytest.mark.parametrize(("address", "is_local"), [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True),
                                                   ("192.0.2.1", False), ("2001:db8::1", False)])  # fmt: skip
def test_only_this_machine_has_no_limit_by_default(address: str, is_local: bool) -> None:
    connections = Connections(10, 10, None)
    reasons = set()
    for _ in range(601):
        reasons.add(reason := connections.enter(address))
        if not reason:
            connections.leave(address)
    assert reasons == ({""} if is_local else {"", "too many connections a minute from this address"})


def test_a_limit_that_is_written_holds_for_this_machine_too() -> None:
    connections = Connections(10, 10, 1)
    assert connections.enter("127.0.0.1") == ""
    assert connections.enter("127.0.0.1") != ""


def test_no_limit_a_minute_can_be_asked_for() -> None:
    connections = Connections(10_000, 10_000, 0)
    assert {connections.enter("192.0.2.1") for _ in range(5000)} == {""}


def test_other_limits_hold_from_the_moment_they_are_given() -> None:
    connections = Connections(10, 3)
    for _ in range(3):
        assert connections.enter("192.0.2.1") == ""
    connections.adapt(10, 1)
    assert connections.enter("192.0.2.1") != ""
    for _ in range(3):
        connections.leave("192.0.2.1")
    assert connections.enter("192.0.2.1") == ""
    connections.adapt(10, 5, 1)
    assert connections.enter("192.0.2.1") == ""
    assert connections.enter("192.0.2.1") == "too many connections a minute from this address"


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8::1", "2001:db8::/64"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
    ],
)
def test_what_is_counted_as_one(address: str, network: str) -> None:
    assert network_of(address) == network
