"""Whom a credential may write to."""

from __future__ import annotations

import pytest

from gatepost.model.address import parse_mailbox
from gatepost.model.envelope import Recipient, Transaction
from gatepost.model.identity import Identity, parse_sender_pattern
from gatepost.model.peer import Peer
from gatepost.model.verdict import ACCEPT, Refuse
from gatepost.policy.recipient import AllowedRecipients


def asking(recipient: str, *patterns: str) -> Transaction:
    only = tuple(parse_sender_pattern(each) for each in patterns)
    identity = Identity("tim", "c1", label="alarm box", only_recipients=only)
    made = Transaction(identity, Peer("192.0.2.1", 4711, "submission"), parse_mailbox("tim@example.org"))
    made.pending = Recipient(parse_mailbox(recipient))
    return made


@pytest.mark.parametrize(
    ("recipient", "patterns"),
    [
        ("bob@example.net", ()),
        ("bob@example.net", ("*",)),
        ("Bob@EXAMPLE.net", ("bob@example.net",)),
        ("bob@example.net", ("ops@example.org", "*@example.net")),
    ],
)
async def test_whom_it_may_write_to_is_taken(recipient: str, patterns: tuple[str, ...]) -> None:
    assert AllowedRecipients().check(asking(recipient, *patterns)) is ACCEPT


@pytest.mark.parametrize("recipient", ["bob@example.net", "ops@sub.example.org", "ops2@example.org"])
async def test_others_are_refused_and_the_log_says_why(recipient: str) -> None:
    verdict = AllowedRecipients().check(asking(recipient, "ops@example.org"))
    assert isinstance(verdict, Refuse)
    assert str(verdict.reply) == "550 5.7.1 Recipient not allowed for this login"
    assert verdict.reason == f"tim with credential alarm box may not write to {recipient}"
