"""What an account may send: which recipient is one too many, what is said then, and what comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatepost.model.address import parse_mailbox
from gatepost.model.envelope import Recipient, Transaction
from gatepost.model.identity import Identity
from gatepost.model.peer import Peer
from gatepost.model.verdict import ACCEPT, Refuse
from gatepost.policy.chain import Chain
from gatepost.policy.policy import Stage
from gatepost.policy.quota import Quota, RecipientQuota
from gatepost.policy.recipient import RecipientLimit
from gatepost.state.counters import Counters
from gatepost.state.database import Database
from identities import Clock


def transaction(recipients: int = 0, account: str = "tim") -> Transaction:
    made = Transaction(Identity(account, "c1"), Peer("192.0.2.1", 4711, "submission"), parse_mailbox("tim@example.org"))
    made.recipients = [Recipient(parse_mailbox(f"{number}@example.net")) for number in range(recipients)]
    return made


@pytest.fixture
def clock() -> Clock:
    return Clock(time=1_800_000_000.0 // 3600 * 3600)


@pytest.fixture
def counters(clock: Clock) -> Counters:
    # No file: this process counts by itself.
    return Counters(Database(Path("/nowhere/state.db")), clock)


async def test_a_recipient_that_is_too_many_is_refused_and_those_before_it_stand(counters: Counters) -> None:
    policy = RecipientQuota(counters, 3, 0)
    assert [policy.check(transaction(number)) is ACCEPT for number in range(5)] == [True] * 3 + [False] * 2


@pytest.mark.rfc("5321 §4.2.1")
async def test_the_reply_lets_the_client_try_again_and_tells_no_more(counters: Counters) -> None:
    assert await Quota(counters, 3, 0).check(transaction(3)) is ACCEPT
    here, last = RecipientQuota(counters, 3, 0), Quota(counters, 3, 0)
    for verdict in (here.check(transaction(1)), await last.check(transaction(1))):
        assert isinstance(verdict, Refuse)
        assert str(verdict.reply) == "451 4.7.1 Too many recipients in a day, try again in 25 h"
        assert verdict.reason == "tim may have 3 recipients in a day"


async def test_messages_are_counted_too(counters: Counters, clock: Clock) -> None:
    policies = Chain([RecipientQuota(counters, 0, 2), Quota(counters, 0, 2)])
    for _ in range(2):
        assert await policies.check(Stage.RCPT, transaction(0)) is ACCEPT
        assert await policies.check(Stage.HEADER, transaction(50)) is ACCEPT
    for stage in (Stage.RCPT, Stage.HEADER):
        verdict = await policies.check(stage, transaction(1))
        assert isinstance(verdict, Refuse)
        assert str(verdict.reply) == "451 4.7.1 Too many messages in a minute, try again in 2 min"
    clock.time += 30.0
    verdict = await policies.check(Stage.RCPT, transaction(1))
    assert isinstance(verdict, Refuse)
    assert str(verdict.reply).endswith("try again in 40 s")


async def test_other_accounts_and_sessions_without_a_login_are_not_counted(counters: Counters) -> None:
    policies = Chain([RecipientQuota(counters, 1, 1), Quota(counters, 1, 1)])
    assert await policies.check(Stage.HEADER, transaction(1)) is ACCEPT
    assert await policies.check(Stage.RCPT, transaction(0)) is not ACCEPT
    assert await policies.check(Stage.RCPT, transaction(0, "ann")) is ACCEPT
    for _ in range(3):
        assert await policies.check(Stage.RCPT, transaction(0, "")) is ACCEPT
        assert await policies.check(Stage.HEADER, transaction(1, "")) is ACCEPT
    policies.undo(transaction(1, ""))


async def test_a_message_that_could_not_be_kept_costs_nothing(counters: Counters) -> None:
    policies = Chain([RecipientLimit(10), Quota(counters, 5, 1)])
    for _ in range(3):
        assert await policies.check(Stage.HEADER, transaction(5)) is ACCEPT
        assert await policies.check(Stage.HEADER, transaction(1)) is not ACCEPT
        policies.undo(transaction(5))


def test_nobody_has_to_wait_at_rcpt(counters: Counters) -> None:
    assert Chain([RecipientQuota(counters, 1, 1), Quota(counters, 1, 1)]).is_immediate
    assert RecipientQuota(counters, 1, 1).check(transaction(0)) is ACCEPT


def limited(rate: int, recipients: int = 1, credential: str = "c1") -> Transaction:
    made = transaction(recipients)
    made.identity = Identity("tim", credential, label="alarm box", messages_per_minute=rate)
    return made


async def test_a_credential_has_a_rate_of_its_own_beside_that_of_its_account(counters: Counters, clock: Clock) -> None:
    policies = Chain([RecipientQuota(counters, 0, 0), Quota(counters, 0, 0)])
    for _ in range(2):
        assert await policies.check(Stage.RCPT, limited(2)) is ACCEPT
        assert await policies.check(Stage.HEADER, limited(2)) is ACCEPT
    for stage in (Stage.RCPT, Stage.HEADER):
        verdict = await policies.check(stage, limited(2))
        assert isinstance(verdict, Refuse)
        assert str(verdict.reply).startswith("451 4.7.1 Too many messages in a minute, try again in ")
        assert verdict.reason == "tim with credential alarm box may have 2 messages in a minute"
    # Others of the account go on, and it does when the minute is over.
    assert await policies.check(Stage.HEADER, limited(2, credential="c2")) is ACCEPT
    assert await policies.check(Stage.HEADER, transaction(1)) is ACCEPT
    clock.time += 70
    assert await policies.check(Stage.HEADER, limited(2)) is ACCEPT


async def test_what_the_account_or_the_spool_refuses_costs_the_credential_nothing(counters: Counters) -> None:
    policies = Chain([Quota(counters, 3, 0)])
    for _ in range(5):
        assert isinstance(await policies.check(Stage.HEADER, limited(2, recipients=4)), Refuse)
    for _ in range(5):
        assert await policies.check(Stage.HEADER, limited(2)) is ACCEPT
        policies.undo(limited(2))
    assert await policies.check(Stage.HEADER, limited(2)) is ACCEPT
