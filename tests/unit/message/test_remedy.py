"""What people are told to do."""

from __future__ import annotations

import pytest

from gatepost.message.remedy import remedy


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ("5.1.1", "address"),
        ("5.1.10", "address"),
        ("5.2.2", "full"),
        ("5.3.4", "smaller"),
        ("4.4.7", "later"),
        ("5.6.7", "another address"),
        ("5.7.1", "whoever looks after your mail"),
        ("5.0.0", "whoever looks after your mail"),
        ("5.999.999", "whoever looks after your mail"),
    ],
)
def test_each_status_has_something_that_people_can_do(status: str, word: str) -> None:
    assert word in remedy(status)
