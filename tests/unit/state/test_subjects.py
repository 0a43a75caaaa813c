"""Whom a failed login is counted against."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.state.slots import SLOT_LIMIT, first_slot
from gatepost.state.subjects import SLICES, LoginLimits, Subject, named, places_of, plan_of, window

LIMITS = LoginLimits()


@pytest.mark.rfc("6177 §2")
@pytest.mark.parametrize(
    ("address", "counted", "network"),
    [
        ("192.0.2.7", "192.0.2.7", "192.0.2.0/24"),
        ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/64", "fe80::/48"),
    ],
)
def test_an_address_is_counted_as_its_link_and_its_site(address: str, counted: str, network: str) -> None:
    places = places_of(address)
    assert (places.address, places.network, places.is_exempt) == (counted, network, False)


@pytest.mark.parametrize("address", ["", "/run/socket", "999.1.1.1"])
def test_what_is_no_address_is_not_counted_as_one(address: str) -> None:
    assert places_of(address).is_exempt
    assert [each.key for each in plan_of(places_of(address), "tim", LIMITS, is_at_home=False).subjects] == ["l tim"]


def test_an_exempt_network_is_counted_by_its_logins_only() -> None:
    exempt = (ipaddress.ip_network("192.0.2.0/28"), ipaddress.ip_network("2001:db8::/32"))
    assert places_of("192.0.2.15", exempt).is_exempt
    assert places_of("::ffff:192.0.2.15", exempt).is_exempt
    assert places_of("2001:db8:9::1", exempt).is_exempt
    assert not places_of("192.0.2.16", exempt).is_exempt
    plan = plan_of(places_of("192.0.2.15", exempt), "tim", LIMITS, is_at_home=False)
    assert [each.key for each in plan.subjects] == ["l tim"]


def test_a_plan_names_address_network_and_login() -> None:
    plan = plan_of(places_of("192.0.2.7"), "tim", LIMITS, is_at_home=False)
    assert [(each.key, each.limit) for each in plan.subjects] == [
        ("a 192.0.2.7", 100),
        ("n 192.0.2.0/24", 1000),
        ("l tim", 200),
    ]
    assert plan.keys == ("a 192.0.2.7", "n 192.0.2.0/24", "l tim")


def test_a_login_at_home_is_counted_for_that_address_alone() -> None:
    plan = plan_of(places_of("192.0.2.7"), "tim ok", LIMITS, is_at_home=True)
    assert plan.subjects[-1].key == "h 192.0.2.7 tim ok"
    assert plan.is_at_home


def test_a_limit_of_nothing_counts_nothing() -> None:
    none = LoginLimits(per_address=0, per_network=0, per_login=0)
    plan = plan_of(places_of("192.0.2.7"), "tim", none, is_at_home=True)
    assert (plan.subjects, plan.keys, plan.is_at_home) == ((), ("", "", ""), False)


def test_who_claims_no_name_is_counted_by_address() -> None:
    plan = plan_of(places_of("192.0.2.7"), "", LIMITS, is_at_home=False)
    assert [each.key[0] for each in plan.subjects] == ["a", "n"]


@pytest.mark.parametrize(
    ("key", "meaning"),
    [
        ("a 192.0.2.7", ("address", "192.0.2.7")),
        ("n 192.0.2.0/24", ("network", "192.0.2.0/24")),
        ("l tim x", ("login", "tim x")),
        ("h 192.0.2.7 tim x", ("login at home", "192.0.2.7 tim x")),
    ],
)
def test_a_key_says_what_it_stands_for(key: str, meaning: tuple[str, str]) -> None:
    assert named(key) == meaning


@given(st.integers(1, 1_000_000))
def test_slots_and_failures_on_record_fit_below_the_limit(limit: int) -> None:
    subject = Subject("a x", limit)
    # The last failure on record that still lets somebody take a slot, and all slots taken.
    assert subject.threshold - 1 + subject.slots < limit
    assert subject.threshold >= 1
    assert subject.slots <= SLOT_LIMIT


@given(st.text(), st.text())
def test_slots_of_two_subjects_do_not_overlap_in_part(one: str, other: str) -> None:
    distance = abs(first_slot(one) - first_slot(other))
    assert distance == 0 or distance >= SLOT_LIMIT


@given(st.floats(60, 7 * 86_400), st.floats(1e9, 3e9), st.floats(0, 20 * 86_400))
def test_a_failure_counts_for_a_window_and_not_much_longer(seconds: float, then: float, later: float) -> None:
    limits = LoginLimits(window=seconds)
    failed_in, _, _ = window(limits, then)
    _, first, last = window(limits, then + later)
    counts = first <= failed_in <= last
    width = seconds / SLICES + 1
    if later < seconds:
        assert counts
    if later > seconds + 2 * width + 20:
        assert not counts


def test_a_clock_that_was_put_back_forgives_nobody() -> None:
    then, _, _ = window(LIMITS, 2e9)
    _, first, last = window(LIMITS, 2e9 - 3000)
    assert first <= then <= last
