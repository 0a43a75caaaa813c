"""What the configuration says of a smart host's provider, made: what is known of its replies, and its pace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.relay.known_replies import KnownReplies
from gatepost.relay.provided import Provided
from gatepost.relay.transport import Transport
from gatepost.state.pace import Pace, PaceLimits
from gatepost.state.pace_file import PaceFile

if TYPE_CHECKING:
    from gatepost.config import schema

__all__ = ["pace", "provided"]


def provided(route: schema.SmarthostRoute, transport: Transport) -> Transport:
    """Put what is known of the provider around *transport*."""
    preset = route.preset
    field = None
    if preset is not None and preset.stream_field and route.message_stream:
        field = (preset.stream_field, route.message_stream)
    known = KnownReplies(() if preset is None else preset.replies)
    return Provided(transport, known, message_bytes=route.message_bytes, field=field)


def pace(route: schema.Route, paces: PaceFile | None) -> Pace | None:
    """Return the pace of *route*; all routes with the same login at the same host share theirs."""
    if route.transport != "smarthost" or paces is None:
        return None
    second, minute = route.messages_per_second or 0, route.messages_per_minute or 0
    is_by_minute = bool(minute) and (not second or minute < second * 60)
    limits = PaceLimits(
        f"login {route.login} at {' '.join(host for host, _ in route.next_hops)}"
        if route.login
        else f"route {route.name}",
        per_second=minute / 60 if is_by_minute else second,
        window=60.0 if is_by_minute else 1.0,
        messages_per_day=route.messages_per_day or 0,
        recipients_per_day=route.recipients_per_day or 0,
        recipients_per_message=route.recipients_per_message,
        counts_recipients=route.preset is not None and route.preset.counts_recipients,
    )
    return Pace(paces, limits)
