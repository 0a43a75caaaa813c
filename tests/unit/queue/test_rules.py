"""Which schedule holds, and how urgent a message is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from gatepost.model.address import parse_mailbox
from gatepost.model.envelope import Envelope, Recipient
from gatepost.model.priority import Priority
from gatepost.queue.retry import Schedule
from gatepost.queue.rules import Patience, Rule, Rules

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
USUAL = Schedule((HOUR,), 5 * DAY)


def mail(account: str = "", credential: str = "") -> Envelope:
    return Envelope(None, (Recipient(parse_mailbox("a@example.net")),), account=account, credential=credential)


def test_without_rules_all_mail_is_handled_alike() -> None:
    rules = Rules(USUAL)
    assert rules.of(mail("tim"), "main") is USUAL
    assert rules.priority(mail("tim")) is Priority.NORMAL


def test_the_first_rule_for_an_account_or_credential_holds() -> None:
    rules = Rules(
        USUAL,
        [
            Rule(credentials=frozenset({"c1"}), priority=Priority.HIGH, patience=Patience((MINUTE,), HOUR)),
            Rule(accounts=frozenset({"tim"}), priority=Priority.LOW),
        ],
    )
    assert [rules.priority(mail(*who)) for who in (("tim", "c1"), ("tim", "c2"), ("ann", "c3"), ("", ""))] == [
        Priority.HIGH,
        Priority.LOW,
        Priority.NORMAL,
        Priority.NORMAL,
    ]
    assert rules.of(mail("tim", "c1"), "main") == Schedule((MINUTE,), HOUR)
    assert rules.of(mail("tim", "c2"), "main") == USUAL
    assert rules.of(mail("tim", "c1"), "main") is rules.of(mail("ann", "c1"), "main"), "it is made once"


def test_a_credential_is_named_by_id_or_label() -> None:
    rules = Rules(USUAL, [Rule(credentials=frozenset({"resets"}), priority=Priority.HIGH)])
    labelled = replace(mail("tim", "c7"), label="resets")
    assert rules.priority(labelled) is Priority.HIGH
    assert rules.priority(replace(labelled, label="Resets")) is Priority.NORMAL
    assert rules.priority(mail("tim", "c7")) is Priority.NORMAL


def test_our_own_notifications_are_nobodys() -> None:
    rules = Rules(USUAL, [Rule(accounts=frozenset({""}), credentials=frozenset({""}), priority=Priority.LOW)])
    assert rules.priority(mail()) is Priority.NORMAL


def test_what_a_rule_leaves_open_the_route_says_and_then_what_is_usual() -> None:
    rules = Rules(
        USUAL,
        [Rule(accounts=frozenset({"tim"}), patience=Patience(give_up_after=HOUR))],
        {"slow": Patience((2 * HOUR,), 3 * DAY), "plain": Patience()},
    )
    assert rules.of(mail("tim"), "slow") == Schedule((2 * HOUR,), HOUR)
    assert rules.of(mail("ann"), "slow") == Schedule((2 * HOUR,), 3 * DAY)
    assert rules.of(mail("tim"), "plain") == Schedule((HOUR,), HOUR)
    assert rules.of(mail("ann"), "plain") == USUAL
