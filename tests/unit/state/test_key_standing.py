"""Where a key stands at a moment, and what new ones are called."""

from __future__ import annotations

from gatepost.message.dkim_key import make_key, signing_key
from gatepost.message.signer import ScheduledKey, in_use
from gatepost.state.key_standing import new_selector, standings
from gatepost.state.signing_keys import StoredKey

PRIVATE = {kind: make_key(kind) for kind in ("rsa", "ed25519")}


def key(selector: str, signs_from: float | None, kind: str = "rsa") -> StoredKey:
    return StoredKey(selector, kind, 0.0, signs_from, PRIVATE[kind])


def shown(keys: list[StoredKey], now: float) -> list[tuple[str, str, float | None]]:
    return [(each.key.selector, each.state.value, each.keep_until) for each in standings(keys, now, 100.0)]


def test_a_key_waits_signs_retires_and_is_over() -> None:
    keys = [key("a", 10.0), key("b", 50.0), key("e", 10.0, "ed25519"), key("n", None)]
    assert shown(keys, 9.0) == [
        ("a", "waiting", None),
        ("b", "waiting", None),
        ("e", "waiting", None),
        ("n", "waiting", None),
    ]
    assert shown(keys, 10.0)[:3] == [("a", "signs", None), ("b", "waiting", None), ("e", "signs", None)]
    assert shown(keys, 50.0)[:3] == [("a", "retired", 150.0), ("b", "signs", None), ("e", "signs", None)]
    assert shown(keys, 149.0)[0] == ("a", "retired", 150.0)
    assert shown(keys, 150.0)[0] == ("a", "over", 150.0)
    assert shown(keys, 1e9)[3] == ("n", "waiting", None)


def test_a_key_is_kept_from_when_the_next_one_took_over_and_not_the_last() -> None:
    assert shown([key("a", 10.0), key("b", 20.0), key("c", 30.0)], 40.0) == [
        ("a", "retired", 120.0),
        ("b", "retired", 130.0),
        ("c", "signs", None),
    ]


def test_who_is_said_to_sign_is_who_signs() -> None:
    keys = [key("a", 10.0), key("b", 10.0), key("c", 5.0), key("e", 1.0, "ed25519"), key("f", 99.0)]
    for now in (0.0, 5.0, 10.0, 99.0):
        scheduled = [ScheduledKey(signing_key("d", each.selector, each.private), each.signs_from) for each in keys]
        assert {each[0] for each in shown(keys, now) if each[1] == "signs"} == {
            each.selector for each in in_use(scheduled, now)
        }


def test_a_new_selector_is_one_that_is_not_taken() -> None:
    assert new_selector("rsa", "20261121", []) == "gp20261121rsa"
    taken = [key("GP20261121rsa", 0.0), key("gp20261121-2rsa", 0.0)]
    assert new_selector("rsa", "20261121", taken) == "gp20261121-3rsa"
