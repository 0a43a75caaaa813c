"""A world for each test, with its scheduler running."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from queue_world import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Return a world whose scheduler runs."""
    world = World()
    await world.start()
    yield world
    await world.stop()
