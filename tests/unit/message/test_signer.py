"""Who signs for whom, and with which key at which moment."""

from __future__ import annotations

from gatepost.message.dkim import SigningKey
from gatepost.message.signer import ScheduledKey, Signer, in_use
from gatepost.model.address import parse_mailbox
from queue_world import START, JumpingClock
from signatures import MESSAGES, domain_keys, make_signer, records, verified

PLAIN = b"".join(MESSAGES["plain"])


def key(selector: str, signs_from: float | None, algorithm: str = "rsa-sha256") -> ScheduledKey:
    return ScheduledKey(SigningKey("example.org", selector, algorithm, lambda digest: digest), signs_from)


def selectors(keys: list[ScheduledKey], now: float) -> list[str]:
    return [each.selector for each in in_use(keys, now)]


def test_of_each_kind_the_key_signs_that_took_over_last() -> None:
    keys = [key("e", 10.0, "ed25519-sha256"), key("a", 10.0), key("b", 20.0), key("c", None), key("d", 30.0)]
    assert selectors(keys, 9.0) == []
    assert selectors(keys, 10.0) == ["a", "e"]
    assert selectors(keys, 29.0) == ["b", "e"]
    assert selectors(keys, 30.0) == ["d", "e"]


def test_of_two_that_took_over_at_once_the_later_one_signs() -> None:
    assert selectors([key("a", 10.0), key("b", 10.0)], 10.0) == ["b"]


def test_an_older_key_that_stands_behind_does_not_sign() -> None:
    assert selectors([key("a", 20.0), key("b", 10.0)], 30.0) == ["a"]


def test_a_switch_that_was_planned_needs_nobody() -> None:
    clock = JumpingClock()
    signer = Signer(clock, {"example.org": [key("a", START), key("b", START + 60)]})
    authors = [parse_mailbox("tim@example.org")]
    assert [each.selector for each in signer.choose(authors)] == ["a"]
    clock.time += 60
    assert [each.selector for each in signer.choose(authors)] == ["b"]


def test_the_first_author_whose_domain_has_a_key_that_signs_is_signed_for() -> None:
    signer = Signer(JumpingClock(), {**domain_keys("example.org", "b.example"), "c.example": [key("a", None)]})
    authors = [parse_mailbox(f"tim@{each}") for each in ("example.net", "c.example", "B.Example", "example.org")]
    assert {each.domain for each in signer.choose(authors)} == {"b.example"}
    assert signer.choose(authors[:2]) == ()


def test_it_says_why_nobody_signs() -> None:
    signer = Signer(JumpingClock(), {"c.example": [key("a", None)], "xn--bcher-kva.example": [key("a", None)]})

    def why_not(*domains: str) -> str:
        return signer.why_not([parse_mailbox(f"tim@{each}") for each in domains])

    assert why_not("example.net") == "no key"
    assert why_not("example.net", "C.Example") == "waiting"
    assert why_not("bücher.example") == "waiting"


def test_a_domain_signs_for_none_below_it() -> None:
    assert make_signer().choose([parse_mailbox("tim@news.example.org")]) == ()


def test_an_internationalised_domain_is_known_by_its_a_labels() -> None:
    signer = make_signer("xn--mller-kva.example")
    content = PLAIN.replace(b"tim@example.org", "tim@müller.example".encode())
    made, count = signer.sign_whole(content)
    assert count == 2
    assert verified(made, records("xn--mller-kva.example")) == [True, True]


def test_a_message_of_nobody_we_know_stays_as_it_is() -> None:
    assert make_signer("elsewhere.example").sign_whole(PLAIN) == (PLAIN, 0)
    assert Signer(JumpingClock()).sign_whole(PLAIN) == (PLAIN, 0)


def test_signatures_come_off_again() -> None:
    made, count = make_signer().sign_whole(PLAIN)
    assert made != PLAIN
    assert Signer.unsigned(made, count) == PLAIN


def test_other_keys_count_at_once() -> None:
    signer = Signer(JumpingClock())
    signer.adapt(domain_keys(), frozenset({b"date"}))
    made, _ = signer.sign_whole(PLAIN)
    assert verified(made.replace(b"Date: Mon, 1", b"Date: Mon, 8")) == [True, True]
