"""What the admin process knows: is it alive, is every worker ready, and the metrics of all of them."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gatepost import __version__
from gatepost.admin.http import Answer
from gatepost.observe.board import Board, Series
from gatepost.observe.exposition import CONTENT_TYPE, expose
from gatepost.relay.oauth_client import STATES

__all__ = ["Ask", "Told", "Watch"]


@dataclass(frozen=True, slots=True)
class Told:
    """What a worker says of itself, as the verbs ``health`` and ``status`` of its control socket give it.

    Args:
        problems: why it is not ready; empty if it is.
        status: its numbers; None if it does not answer.
    """

    problems: tuple[str, ...]
    status: Mapping[str, Any] | None = None


Ask = Callable[[], Coroutine[Any, Any, Mapping[int, Told]]]
"""Asks every worker."""

_REASON: Final = 300
_SUMS: Final = {
    "gatepost_session_open": "sessions",
    "gatepost_queue_messages": "queued",
    "gatepost_queue_attempts": "in_flight",
}
_LIVE: Final = Answer(200, '{"live":true}\n')


class Watch:
    """Answers the questions of the admin process.

    Args:
        board: the numbers of all processes.
        ask: asks the workers.
        folder: of the spools.
        reserve_bytes: room below which new mail is refused.
        now: the time of day, in seconds since the epoch.
    """

    def __init__(
        self, board: Board, ask: Ask, folder: Path, reserve_bytes: int, now: Callable[[], float] = time.time
    ) -> None:
        self._board = board
        self._ask = ask
        self._folder = folder
        self._reserve_bytes = reserve_bytes
        self._now = now
        self._asking: asyncio.Task[Mapping[int, Told]] | None = None

    async def live(self) -> Answer:
        """Tell that this process answers."""
        return _LIVE

    async def ready(self) -> Answer:
        """Tell whether every worker answers and accepts; if not, which ones and why."""
        told = await self._ask_all()
        troubled = {str(number): "; ".join(each.problems)[:_REASON] for number, each in told.items() if each.problems}
        if troubled:
            return Answer(503, _json({"ready": False, "workers": troubled}))
        return Answer(200, _json({"ready": True, "workers": self._board.workers}))

    async def metrics(self) -> Answer:
        """Give the metrics of all processes; gauges of workers that do not answer are missing."""
        gauges = _worker_gauges(await self._ask_all(), self._now())
        gauges["gatepost_build_info", __version__, platform.python_version()] = 1.0
        gauges["gatepost_spool_reserve_bytes",] = float(self._reserve_bytes)
        free = await asyncio.to_thread(_free_bytes, self._folder)
        if free is not None:
            gauges["gatepost_spool_free_bytes",] = float(free)
        return Answer(200, expose(self._board.totals(), gauges), CONTENT_TYPE)

    async def _ask_all(self) -> Mapping[int, Told]:
        """Ask the workers, once for all who want to know just now."""
        if self._asking is None:
            self._asking = asyncio.get_running_loop().create_task(self._ask())
            self._asking.add_done_callback(self._forget)
        return await asyncio.shield(self._asking)

    def _forget(self, _task: asyncio.Task[Any]) -> None:
        self._asking = None


def _worker_gauges(told: Mapping[int, Told], now: float) -> dict[Series, float]:
    gauges: dict[Series, float] = {}
    statuses = {number: each.status for number, each in told.items() if each.status is not None}
    for number, each in told.items():
        gauges["gatepost_worker_up", str(number)] = float(not each.problems)
    for number, status in statuses.items():
        gauges["gatepost_worker_generation", str(number)] = float(status["generation"])
    if statuses:
        oldest = [each["oldest"] for each in statuses.values() if each.get("oldest") is not None]
        ends = [each["certificate_expires"] for each in statuses.values() if each.get("certificate_expires")]
        for name, key in _SUMS.items():
            gauges[name,] = float(sum(status[key] for status in statuses.values()))
        gauges["gatepost_queue_oldest_seconds",] = max(0.0, now - min(oldest)) if oldest else 0.0
        if ends:
            gauges["gatepost_tls_certificate_expiry_seconds",] = float(min(ends))
    for status in statuses.values():
        for route in status.get("routes", ()):
            series = "gatepost_queue_route_open", str(route["route"])
            gauges[series] = min(gauges.get(series, 1.0), float(route["state"] == "open"))
        for token in status.get("tokens", ()):
            _add_token(gauges, token)
    return gauges


def _add_token(gauges: dict[Series, float], token: Mapping[str, Any]) -> None:
    """Add what a worker says of a route's access token; of several workers the worst counts."""
    route, state = str(token["route"]), str(token["state"])
    states = [each.replace(" ", "_") for each in STATES]
    before = next((each for each in states if gauges.get(("gatepost_relay_token_state", route, each))), states[0])
    worst = max(before, state.replace(" ", "_"), key=states.index)
    for each in states:
        gauges["gatepost_relay_token_state", route, each] = float(each == worst)
    for name, key in (
        ("gatepost_relay_token_expiry_seconds", "expires"),
        ("gatepost_relay_client_secret_expiry_seconds", "secret_expires"),
    ):
        if token[key] is not None:
            gauges[name, route] = float(token[key])


def _free_bytes(folder: Path) -> int | None:
    try:
        answer = os.statvfs(folder)
    except OSError:
        return None
    return answer.f_bavail * answer.f_frsize


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":")) + "\n"
