"""Connections that all workers share: never more than there may be, and nobody keeps them from the others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gatepost.errors import ConfigError
from gatepost.state.outgoing import Outgoing, OutgoingShare


class Node:
    """Some workers of one node, and their clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.time = 0.0
        self.workers: list[Outgoing] = []

    def start(self, count: int) -> list[Outgoing]:
        self.workers = [Outgoing(self.folder, number, count, lambda: self.time) for number in range(count)]
        return self.workers

    def shares(self, count: int, limit: int) -> list[OutgoingShare]:
        return [each.share("next", limit) for each in self.start(count)]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    for each in made.workers:
        each.close()


def take_all(share: OutgoingShare) -> int:
    count = 0
    while share.take("pool"):
        count += 1
    return count


def test_the_limit_holds_over_all_workers(node: Node) -> None:
    one, two, three = node.shares(3, 5)
    assert [take_all(each) for each in (one, two, three)] == [5, 0, 0]
    one.give_back()
    assert two.take("pool")
    assert not three.take("pool")


def test_next_hops_do_not_share(node: Node) -> None:
    one, two = node.start(2)
    assert take_all(one.share("a", 2)) == 2
    assert take_all(two.share("b", 2)) == 2
    assert one.share("a", 2) is one.share("a", 2)


def test_what_a_dead_worker_held_is_free(node: Node) -> None:
    one, two = node.shares(2, 4)
    assert take_all(one) == 4
    node.workers[0].close()
    assert take_all(two) == 4


def test_who_has_more_than_its_part_makes_room_for_who_wants_one(node: Node) -> None:
    one, two = node.shares(2, 4)
    assert take_all(one) == 4
    assert not one.must_yield("pool"), "nobody wants one"
    assert not two.take("pool")
    two.wait("pool", is_waiting=True)
    node.time += 1
    given = 0
    while one.must_yield("pool"):
        one.give_back()
        given += 1
        assert not one.take("pool"), "it is for the other"
    assert given == 2
    assert take_all(two) == 2, "and no more than its part while the first wants more"
    node.time += 1
    assert not two.must_yield("pool")
    assert not one.must_yield("pool")
    node.time += 1
    two.give_back()
    assert one.take("pool"), "what nobody wants is free for all"


def test_fewer_connections_than_workers_go_round(node: Node) -> None:
    shares = node.shares(3, 1)
    assert shares[0].take("pool")
    for each in shares[1:]:
        each.wait("pool", is_waiting=True)
    node.time += 1
    assert shares[0].must_yield("pool")
    shares[0].give_back()
    shares[0].wait("pool", is_waiting=True)
    assert not shares[0].take("pool"), "the others come first"
    assert shares[1].take("pool")
    node.time += 1
    assert shares[1].must_yield("pool")
    shares[1].give_back()
    assert not shares[1].take("pool")
    assert shares[2].take("pool")


def test_a_route_that_takes_the_place_of_another_gets_its_connections(node: Node) -> None:
    (share,) = node.shares(1, 1)
    assert share.take("old")
    assert not share.must_yield("old")
    assert not share.take("new")
    share.wait("new", is_waiting=True)
    assert share.must_yield("old")
    share.give_back()
    assert share.take("new")
    assert not share.must_yield("new")


def test_a_lower_limit_holds_once_those_beyond_it_are_given_back(node: Node) -> None:
    (share,) = node.shares(1, 4)
    assert take_all(share) == 4
    assert node.workers[0].share("next", 2) is share
    for _ in range(2):
        share.give_back()
        assert not share.take("pool")
    share.give_back()
    assert share.take("pool")


def test_after_the_end_giving_back_is_harmless(node: Node) -> None:
    (share,) = node.shares(1, 2)
    assert share.take("pool")
    node.workers[0].close()
    node.workers[0].close()
    share.give_back()
    share.wait("pool", is_waiting=True)
    share.wait("pool", is_waiting=False)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="outgoing-connections: cannot be opened"):
        Outgoing(tmp_path / "missing", 0, 1, lambda: 0.0)
