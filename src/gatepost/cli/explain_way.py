"""The way that a recipient's copy takes by the configuration, and why it takes none of those before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gatepost.config.schema import Config
    from gatepost.model.envelope import Envelope, Recipient
    from gatepost.relay.match import Match
    from gatepost.relay.router import Router

__all__ = ["NO_WAY", "ways"]

NO_WAY = "no route takes it: it is kept, grows no older and does not bounce; it goes when a reload brings a route"


def ways(config: Config, router: Router, envelope: Envelope, paused: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return one row for each recipient of *envelope*.

    Args:
        config: what *router* was made from.
        router: who knows the way.
        envelope: with the header fields that *router* asks for.
        paused: the routes that are paused by hand, and since when.
    """
    from gatepost.state.paused_routes import paused_since

    written = {each.name: each for each, _ in config.ways}
    rows = []
    for recipient in envelope.recipients:
        taken = router.route_for(envelope, recipient)
        row: dict[str, Any] = {
            "recipient": str(recipient),
            "route": None if taken is None else taken.name,
            "passed_over": [
                {"route": route.name, "why": _why_not(key, route.match, envelope, recipient)}
                for route, key in router.passed_over(envelope, recipient)
            ],
        }
        if taken is None:
            row |= {"remark": _no_way(envelope)}
        else:
            route = written[taken.name]
            row |= {"transport": route.transport, "paused_by_hand": paused_since(paused, taken.name) is not None}
            if route.transport == "smarthost" or route.transport == "lmtp":
                row |= {"next_hops": [f"{host}:{port}" for host, port in route.next_hops], "login": route.login or None}
            if envelope.sandbox:
                row |= {"remark": "mail of this credential stays in a sandbox"}
        rows.append(row)
    return rows


def _no_way(envelope: Envelope) -> str:
    return "mail of this credential stays in a sandbox, and there is none; it is kept" if envelope.sandbox else NO_WAY


def _why_not(key: str, match: Match, envelope: Envelope, recipient: Recipient) -> str:
    """Say in words why the *key* of a match does not take a recipient's copy."""
    sender = "<>" if envelope.reverse_path is None else str(envelope.reverse_path)
    label = f" ({envelope.label})" if envelope.label else ""
    if not key:
        chosen = "it matches, but somebody chose another for this message"
        return chosen if envelope.route else "a sandbox that matches stands after it"
    match key:
        case "accounts":
            said = f"{envelope.account or 'mail of our own'} is not among them"
        case "credentials":
            said = f"{envelope.credential or 'mail of our own'}{label} is not among them"
        case "sender_domains" | "senders" | "logins":
            said = f"{sender} is not among them"
        case "recipient_domains":
            said = f"{recipient.mailbox.domain} is not among them"
        case "size_over":
            said = f"{envelope.size_bytes} octets are not more than {match.size_over}"
        case "size_up_to":
            said = f"{envelope.size_bytes} octets are more than {match.size_up_to}"
        case "headers":
            pattern = next(each for each in match.headers if not each.matches(envelope))
            values = next((values for name, values in envelope.fields if name == pattern.name), ())
            said = f"{pattern.name} is {' and '.join(map(ascii, values))}" if values else f"there is no {pattern.name}"
        case _:
            return "is no sandbox"
    return f"{key}: {said}"
