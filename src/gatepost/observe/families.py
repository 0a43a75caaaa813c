"""Every metric with its meaning, and the events that it is made from: all that exposition and documentation need.

Labels have few values: never an address, a login, or anything else a stranger chooses.  What is a state and no event
(gauges) is asked for when somebody looks.
"""

from __future__ import annotations

from typing import Any, Final

from gatepost.observe.events import (
    AuditTroubled,
    BounceDropped,
    BounceQueued,
    CanaryTouched,
    CommandRefused,
    ConfigReloaded,
    ConnectionRefused,
    HandshakeFailed,
    IssuerAway,
    LoginFailed,
    LoginsLocked,
    LoginSucceeded,
    MessageAccepted,
    MessageFinished,
    MessageHeld,
    MessageRefused,
    MessageRepeated,
    NoticeQueued,
    RecipientDeferred,
    RecipientDelivered,
    RecipientDiscarded,
    RecipientFailed,
    ReloadRefused,
    RoutePaused,
    SessionFailed,
    SessionOpened,
    SessionRevoked,
    SignatureLost,
    SpoolTroubled,
    StateTroubled,
    StoreAmbiguous,
    StoreAway,
    StoreOutdated,
    TokenRenewed,
    TokenTroubled,
    WorkerLost,
)
from gatepost.observe.family import Family
from gatepost.observe.gauges import GAUGES

__all__ = ["FAMILIES", "LOG_LINES_LOST", "UNCOUNTED"]

LOG_LINES_LOST: Final = "gatepost_observe_log_lines_lost_total"
UNCOUNTED: Final = "gatepost_observe_uncounted_total"

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_WAITS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0)
_COMMANDS: Final = frozenset(
    {"AUTH", "BDAT", "DATA", "EHLO", "EXPN", "HELO", "HELP", "MAIL", "NOOP", "QUIT", "RCPT", "RSET", "STARTTLS", "VRFY"}
)
_CROWDED: Final = {
    "too many connections": "total",
    "too many connections from this address": "address",
    "too many connections a minute from this address": "rate",
}
# RFC 3463 §3: the second number of an enhanced status code says what the trouble is with.
_SUBJECTS: Final = {
    "1": "address",
    "2": "mailbox",
    "3": "system",
    "4": "network",
    "5": "protocol",
    "6": "content",
    "7": "policy",
}


def _nothing(_event: Any) -> tuple[str, ...]:
    return ()


def _code(reply: str) -> str:
    """Return the class of a reply, or ``none``."""
    return f"{reply[0]}xx" if reply[:1] in ("2", "4", "5") and reply[:3].isdecimal() else "none"


def _subject(status: str) -> str:
    _, _, rest = status.partition(".")
    return _SUBJECTS.get(rest.partition(".")[0], "other")


def _tls(text: str) -> str:
    version = text.partition(" ")[0]
    if version in ("TLSv1.2", "TLSv1.3"):
        return version
    return "older" if version else "none"


