"""Which replies mean trouble for the whole connection, and whose."""

from __future__ import annotations

import pytest

from gatepost.model.delivery import Cause, RemoteReply
from gatepost.relay.trouble import next_hop_trouble, reply_trouble, route_trouble


@pytest.mark.rfc("5321 §3.8")
@pytest.mark.parametrize(
    ("code", "text", "cause"),
    [
        (421, "4.3.2 closing", Cause.NEXT_HOP),
        (432, "4.3.2 too many connections", Cause.NEXT_HOP),
        (530, "5.7.0 login first", Cause.ROUTE),
        (534, "5.7.9 too weak", Cause.ROUTE),
        (535, "5.7.8 wrong", Cause.ROUTE),
        (538, "5.7.11 TLS first", Cause.ROUTE),
    ],
)
def test_replies_about_everything(code: int, text: str, cause: Cause) -> None:
    trouble = reply_trouble(RemoteReply.parse(code, text))
    assert trouble is not None
    assert trouble.cause is cause
    assert trouble.reply.text == text


@pytest.mark.parametrize("code", [250, 354, 432, 450, 451, 452, 454, 550, 552, 554])
def test_replies_about_one_message(code: int) -> None:
    assert reply_trouble(RemoteReply.parse(code, "whatever")) is None


def test_our_own_words_are_temporary() -> None:
    assert next_hop_trouble("4.4.1", "away").reply == RemoteReply.ours(451, "4.4.1", "away")
    assert route_trouble("4.7.0", "no").cause is Cause.ROUTE
    assert str(route_trouble("4.7.0", "no")) == "454 4.7.0 no"
