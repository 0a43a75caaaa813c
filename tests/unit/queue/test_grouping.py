"""Recipients by route."""

from __future__ import annotations

import pytest

from gatepost.model.address import parse_mailbox
from gatepost.model.delivery import Cause, Deferred, RemoteReply
from gatepost.model.envelope import Envelope, MessageId, Recipient
from gatepost.queue.grouping import NO_ROUTE, group, is_left_over
from gatepost.relay.transport import Delivery
from memory_spool import MemoryContent
from queue_world import LATER, OK, ByDomain, Way

ROUTES = ByDomain({"a.example": Way("a", None), "b.example": Way("b", None)})


def envelope(*recipients: str) -> Envelope:
    return Envelope(None, tuple(Recipient(parse_mailbox(each)) for each in recipients))


def grouped(of: Envelope, limit: int = 100) -> list[tuple[str, tuple[int, ...]]]:
    groups = group(of, range(len(of.recipients)), ROUTES, limit)
    return [(each.route.name, each.indices) for each in groups]


def test_one_recipient_is_one_group() -> None:
    assert grouped(envelope("x@a.example")) == [("a", (0,))]


def test_those_who_share_a_route_go_together_in_their_order() -> None:
    assert grouped(envelope("1@a.example", "2@b.example", "3@a.example")) == [("a", (0, 2)), ("b", (1,))]


def test_a_group_is_split_at_the_limit() -> None:
    groups = grouped(envelope(*[f"{number}@a.example" for number in range(5)]), 2)
    assert groups == [("a", (0, 1)), ("a", (2, 3)), ("a", (4,))]


def test_only_those_who_are_asked_for_are_grouped() -> None:
    of = envelope("1@a.example", "2@b.example", "3@a.example")
    assert [each.indices for each in group(of, [2], ROUTES, 9)] == [(2,)]
    assert group(of, [], ROUTES, 9) == []


@pytest.mark.parametrize("others", [(), ("1@a.example",)])
@pytest.mark.rfc("3463 §3.4")
async def test_recipients_without_a_route_are_deferred_by_the_configuration(others: tuple[str, ...]) -> None:
    of = envelope(*others, "2@c.example")
    last = group(of, range(len(of.recipients)), ROUTES, 9)[-1]
    assert last.route is NO_ROUTE
    delivery = Delivery(MessageId("m"), of, of.recipients[-1:], MemoryContent(b""))
    [result] = await NO_ROUTE.transport.deliver(delivery)
    assert isinstance(result, Deferred)
    assert result.cause is Cause.ROUTE
    assert str(result.reply) == "451 4.3.5 No route is configured for 2@c.example"
    await NO_ROUTE.close()


@pytest.mark.rfc("5321 §4.5.3.1.10")
def test_a_452_is_left_over_only_beside_somebody_who_was_taken() -> None:
    too_many = Deferred(RemoteReply.parse(452, "4.5.3 too many recipients"))
    assert is_left_over(too_many, [OK, too_many])
    assert not is_left_over(too_many, [too_many, LATER])
    assert not is_left_over(LATER, [OK, LATER])
    assert not is_left_over(OK, [OK])