FAMILIES: Final[tuple[Family, ...]] = (
    Family(
        "gatepost_listener_sessions_total",
        "counter",
        "Connections that came to a session.  listener: its name.",
        ("listener",),
        {SessionOpened: lambda event: (event.listener,)},
    ),
    Family(
        "gatepost_listener_refused_total",
        "counter",
        "Connections turned away before their first command.  reason: total, address, rate (too many at once in "
        "all, at once from one address, a minute from one address), other.",
        ("listener", "reason"),
        {ConnectionRefused: lambda event: (event.listener, _CROWDED.get(event.reason, "other"))},
    ),
    Family(
        "gatepost_listener_handshake_failures_total",
        "counter",
        "TLS handshakes that did not come to their end.",
        ("listener",),
        {HandshakeFailed: lambda event: (event.listener,)},
    ),
    Family(
        "gatepost_session_logins_total",
        "counter",
        "Logins.  result: success, failed (wrong, in whatever way), unavailable (not judged: locked, or trouble of "
        "our own).",
        ("listener", "mechanism", "result"),
        {
            LoginSucceeded: lambda event: (event.listener, event.mechanism, "success"),
            LoginFailed: lambda event: (
                event.listener,
                event.mechanism,
                "unavailable" if event.reply[:1] == "4" else "failed",
            ),
        },
    ),
    Family(
        "gatepost_session_tls_logins_total",
        "counter",
        "Successful logins by what protected them.  version: TLSv1.2, TLSv1.3, older, none.",
        ("version",),
        {LoginSucceeded: lambda event: (_tls(event.tls),)},
    ),
    Family(
        "gatepost_session_logins_locked_total",
        "counter",
        "How often logins were locked after too many failures.  kind: address, network, login, login_at_home.",
        ("kind",),
        {LoginsLocked: lambda event: (event.kind.replace(" ", "_"),)},
    ),
    Family(
        "gatepost_session_canaries_total",
        "counter",
        "Logins with a canary, or with the name of an account that holds canaries only: each is an alarm.",
        (),
        {CanaryTouched: _nothing},
    ),
    Family(
        "gatepost_session_revoked_total",
        "counter",
        "Sessions ended because their login does not count any more.",
        (),
        {SessionRevoked: _nothing},
    ),
    Family(
        "gatepost_session_commands_refused_total",
        "counter",
        "Commands that got a no.  command: its name, or other; reply: 4xx, 5xx.",
        ("command", "reply"),
        {
            CommandRefused: lambda event: (
                event.command if event.command in _COMMANDS else "other",
                _code(event.reply),
            )
        },
    ),
    Family(
        "gatepost_session_failures_total",
        "counter",
        "Commands that met trouble of our own.",
        (),
        {SessionFailed: _nothing},
    ),
    Family(
        "gatepost_session_messages_total",
        "counter",
        "Messages after their data.  result: accepted, refused; reply: 2xx, 4xx, 5xx.",
        ("result", "reply"),
        {
            MessageAccepted: lambda _event: ("accepted", "2xx"),
            MessageRefused: lambda event: ("refused", _code(event.reply)),
        },
    ),
    Family(
        "gatepost_session_repeated_total",
        "counter",
        "Messages that came again because their client had not heard our 250, and were not kept twice.",
        (),
        {MessageRepeated: _nothing},
    ),
    Family(
        "gatepost_session_dkim_total",
        "counter",
        "Accepted messages by what became of their DKIM signature.  result: signed; or why not: no_key (the domain of "
        "From has none), waiting (its key takes over later), off (there is no key at all).",
        ("result",),
        {MessageAccepted: lambda event: (event.dkim.replace(" ", "_"),)},
    ),
    Family(
        "gatepost_session_message_bytes_total",
        "counter",
        "Octets of the accepted messages.",
        (),
        {MessageAccepted: _nothing},
        lambda event: event.size,
    ),
    Family(
        "gatepost_session_recipients_total",
        "counter",
        "Recipients of the accepted messages.",
        (),
        {MessageAccepted: _nothing},
        lambda event: len(event.recipients),
    ),
    Family(
        "gatepost_session_accept_seconds",
        "histogram",
        "Time from the end of a message's data to its being kept, just before the 250.",
        (),
        {MessageAccepted: _nothing},
        lambda event: event.seconds,
        _SECONDS,
    ),
    Family(
        "gatepost_queue_delivered_total",
        "counter",
        "Recipients that a next hop took.  route: its name.",
        ("route",),
        {RecipientDelivered: lambda event: (event.route,)},
    ),
    Family(
        "gatepost_queue_discarded_total",
        "counter",
        "Recipients whose copy a discard route threw away.",
        ("route",),
        {RecipientDiscarded: lambda event: (event.route,)},
    ),
    Family(
        "gatepost_queue_deferred_total",
        "counter",
        "Attempts after which a recipient waits for another.  cause: message, next_hop, pace, route.",
        ("route", "cause"),
        {RecipientDeferred: lambda event: (event.route, event.cause.replace("-", "_"))},
    ),
    Family(
        "gatepost_queue_failed_total",
        "counter",
        "Recipients given up.  subject (of the enhanced status code): address, mailbox, system, network, protocol, "
        "content, policy, other.",
        ("route", "subject"),
        {RecipientFailed: lambda event: (event.route, _subject(event.status))},
    ),
    Family(
        "gatepost_queue_delivery_seconds",
        "histogram",
        "Time from acceptance of a message to delivery of a recipient.",
        ("route",),
        {RecipientDelivered: lambda event: (event.route,)},
        lambda event: event.seconds,
        _WAITS,
    ),
    Family(
        "gatepost_queue_finished_total",
        "counter",
        "Messages of which every recipient is settled.",
        (),
        {MessageFinished: _nothing},
    ),
    Family(
        "gatepost_queue_held_total",
        "counter",
        "Messages that are not tried any more until somebody releases them.",
        (),
        {MessageHeld: _nothing},
    ),
    Family("gatepost_queue_bounces_total", "counter", "Bounces made.", (), {BounceQueued: _nothing}),
    Family(
        "gatepost_queue_bounces_dropped_total",
        "counter",
        "Failures and delays that nobody is told of: of notifications, where silence was asked for, without room.",
        (),
        {BounceDropped: _nothing},
    ),
    Family(
        "gatepost_queue_notices_total",
        "counter",
        "Other notifications made.  action: what they tell; delayed, delivered, relayed.",
        ("action",),
        {NoticeQueued: lambda event: (event.action,)},
    ),
    Family(
        "gatepost_queue_route_pauses_total",
        "counter",
        "How often a route was paused because of its login, a certificate or TLS.",
        ("route",),
        {RoutePaused: lambda event: (event.route,)},
    ),
    Family(
        "gatepost_queue_signatures_lost_total",
        "counter",
        "Attempts in which a signed message was converted to 7-bit and could not be signed anew.",
        ("route",),
        {SignatureLost: lambda event: (event.route,)},
    ),
    Family(
        "gatepost_relay_token_renewals_total",
        "counter",
        "Times an issuer was asked for an access token of a route, by what began to come of it.  result: success; or "
        "the trouble that began: away, refused, revoked.",
        ("route", "result"),
        {
            TokenRenewed: lambda event: (event.route, "success"),
            TokenTroubled: lambda event: (event.route, event.trouble),
        },
    ),
    Family(
        "gatepost_spool_troubles_total",
        "counter",
        "How often a spool could not be written or read.",
        (),
        {SpoolTroubled: _nothing},
    ),
    Family(
        "gatepost_state_troubles_total",
        "counter",
        "How often what the workers share could not be written or read.",
        (),
        {StateTroubled: _nothing},
    ),
    Family(
        "gatepost_identity_troubles_total",
        "counter",
        "How often a credential store was away, was changed into something that cannot be used, or had several entries "
        "for one login, and how often an issuer of access tokens was away.  trouble: away, outdated, ambiguous, "
        "issuer.",
        ("trouble",),
        {
            StoreAway: lambda _event: ("away",),
            StoreOutdated: lambda _event: ("outdated",),
            StoreAmbiguous: lambda _event: ("ambiguous",),
            IssuerAway: lambda _event: ("issuer",),
        },
    ),
    Family(
        "gatepost_app_reloads_total",
        "counter",
        "Reloads of the configuration, in each worker.  result: success, refused.",
        ("result",),
        {ConfigReloaded: lambda _event: ("success",), ReloadRefused: lambda _event: ("refused",)},
    ),
    Family(
        "gatepost_supervisor_lost_total",
        "counter",
        "Processes of ours that ended and should not have.",
        (),
        {WorkerLost: _nothing},
    ),
    Family(LOG_LINES_LOST, "counter", "Log lines that could not be written."),
    Family(
        "gatepost_observe_audit_troubles_total",
        "counter",
        "How often the audit file began to be in trouble.",
        (),
        {AuditTroubled: _nothing},
    ),
    Family(UNCOUNTED, "counter", "Facts that found no place among the metrics: always 0."),
    *GAUGES,
)
