"""Memory is given back once a crowd has left, and not for every few."""

from __future__ import annotations

import asyncio

import pytest

from gatepost.listener import ebb
from gatepost.listener.ebb import Ebb


@pytest.fixture
def trims(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return what grows with each time that memory is given back."""
    trims: list[int] = []
    monkeypatch.setattr(ebb, "_trim", trims.append)
    monkeypatch.setattr(ebb, "_SECONDS", 0)
    return trims


async def come_and_go(water: Ebb, start: int, most: int, end: int) -> None:
    for count in range(start + 1, most + 1):
        water.rose(count)
    for count in range(most - 1, end - 1, -1):
        water.fell(count)
    await asyncio.sleep(0.001)


async def test_memory_is_given_back_once_for_a_crowd(trims: list[int]) -> None:
    water = Ebb()
    await come_and_go(water, 0, 400, 101)
    assert not trims, "most of them are there"
    await come_and_go(water, 101, 101, 100)
    assert trims == [0]
    await come_and_go(water, 100, 100, 0)
    assert trims == [0]
    await come_and_go(water, 0, 100, 0)
    assert trims == [0, 0]


async def test_nothing_is_done_for_those_who_come_and_go(trims: list[int]) -> None:
    water = Ebb()
    for _ in range(5):
        await come_and_go(water, 0, 99, 0)
    await come_and_go(water, 0, 1000, 300)
    await come_and_go(water, 300, 1000, 300)
    assert not trims


async def test_a_libc_that_cannot_is_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ebb, "_trim", None)
    await come_and_go(Ebb(), 0, 200, 0)
