"""Each policy: its yes, its no, the reply that says little, the reason that says all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from gatepost.model.address import parse_mailbox
from gatepost.model.envelope import Recipient, Transaction
from gatepost.model.identity import Identity, parse_sender_pattern
from gatepost.model.peer import Peer
from gatepost.model.verdict import ACCEPT, Hold, Refuse, Verdict
from gatepost.policy.chain import Chain
from gatepost.policy.null_sender import NullSender
from gatepost.policy.policy import Policy, Stage
from gatepost.policy.recipient import RecipientLimit
from gatepost.policy.sender import HeaderFrom, OwnSender
from gatepost.policy.size import DeclaredSize


def identity(*senders: str, **more: Any) -> Identity:
    return Identity("tim", "c1", "laptop", tuple(parse_sender_pattern(each) for each in senders), **more)


def transaction(who: Identity, reverse_path: str | None = "tim@example.org", **more: Any) -> Transaction:
    path = None if reverse_path is None else parse_mailbox(reverse_path)
    return Transaction(who, Peer("192.0.2.1", 4711, "submission"), path, **more)


async def asked(policy: Policy, about: Transaction) -> str:
    """Return the reply and the reason, or ``yes``."""
    verdict = policy.check(about)
    if verdict is ACCEPT:
        return "yes"
    assert isinstance(verdict, Refuse)
    return f"{verdict.reply} ({verdict.reason})"


OWN = identity("tim@example.org", "*@lists.example.org", "tim+vip@example.com")


@pytest.mark.rfc("6409 §6.1")
@pytest.mark.parametrize(
    "address",
    [
        "tim@example.org",
        "TIM@EXAMPLE.ORG",
        "tim+news@example.org",
        "tim+a+b@example.org",
        "anybody@lists.example.org",
        "tim+vip@example.com",
    ],
)
async def test_an_address_of_the_login_is_taken(address: str) -> None:
    assert await asked(OwnSender(), transaction(OWN, address)) == "yes"
    assert await asked(HeaderFrom(), transaction(OWN, header_from=(parse_mailbox(address),))) == "yes"


@pytest.mark.rfc("6409 §6.1")
@pytest.mark.parametrize(
    "address",
    [
        "tom@example.org",
        "tim@example.com",
        "tim@sub.example.org",
        "tim@sub.lists.example.org",
        "tim+other@example.com",
        "+tim@example.org",
        "tim-news@example.org",
        '"tim "@example.org',
        "tim@[192.0.2.1]",
        "tim@example.org.evil.example",
    ],
)
async def test_an_address_of_somebody_else_is_refused(address: str) -> None:
    mailbox = parse_mailbox(address)
    assert await asked(OwnSender(), transaction(OWN, address)) == (
        f"550 5.7.1 Sender address not allowed for this login (tim with credential laptop may not send as {mailbox})"
    )
    assert await asked(HeaderFrom(), transaction(OWN, header_from=(mailbox,))) == (
        "550 5.7.1 Address in the From field not allowed for this login "
        f"(tim with credential laptop may not write as {mailbox} in From)"
    )


async def test_a_detail_counts_only_with_the_separator_that_is_set() -> None:
    assert await asked(OwnSender(detail_separator="-"), transaction(OWN, "tim-news@example.org")) == "yes"
    assert await asked(OwnSender(detail_separator="-"), transaction(OWN, "tim+news@example.org")) != "yes"
    assert await asked(OwnSender(detail_separator=None), transaction(OWN, "tim+news@example.org")) != "yes"
    assert await asked(OwnSender(detail_separator=None), transaction(OWN, "tim@example.org")) == "yes"


async def test_a_credential_can_be_narrower_than_its_account() -> None:
    narrow = identity("*@example.org", only_senders=(parse_sender_pattern("robot@example.org"),))
    assert await asked(OwnSender(), transaction(narrow, "robot@example.org")) == "yes"
    assert await asked(OwnSender(), transaction(narrow, "tim@example.org")) != "yes"


async def test_a_login_without_senders_may_send_as_nobody_and_one_with_a_star_as_everybody() -> None:
    assert await asked(OwnSender(), transaction(identity())) != "yes"
    assert await asked(OwnSender(), transaction(identity("*"), "who@ever.example")) == "yes"


async def test_the_null_path_is_not_the_business_of_own_sender() -> None:
    assert await asked(OwnSender(), transaction(OWN, None)) == "yes"


async def test_every_author_and_the_sender_must_belong_to_the_login() -> None:
    mine, other = parse_mailbox("tim@example.org"), parse_mailbox("boss@example.org")
    policy = HeaderFrom()
    assert await asked(policy, transaction(OWN, header_from=(mine, mine), header_sender=mine)) == "yes"
    assert "boss@example.org in From" in await asked(policy, transaction(OWN, header_from=(mine, other)))
    assert "boss@example.org in Sender" in await asked(
        policy, transaction(OWN, header_from=(mine,), header_sender=other)
    )
    assert "boss@example.org in From" in await asked(policy, transaction(OWN, None, header_from=(other,)))


@pytest.mark.rfc("5321 §4.5.5")
@pytest.mark.parametrize(
    ("own", "default", "is_allowed"),
    [
        (None, False, False),
        (None, True, True),
        (True, False, True),
        (False, True, False),
    ],
)
async def test_the_account_decides_about_the_null_sender_before_the_server(
    own: bool | None, default: bool, is_allowed: bool
) -> None:
    policy = NullSender(allow=default)
    answer = await asked(policy, transaction(identity(null_sender=own), None))
    assert (answer == "yes") is is_allowed
    assert is_allowed or answer.startswith("550 5.7.1 Null sender not allowed for this login (tim used the null sender")
    assert await asked(policy, transaction(identity(null_sender=own))) == "yes"


def test_the_null_sender_is_denied_by_default() -> None:
    assert not NullSender()._allow


def with_recipients(number: int, who: Identity) -> Transaction:
    mailbox = Recipient(parse_mailbox("a@example.net"))
    return transaction(who, recipients=[mailbox] * number, pending=mailbox)


@pytest.mark.rfc("5321 §4.5.3.1.8")
@pytest.mark.rfc("5321 §4.5.3.1.10")
async def test_a_hundred_recipients_are_taken_by_default_and_one_more_is_not() -> None:
    assert await asked(RecipientLimit(), with_recipients(99, OWN)) == "yes"
    assert await asked(RecipientLimit(), with_recipients(100, OWN)) == (
        "452 4.5.3 Too many recipients, send the rest in another transaction (tim may have 100 recipients a message)"
    )


@pytest.mark.parametrize(("server", "own", "limit"), [(10, None, 10), (10, 3, 3), (10, 50, 10)])
async def test_the_smaller_limit_of_server_and_account_counts(server: int, own: int | None, limit: int) -> None:
    who = identity(max_recipients=own)
    assert await asked(RecipientLimit(server), with_recipients(limit - 1, who)) == "yes"
    assert await asked(RecipientLimit(server), with_recipients(limit, who)) != "yes"


@pytest.mark.rfc("1870 §6.1")
@pytest.mark.parametrize(("own", "limit"), [(None, 1000), (500, 500), (5000, 1000)])
async def test_a_declared_size_over_the_smaller_limit_is_refused(own: int | None, limit: int) -> None:
    policy, who = DeclaredSize(1000), identity(max_message_bytes=own)
    assert await asked(policy, transaction(who)) == "yes"
    assert await asked(policy, transaction(who, declared_size=0)) == "yes"
    assert await asked(policy, transaction(who, declared_size=limit)) == "yes"
    assert await asked(policy, transaction(who, declared_size=limit + 1)) == (
        f"552 5.3.4 Message too big ({limit + 1} octets declared, tim may send {limit})"
    )


class Fixed:
    """A policy that always says the same, and counts how often it was asked."""

    def __init__(self, verdict: Verdict, stage: Stage = Stage.MAIL) -> None:
        self.name = "fixed"
        self.stage = stage
        self.verdict = verdict
        self.asked = 0

    def check(self, transaction: Transaction) -> Verdict:
        self.asked += 1
        return self.verdict


class Waiting(Fixed):
    """One that asks somebody first."""

    def check(self, transaction: Transaction) -> Awaitable[Verdict]:  # type: ignore[override]
        return self._answer(super().check(transaction))

    async def _answer(self, verdict: Verdict) -> Verdict:
        await asyncio.sleep(0)
        return verdict


NO, NO_TOO = Refuse(Any, "first"), Refuse(Any, "second")  # type: ignore[arg-type]


async def test_a_chain_stops_at_the_first_no() -> None:
    policies = [Fixed(ACCEPT), Fixed(NO), Fixed(NO_TOO)]
    assert await Chain(policies).check(Stage.MAIL, transaction(OWN)) is NO
    assert [each.asked for each in policies] == [1, 1, 0]


async def test_a_chain_asks_each_policy_at_its_stage_only() -> None:
    policies = [Fixed(NO, Stage.RCPT), Fixed(ACCEPT, Stage.MAIL), Fixed(NO_TOO, Stage.HEADER)]
    chain = Chain(policies)
    assert await chain.check(Stage.MAIL, transaction(OWN)) is ACCEPT
    assert await chain.check(Stage.RCPT, transaction(OWN)) is NO
    assert await chain.check(Stage.HEADER, transaction(OWN)) is NO_TOO
    assert [each.asked for each in policies] == [1, 1, 1]


async def test_a_no_counts_more_than_a_hold_and_the_first_hold_counts() -> None:
    first, second = Hold("one"), Hold("two")
    assert await Chain([Fixed(first), Fixed(NO)]).check(Stage.MAIL, transaction(OWN)) is NO
    assert await Chain([Fixed(first), Fixed(second), Fixed(ACCEPT)]).check(Stage.MAIL, transaction(OWN)) is first


async def test_a_chain_waits_for_those_who_have_to_ask() -> None:
    first, second = Hold("one"), Hold("two")
    for kind, other in ((Fixed, Waiting), (Waiting, Fixed), (Waiting, Waiting)):
        policies = [kind(ACCEPT), other(first), kind(second), other(NO), kind(NO_TOO)]
        assert await Chain(policies).check(Stage.MAIL, transaction(OWN)) is NO
        assert [each.asked for each in policies] == [1, 1, 1, 1, 0]
        assert await Chain(policies[:3]).check(Stage.MAIL, transaction(OWN)) is first


async def test_what_is_no_verdict_is_no_yes() -> None:
    with pytest.raises(TypeError):
        await Chain([Fixed(None)]).check(Stage.MAIL, transaction(OWN))  # type: ignore[arg-type]


async def test_an_empty_chain_says_yes() -> None:
    assert await Chain([]).check(Stage.HEADER, transaction(OWN)) is ACCEPT
