"""Envelopes, transactions, verdicts and peers: values with their defaults."""

from __future__ import annotations

import dataclasses

import pytest

from gatepost.model import clock
from gatepost.model.address import parse_mailbox
from gatepost.model.envelope import Body, Envelope, MessageId, Receipt, Recipient, Transaction
from gatepost.model.identity import Identity
from gatepost.model.peer import Peer, TlsFacts
from gatepost.model.reply import NOT_YOUR_ADDRESS
from gatepost.model.verdict import ACCEPT, Accept, Hold, Refuse

TIM = parse_mailbox("tim@example.org")
PEER = Peer("192.0.2.1", 50000, "submission", TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256))


def test_an_envelope_is_7bit_ascii_and_not_for_the_sandbox_unless_told() -> None:
    envelope = Envelope(None, (Recipient(TIM),))
    assert (envelope.body, envelope.smtputf8, envelope.sandbox) == (Body.SEVEN_BIT, False, False)


@pytest.mark.rfc("6152 §2")
def test_a_body_has_the_words_of_the_wire() -> None:
    assert [Body(word) for word in ("7BIT", "8BITMIME")] == [Body.SEVEN_BIT, Body.EIGHT_BIT]


def test_a_recipient_prints_as_its_mailbox() -> None:
    assert str(Recipient(TIM)) == "tim@example.org"


def test_transactions_do_not_share_their_recipients() -> None:
    one, other = (Transaction(Identity("tim", "1"), PEER, TIM) for _ in range(2))
    one.recipients.append(Recipient(TIM))
    assert other.recipients == []


@pytest.mark.parametrize(
    "value",
    [
        Receipt(MessageId("0abc"), 1),
        PEER,
        ACCEPT,
        Refuse(NOT_YOUR_ADDRESS, "x"),
        Hold("x"),
        NOT_YOUR_ADDRESS,
        TIM,
        Identity("tim", "1"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_cannot_be_changed(value: object) -> None:
    for name in type(value).__slots__ or ("anything",):  # type: ignore[attr-defined]
        with pytest.raises((dataclasses.FrozenInstanceError, TypeError)):
            setattr(value, name, None)


def test_one_acceptance_is_as_good_as_another() -> None:
    assert Accept() == ACCEPT


def test_a_clock_is_an_interface_only() -> None:
    assert clock.__all__ == ["Clock"]
    assert clock.Clock._is_protocol  # type: ignore[attr-defined]
