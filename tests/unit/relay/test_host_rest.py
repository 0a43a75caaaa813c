"""Hosts that fail rest, ever longer, and are probed by one at a time."""

from __future__ import annotations

from gatepost.model.delivery import RemoteReply
from gatepost.relay.host_rest import HostRest

DOWN = RemoteReply.ours(451, "4.4.1", "connection refused")


def test_a_host_that_fails_rests_ever_longer_up_to_five_minutes() -> None:
    rest, now, rests = HostRest("a:25"), 100.0, []
    for _ in range(9):
        assert rest.fail(DOWN, now, now + 1)
        assert not rest.is_ready(rest.until - 0.1)
        rests.append(rest.until - now - 1)
        now = rest.until
    assert rests == [5, 10, 20, 40, 80, 160, 300, 300, 300]


def test_those_that_were_under_way_when_it_failed_count_once() -> None:
    rest = HostRest("a:25")
    assert rest.fail(DOWN, 100, 101)
    assert not any(rest.fail(DOWN, began, 102) for began in (99, 100, 101))
    assert rest.until == 106
    assert not rest.work(100)
    assert not rest.is_ready(102)


def test_one_delivery_probes_it_after_its_rest() -> None:
    rest = HostRest("a:25")
    rest.fail(DOWN, 100, 101)
    assert rest.is_ready(106)
    rest.begin()
    assert not rest.is_ready(107)
    rest.end(106)
    assert rest.is_ready(107)
    rest.begin()
    assert rest.work(107)
    assert rest.is_ready(107)
    assert not rest.work(108)
    assert rest.last_reply is None


def test_a_try_in_the_moment_in_which_it_failed_does_not_pass_for_a_probe_for_ever() -> None:
    rest = HostRest("a:25")
    rest.fail(DOWN, 100, 101)
    rest.begin()  # the other hosts are down, too
    assert not rest.fail(DOWN, 101, 101)
    rest.end(101)
    assert rest.is_ready(106)


def test_what_works_starts_anew_with_a_short_rest() -> None:
    rest = HostRest("a:25")
    rest.fail(DOWN, 100, 101)
    rest.fail(DOWN, 110, 111)
    assert rest.until == 121
    rest.work(130)
    rest.fail(DOWN, 140, 141)
    assert rest.until == 146
