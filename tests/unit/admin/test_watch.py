"""What the admin process says: ready only if every worker is, and gauges of those that answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from gatepost.admin.watch import Told, Watch
from gatepost.observe.board import Board
from gatepost.observe.events import SpoolTroubled
from gatepost.observe.metrics import Metrics


def status(**more: Any) -> dict[str, Any]:
    return {
        "generation": 1,
        "is_draining": False,
        "sessions": 2,
        "queued": 3,
        "in_flight": 1,
        "oldest": 900.0,
        "certificate_expires": 5000.0,
        "routes": [{"route": "smart", "state": "open"}],
        **more,
    }


GOOD = Told((), status())


def watch(told: Mapping[int, Told], board: Board | None = None, folder: Path = Path("/")) -> Watch:
    async def ask() -> Mapping[int, Told]:
        return told

    return Watch(board or Board(len(told)), ask, folder, 1000, now=lambda: 1000.0)


async def samples(of: Watch) -> dict[tuple[str, tuple[str, ...]], float]:
    answer = await of.metrics()
    assert answer.status == 200
    assert answer.content_type.startswith("text/plain; version=0.0.4")
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.body)
        for sample in family.samples
    }


def token(state: str, **more: float | None) -> dict[str, Any]:
    return {"route": "smart", "state": state, "expires": None, "secret_expires": None, **more}


async def test_the_worst_state_that_a_worker_knows_of_a_token_counts() -> None:
    told = {
        0: Told((), status(tokens=[token("valid", expires=5000.0, secret_expires=9000.0)])),
        1: Told((), status(tokens=[token("not logged in")])),
        2: Told((), status(tokens=[token("secret expires soon")])),
    }
    found = await samples(watch(told))
    states = {labels[1]: value for (name, labels), value in found.items() if name == "gatepost_relay_token_state"}
    assert {state for state, value in states.items() if value} == {"not_logged_in"}
    assert len(states) == 7
    assert found["gatepost_relay_token_expiry_seconds", ("smart",)] == 5000.0
    assert found["gatepost_relay_client_secret_expiry_seconds", ("smart",)] == 9000.0


async def test_it_is_alive_without_asking_anybody() -> None:
    answer = await watch({}).live()
    assert (answer.status, json.loads(answer.body)) == (200, {"live": True})


async def test_it_is_ready_if_every_worker_is() -> None:
    answer = await watch({0: GOOD, 1: GOOD}).ready()
    assert (answer.status, json.loads(answer.body)) == (200, {"ready": True, "workers": 2})


async def test_it_says_which_worker_is_not_ready_and_why() -> None:
    told = {0: GOOD, 1: Told(("does not answer",)), 2: Told(("one", "other"), status())}
    answer = await watch(told).ready()
    assert answer.status == 503
    assert json.loads(answer.body) == {"ready": False, "workers": {"1": "does not answer", "2": "one; other"}}


async def test_what_it_says_stays_short() -> None:
    answer = await watch({0: Told(("x" * 5000,))}).ready()
    assert len(answer.body) < 500


async def test_gauges_are_summed_over_the_workers_that_answer() -> None:
    found = await samples(watch({0: GOOD, 1: Told((), status(sessions=5, oldest=None)), 2: Told(("does not answer",))}))
    assert found["gatepost_session_open", ()] == 7
    assert found["gatepost_queue_messages", ()] == 6
    assert found["gatepost_queue_attempts", ()] == 2
    assert found["gatepost_queue_oldest_seconds", ()] == 100
    assert found["gatepost_tls_certificate_expiry_seconds", ()] == 5000
    assert [found["gatepost_worker_up", (number,)] for number in "012"] == [1, 1, 0]
    assert ("gatepost_worker_generation", ("2",)) not in found
    assert found["gatepost_spool_reserve_bytes", ()] == 1000
    assert found["gatepost_spool_free_bytes", ()] > 0
    assert [value for (name, _), value in found.items() if name == "gatepost_build_info"] == [1]


async def test_an_empty_queue_has_no_age() -> None:
    found = await samples(watch({0: Told((), status(oldest=None, certificate_expires=None))}))
    assert found["gatepost_queue_oldest_seconds", ()] == 0
    assert ("gatepost_tls_certificate_expiry_seconds", ()) not in found


async def test_a_route_is_open_if_it_is_so_in_every_worker() -> None:
    paused = [{"route": "smart", "state": "paused"}, {"route": "box", "state": "open"}]
    found = await samples(watch({0: GOOD, 1: Told((), status(routes=paused))}))
    assert found["gatepost_queue_route_open", ("smart",)] == 0
    assert found["gatepost_queue_route_open", ("box",)] == 1


async def test_counters_are_there_when_no_worker_answers() -> None:
    board = Board(1)
    Metrics(board, 0)(SpoolTroubled("why"))
    found = await samples(watch({0: Told(("does not answer",))}, board, Path("/nowhere")))
    assert found["gatepost_spool_troubles_total", ()] == 1
    assert found["gatepost_worker_up", ("0",)] == 0
    assert ("gatepost_session_open", ()) not in found
    assert ("gatepost_spool_free_bytes", ()) not in found


async def test_workers_are_asked_once_for_all_who_want_to_know() -> None:
    asked = 0
    go = asyncio.Event()

    async def ask() -> Mapping[int, Told]:
        nonlocal asked
        asked += 1
        await go.wait()
        return {0: GOOD}

    of = Watch(Board(1), ask, Path("/"), 0)
    waiting = [asyncio.create_task(of.ready()) for _ in range(50)]
    await asyncio.sleep(0)
    waiting[0].cancel()  # somebody hangs up: the others go on waiting
    go.set()
    answers = await asyncio.gather(*waiting[1:])
    assert {answer.status for answer in answers} == {200}
    assert asked == 1
    await of.ready()
    assert asked == 2
