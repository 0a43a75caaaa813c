"""Events in, numbers out; and the text is what Prometheus's own parser reads."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gatepost.observe import events
from gatepost.observe.board import Board, Series
from gatepost.observe.events import Event
from gatepost.observe.exposition import expose
from gatepost.observe.families import FAMILIES
from gatepost.observe.metrics import Metrics

DOCS = Path(__file__).parents[3] / "docs" / "operating.md"

ACCEPTED = events.MessageAccepted("s", "192.0.2.1", "tim", "c", "m", "a@b.c", ("d@e.f", "g@h.i"), 1000, "<x@y>", 0.02)
LOGIN = events.LoginSucceeded("s", "submission", "192.0.2.1", "tim", "c", "", "PLAIN", "TLSv1.3 TLS_AES_256_GCM_SHA384")


def failed_login(reply: str) -> Event:
    return events.LoginFailed("s", "submission", "192.0.2.1", "tim", "", "", "PLAIN", "wrong", reply)


def failed(status: str) -> Event:
    return events.RecipientFailed("m", "d@e.f", "smart", "h", "550 no", 1, status)


def samples(board: Board, gauges: dict[Series, float] | None = None) -> dict[tuple[str, tuple[str, ...]], float]:
    """Return what a Prometheus server sees."""
    found = {}
    for family in text_string_to_metric_families(expose(board.totals(), gauges or {})):
        for sample in family.samples:
            found[sample.name, tuple(sample.labels.values())] = sample.value
    return found


@pytest.mark.parametrize(
    ("event", "name", "labels", "value"),
    [
        (events.SessionOpened("s", "submission", "192.0.2.1"), "listener_sessions_total", ("submission",), 1),
        (events.ConnectionRefused("l", "p", "too many connections"), "listener_refused_total", ("l", "total"), 1),
        (
            events.ConnectionRefused("l", "p", "too many connections from this address"),
            "listener_refused_total",
            ("l", "address"),
            1,
        ),
        (
            events.ConnectionRefused("l", "p", "too many connections a minute from this address"),
            "listener_refused_total",
            ("l", "rate"),
            1,
        ),
        (events.ConnectionRefused("l", "p", "192.0.2.7 is banned"), "listener_refused_total", ("l", "other"), 1),
        (events.HandshakeFailed("s", "l", "p", "eof"), "listener_handshake_failures_total", ("l",), 1),
        (LOGIN, "session_logins_total", ("submission", "PLAIN", "success"), 1),
        (LOGIN, "session_tls_logins_total", ("TLSv1.3",), 1),
        (failed_login("535 5.7.8 no"), "session_logins_total", ("submission", "PLAIN", "failed"), 1),
        (failed_login("454 4.7.0 later"), "session_logins_total", ("submission", "PLAIN", "unavailable"), 1),
        (
            events.CommandRefused("s", "p", "", "MAIL", "550 5.7.1 no", "why"),
            "session_commands_refused_total",
            ("MAIL", "5xx"),
            1,
        ),
        (
            events.CommandRefused("s", "p", "", "XYZZY", "450 4.7.1 no", "why"),
            "session_commands_refused_total",
            ("other", "4xx"),
            1,
        ),
        (events.SessionFailed("s", "p", "DATA", "451 no", "why"), "session_failures_total", (), 1),
        (ACCEPTED, "session_messages_total", ("accepted", "2xx"), 1),
        (ACCEPTED, "session_message_bytes_total", (), 1000),
        (ACCEPTED, "session_dkim_total", ("off",), 1),
        (replace(ACCEPTED, dkim="signed"), "session_dkim_total", ("signed",), 1),
        (replace(ACCEPTED, dkim="no key"), "session_dkim_total", ("no_key",), 1),
        (events.SignatureLost("m", "smart"), "queue_signatures_lost_total", ("smart",), 1),
        (ACCEPTED, "session_recipients_total", (), 2),
        (
            events.MessageRefused("s", "p", "tim", "c", "a@b.c", ("d@e.f",), 10, "552 5.3.4 big", "big"),
            "session_messages_total",
            ("refused", "5xx"),
            1,
        ),
        (
            events.RecipientDelivered("m", "d@e.f", "smart", "h", "250 ok", 1, 0.3),
            "queue_delivered_total",
            ("smart",),
            1,
        ),
        (events.RecipientDiscarded("m", "d@e.f", "nowhere"), "queue_discarded_total", ("nowhere",), 1),
        (
            events.RecipientDeferred("m", "d@e.f", "smart", "h", "450 no", 1, 0.0, "next-hop"),
            "queue_deferred_total",
            ("smart", "next_hop"),
            1,
        ),
        (failed("5.1.1"), "queue_failed_total", ("smart", "address"), 1),
        (failed("5.7.26"), "queue_failed_total", ("smart", "policy"), 1),
        (failed("5.999.1"), "queue_failed_total", ("smart", "other"), 1),
        (failed("nonsense"), "queue_failed_total", ("smart", "other"), 1),
        (events.MessageFinished("m", 0.3), "queue_finished_total", (), 1),
        (events.BounceQueued("m", "b", "a@b.c"), "queue_bounces_total", (), 1),
        (events.BounceDropped("m", "why"), "queue_bounces_dropped_total", (), 1),
        (events.NoticeQueued("m", "n", "a@b.c", "delayed"), "queue_notices_total", ("delayed",), 1),
        (events.MessageHeld("m", "why"), "queue_held_total", (), 1),
        (events.RoutePaused("smart", "why", 0.0), "queue_route_pauses_total", ("smart",), 1),
        (events.LoginsLocked("login at home", "tim", 10, 60.0), "session_logins_locked_total", ("login_at_home",), 1),
        (
            events.CanaryTouched("s", "submission", "p", "tim", "c", "", "PLAIN", "", "", 60.0),
            "session_canaries_total",
            (),
            1,
        ),
        (
            events.SessionRevoked("s", "submission", "p", "tim", "c", "", "revoked", "421 4.7.0 bye"),
            "session_revoked_total",
            (),
            1,
        ),
        (events.SpoolTroubled("why"), "spool_troubles_total", (), 1),
        (events.StateTroubled("why"), "state_troubles_total", (), 1),
        (events.ConfigReloaded(0, 2), "app_reloads_total", ("success",), 1),
        (events.ReloadRefused("why"), "app_reloads_total", ("refused",), 1),
        (events.WorkerLost("worker 1", 7, "why", 0.1), "supervisor_lost_total", (), 1),
        (events.AuditTroubled("why"), "observe_audit_troubles_total", (), 1),
    ],
)
def test_an_event_is_counted(event: Event, name: str, labels: tuple[str, ...], value: float) -> None:
    board = Board(1)
    metrics = Metrics(board, 0)
    metrics(event)
    metrics(event)
    assert samples(board)[f"gatepost_{name}", labels] == 2 * value


def test_an_event_that_is_no_metric_is_passed_over() -> None:
    board = Board(1)
    Metrics(board, 0)(events.SessionClosed("s", "p", "quit", 0.1, 1))
    assert sum(board.totals().values()) == 0


def test_a_histogram_cumulates_over_processes() -> None:
    board = Board(2)
    for number, seconds in ((0, 0.004), (1, 0.005), (1, 0.02), (0, 99.0)):
        event = events.MessageAccepted("s", "p", "tim", "c", "m", "a@b.c", (), 1, "", seconds)
        Metrics(board, number)(event)
    found = samples(board)
    name = "gatepost_session_accept_seconds"
    assert found[f"{name}_bucket", ("0.005",)] == 2
    assert found[f"{name}_bucket", ("0.025",)] == 3
    assert found[f"{name}_bucket", ("30",)] == 3
    assert found[f"{name}_bucket", ("+Inf",)] == 4
    assert found[f"{name}_count", ()] == 4
    assert found[f"{name}_sum", ()] == pytest.approx(99.029)


def test_lost_log_lines_are_counted() -> None:
    board = Board(1)
    metrics = Metrics(board, 0)
    metrics.count_lost_lines(3)
    assert samples(board)["gatepost_observe_log_lines_lost_total", ()] == 3


def test_counters_without_labels_are_there_from_the_start() -> None:
    found = samples(Board(1))
    for family in FAMILIES:
        if family.kind == "counter" and not family.labels:
            assert found[family.name, ()] == 0


def test_what_finds_no_place_shows() -> None:
    board = Board(1)
    metrics = Metrics(board, 0)
    for number in range(2000):
        metrics(events.RoutePaused(f"route{number}", "why", 0.0))
        metrics(events.RecipientDelivered("m", "d@e.f", f"route{number}", "h", "250 ok", 1, 0.3))
    assert samples(board)["gatepost_observe_uncounted_total", ()] > 0


def test_gauges_come_as_they_are_given_and_hostile_labels_do_no_harm() -> None:
    label = 'a"b\\c\nd'
    found = samples(Board(1), {("gatepost_queue_route_open", label): 1.0, ("gatepost_spool_free_bytes",): 1.5e9})
    assert found["gatepost_queue_route_open", (label,)] == 1
    assert found["gatepost_spool_free_bytes", ()] == 1.5e9
    assert not [name for name, _ in found if name == "gatepost_session_open"], "a gauge that nobody read is missing"


def test_names_follow_the_rules() -> None:
    for family in FAMILIES:
        assert re.fullmatch(r"gatepost(_[a-z]+)+", family.name)
        assert family.name.endswith("_total") == (family.kind == "counter"), family.name
        assert "\n" not in family.help
        assert family.help.endswith(".")
        assert bool(family.buckets) == (family.kind == "histogram")
        assert list(family.buckets) == sorted(family.buckets)
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


def test_no_label_is_what_a_stranger_chooses() -> None:
    chosen = {"peer", "login", "recipient", "sender", "message", "session", "credential", "next_hop"}
    assert not chosen & {label for family in FAMILIES for label in family.labels}


def test_the_table_in_the_documentation_is_true() -> None:
    text = DOCS.read_text(encoding="utf-8")
    written = re.findall(r"^\| `(gatepost_\w+)` \| (\w+) \| ([^|]*) \| (.*) \|$", text, re.MULTILINE)
    labels = {family.name: ", ".join(f"`{label}`" for label in family.labels) for family in FAMILIES}
    assert written == [(family.name, family.kind, labels[family.name], family.help) for family in FAMILIES]
