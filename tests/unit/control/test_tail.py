"""Which events a follower gets, and what becomes of those that come too fast."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gatepost.control.tail import Tail, Wanted, parse_wanted
from gatepost.errors import Malformed
from gatepost.observe.events import (
    BounceQueued,
    CommandRefused,
    MessageAccepted,
    MessageFinished,
    RecipientDeferred,
    RecipientFailed,
    SessionClosed,
    SpoolTroubled,
)

ACCEPTED: dict[str, Any] = {
    "peer": "192.0.2.1",
    "credential": "c1",
    "sender": "tim@example.org",
    "recipients": ("ann@example.net",),
    "size": 100,
    "header_message_id": "<a@b>",
    "seconds": 0.1,
}


def accepted(session: str, login: str, message: str) -> MessageAccepted:
    return MessageAccepted(session=session, login=login, message=message, **ACCEPTED)


def failed(message: str) -> RecipientFailed:
    return RecipientFailed(message, "ann@example.net", "main", "mx", "550 no", 1, "5.1.1")


def refused(session: str, login: str) -> CommandRefused:
    return CommandRefused(session, "192.0.2.1", login, "MAIL", "550 no", "why")


async def told(tail: Tail) -> list[dict[str, Any]]:
    """Return what the tail has."""
    async with asyncio.timeout(60):
        lines, dropped = await tail.next()
    assert dropped == 0
    return [json.loads(line) for line in lines]


def names(rows: list[dict[str, Any]]) -> list[str]:
    return [row.get("message") or row.get("session") or row["event"] for row in rows]


async def test_without_conditions_everything_of_its_level_comes_as_the_log_shows_it() -> None:
    tail = Tail(Wanted())
    tail(accepted("s1", "tim", "m1"))
    tail(MessageFinished("m1", 1.0))
    tail(SpoolTroubled("full"))
    rows = await told(tail)
    assert [row["event"] for row in rows] == ["message accepted", "spool troubled"]
    assert (rows[0]["level"], rows[0]["login"], rows[0]["recipients"]) == ("info", "tim", ["ann@example.net"])


async def test_a_level_leaves_out_what_is_less() -> None:
    tail = Tail(Wanted(level="warning"))
    tail(accepted("s1", "tim", "m1"))
    tail(failed("m1"))
    assert [row["event"] for row in await told(tail)] == ["failed"]
    tail = Tail(Wanted(level="debug"))
    tail(MessageFinished("m1", 1.0))
    assert [row["event"] for row in await told(tail)] == ["message finished"]


async def test_a_login_is_followed_through_its_sessions_messages_and_bounces() -> None:
    tail = Tail(Wanted(login="TIM", level="debug"))
    tail(accepted("s1", "tim", "m1"))
    tail(accepted("s2", "ann", "m2"))
    tail(failed("m1"))
    tail(failed("m2"))
    tail(BounceQueued("m1", "m3", "tim@example.org"))
    tail(failed("m3"))
    tail(SessionClosed("s1", "192.0.2.1", "quit", 1.0, 1))
    tail(SessionClosed("s2", "192.0.2.1", "quit", 1.0, 1))
    tail(SpoolTroubled("full"))
    assert names(await told(tail)) == ["m1", "m1", "m1", "m3", "s1"]


async def test_a_session_is_followed_to_its_messages() -> None:
    tail = Tail(Wanted(session="s1"))
    tail(refused("s1", "tim"))
    tail(refused("s2", "tim"))
    tail(accepted("s1", "tim", "m1"))
    tail(failed("m1"))
    assert names(await told(tail)) == ["s1", "m1", "m1"]


async def test_a_message_is_followed_without_the_rest_of_its_session() -> None:
    tail = Tail(Wanted(message="m1"))
    tail(accepted("s1", "tim", "m1"))
    tail(accepted("s1", "tim", "m2"))
    tail(failed("m1"))
    tail(failed("m2"))
    assert names(await told(tail)) == ["m1", "m1"]


async def test_conditions_add_up() -> None:
    tail = Tail(Wanted(login="tim", message="m1"))
    tail(accepted("s1", "tim", "m1"))
    tail(accepted("s1", "tim", "m2"))
    tail(accepted("s2", "ann", "m3"))
    assert names(await told(tail)) == ["m1"]


async def test_an_event_without_names_belongs_to_nobody() -> None:
    """What has no login must not match the empty one, nor what is followed."""
    tail = Tail(Wanted(login="tim"))
    tail(SpoolTroubled("full"))
    tail(refused("s9", ""))
    tail(accepted("s1", "tim", "m1"))
    assert names(await told(tail)) == ["m1"]


async def test_who_reads_too_slowly_misses_lines_and_is_told_how_many() -> None:
    tail = Tail(Wanted())
    count = 20_000
    for number in range(count):
        tail(failed(f"m{number}"))
    kept = dropped = 0
    while not dropped:
        lines, dropped = await tail.next()
        kept += len(lines)
        assert sum(map(len, lines)) < 80_000
    assert kept + dropped == count
    assert kept * 100 < 2 << 20
    tail(failed("last"))
    assert names(await told(tail)) == ["last"]


async def test_what_is_followed_has_a_bound() -> None:
    tail = Tail(Wanted(login="tim"))
    for number in range(5000):
        tail(accepted("s1", "tim", f"m{number}"))
    assert len(tail._followed) <= 1000
    assert "m4999" in tail._followed


async def test_text_is_written_on_one_line_with_everything_escaped() -> None:
    tail = Tail(Wanted(form="text"))
    tail(RecipientDeferred("m1", "a@b", "main", "mx", "451 \x1b[2Jlater\nforged", 1, 0.0, "message"))
    (line,), _ = await tail.next()
    assert line.isprintable()
    assert "later" in line


@pytest.mark.parametrize(
    "request_",
    [{"login": 1}, {"session": None}, {"message": ["m"]}, {"level": "loud"}, {"level": []}, {"form": "xml"}],
)
def test_what_is_not_understood_is_malformed(request_: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        parse_wanted(request_)


def test_what_a_client_asks_for_is_read() -> None:
    assert parse_wanted({"verb": "tail"}) == Wanted()
    assert parse_wanted({"login": "tim", "level": "debug", "form": "text"}) == Wanted("tim", "", "", "debug", "text")
