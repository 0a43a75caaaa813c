"""The metrics that are states and no events: asked for when somebody looks."""

from __future__ import annotations

from typing import Final

from gatepost.observe.family import Family

__all__ = ["GAUGES"]

GAUGES: Final[tuple[Family, ...]] = (
    Family(
        "gatepost_build_info", "gauge", "Always 1.  version: of gatepost; python: of Python.", ("version", "python")
    ),
    Family("gatepost_worker_up", "gauge", "Whether a worker answers and accepts.  worker: its number.", ("worker",)),
    Family("gatepost_worker_generation", "gauge", "Of its configuration, 1 and more with each reload.", ("worker",)),
    Family("gatepost_session_open", "gauge", "Sessions that are open."),
    Family("gatepost_queue_messages", "gauge", "Messages in the spools."),
    Family("gatepost_queue_oldest_seconds", "gauge", "Age of the message that has been in the spools longest."),
    Family("gatepost_queue_attempts", "gauge", "Attempts at delivery that are under way."),
    Family(
        "gatepost_queue_route_open",
        "gauge",
        "Whether a route is open in every worker: 0 while it waits for its next hop, or is paused.",
        ("route",),
    ),
    Family(
        "gatepost_relay_token_state",
        "gauge",
        "1 for the state in which the access token of a route is, 0 for the others.  state: valid, "
        "secret_expires_soon, refreshing, not_logged_in, refused, revoked, unreadable.",
        ("route", "state"),
    ),
    Family(
        "gatepost_relay_token_expiry_seconds",
        "gauge",
        "When the access token of a route ends, in seconds since the epoch; it is renewed before.",
        ("route",),
    ),
    Family(
        "gatepost_relay_client_secret_expiry_seconds",
        "gauge",
        "When the client secret of a route ends, in seconds since the epoch, if client_secret_expires says so.",
        ("route",),
    ),
    Family("gatepost_spool_free_bytes", "gauge", "Room left on the file system of the spools."),
    Family("gatepost_spool_reserve_bytes", "gauge", "Room below which new mail is refused."),
    Family(
        "gatepost_tls_certificate_expiry_seconds",
        "gauge",
        "When the first certificate of the listeners ends, in seconds since the epoch.",
    ),
)
