"""Facts about the other end of a connection."""

from __future__ import annotations

import pytest

from gatepost.model.peer import plain_address


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:0:1", "::ffff:0:1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("", ""),
    ],
)
def test_an_ipv4_client_of_a_socket_for_both_is_shown_as_one(shown: str, expected: str) -> None:
    assert plain_address(shown) == expected
