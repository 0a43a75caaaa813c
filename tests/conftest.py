"""Fixtures that every kind of test may ask for: certificates made on the fly, and the rule for tests that need root."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import pytest
import uvloop
from hypothesis import HealthCheck, settings

from servers import Authority

# The same examples each time, and no judgement of how fast a machine is: only a fault may fail a test.  With
# `--hypothesis-profile explore` pytest tries others.
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", settings.get_profile("explore"), derandomize=True)
settings.load_profile("same")


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run what uses real sockets on both event loops."""
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if {"dialogs", "integration"} & set(item.path.parts):
        loops["uvloop"] = uvloop.new_event_loop
    return loops


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what is marked ``root`` for everybody else."""
    if item.get_closest_marker("root") is not None and os.geteuid() != 0:
        pytest.skip("needs root")


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return a certificate authority, with a certificate of its for localhost and 127.0.0.1."""
    return Authority(tmp_path_factory.mktemp("certificates"))
