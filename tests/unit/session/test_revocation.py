"""Whose sessions are ended when logins are looked up again, and that others have their turn meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.model.identity import Identity
from gatepost.model.peer import Peer
from gatepost.session import revocation
from gatepost.session.revocation import end_revoked

TIM = Identity("tim", "c1")


@dataclass(eq=False)
class Session:
    """As much of a session as is looked at."""

    identity: Identity | None = TIM
    is_leaving: bool = False
    mechanism: str = "PLAIN"
    peer: Peer = field(default_factory=lambda: Peer("192.0.2.1", 1, "submission"))
    ended: str = ""

    def revoke(self, reason: str) -> None:
        self.ended = reason
        self.is_leaving = True


class Judge:
    """Knows who may not be here; a store named ``away`` cannot be asked."""

    def __init__(self, **reasons: str) -> None:
        self.reasons = reasons
        self.asked: list[tuple[str, str, str]] = []

    async def judge(self, identity: Identity, peer: Peer, mechanism: str) -> tuple[Identity, str]:
        self.asked.append((identity.account, peer.listener, mechanism))
        if identity.account == "away":
            raise StoreUnavailable("gone")
        return replace(identity, max_recipients=7), self.reasons.get(identity.account, "")


async def test_those_who_may_not_be_here_are_ended_and_the_others_brought_up_to_date() -> None:
    tim, ann = Session(), Session(Identity("ann", "c2"))
    judge = Judge(ann="credential revoked")
    assert await end_revoked({tim, ann}, judge)
    assert (tim.ended, ann.ended) == ("", "credential revoked")
    assert tim.identity == replace(TIM, max_recipients=7)
    assert sorted(judge.asked) == [("ann", "submission", "PLAIN"), ("tim", "submission", "PLAIN")]


async def test_who_did_not_log_in_or_leaves_is_not_asked_about() -> None:
    judge = Judge(tim="no")
    sessions = {Session(None), Session(is_leaving=True)}
    assert await end_revoked(sessions, judge)
    assert not judge.asked
    assert not any(each.ended for each in sessions)


async def test_those_of_a_store_that_is_away_go_on_and_it_is_said_that_they_do() -> None:
    away, tim = Session(Identity("away", "c3")), Session()
    assert not await end_revoked([away, tim], Judge(tim="account disabled"))
    assert (away.ended, tim.ended) == ("", "account disabled")


async def test_others_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocation, "_TURN", 0.0)
    judge = Judge()
    turns: list[int] = []

    async def other() -> None:
        while True:
            turns.append(len(judge.asked))
            await asyncio.sleep(0)

    busy = asyncio.create_task(other())
    sessions = {Session() for _ in range(50)}
    assert await end_revoked(sessions, judge)
    busy.cancel()
    assert len(set(turns)) >= 50


async def test_sessions_may_come_and_go_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocation, "_TURN", 0.0)
    sessions = {Session() for _ in range(5)}

    async def coming_and_going() -> None:
        for _ in range(5):
            sessions.pop()
            sessions.add(Session(None))
            await asyncio.sleep(0)

    busy = asyncio.create_task(coming_and_going())
    assert await end_revoked(sessions, Judge())
    await busy
