"""What a TLS handshake with a next hop failed for: whose trouble it is, and what can be done about it.

Where the two do not fit together only an operator helps: the route is paused, and no mail bounces for it.  A connection
that ends in the handshake, and trouble within the next hop, may pass by themselves.
"""

from __future__ import annotations

import ssl
from dataclasses import replace

from gatepost.model.delivery import Cause
from gatepost.relay.trouble import Trouble, next_hop_trouble, route_trouble

__all__ = ["handshake_trouble", "lost_connection", "plain_talk"]

_NO_TLS = "there is no TLS at that port, or it begins in another way: correct port or tls of the route"
_VERSION = "the next hop has no version of TLS that is good enough: it must be brought up to date; or lower minimum_tls"
_OURS = "the next hop wants a certificate of ours, or another one: give the route certificate and key"
_NOTHING_COMMON = "no cipher in common, or the next hop wants a certificate of ours: it must be brought up to date"

# By OpenSSL's name of the reason, or of the alert that it got.
_REMEDIES = {
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "HTTP_REQUEST": _NO_TLS,
    "UNSUPPORTED_PROTOCOL": _VERSION,
    "TLSV1_ALERT_PROTOCOL_VERSION": _VERSION,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": _NOTHING_COMMON,
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": _NOTHING_COMMON,
    "TLSV1_UNRECOGNIZED_NAME": "the next hop does not know itself by that name: correct host of the route",
}
_OF_CERTIFICATES = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED")
_PASSING = frozenset(
    {
        "TLSV1_ALERT_INTERNAL_ERROR",
        "TLSV1_ALERT_USER_CANCELLED",
        "TLSV1_ALERT_DECODE_ERROR",
        "SSLV3_ALERT_BAD_RECORD_MAC",
        "SSLV3_ALERT_CLOSE_NOTIFY",
        "DECRYPTION_FAILED_OR_BAD_RECORD_MAC",
    }
)


def handshake_trouble(host: str, error: OSError) -> Trouble:
    """Return what *error*, which ended the handshake with *host*, means."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return route_trouble("4.7.5", f"certificate of {host} is not good: {error.verify_message}")
    reason = _reason(error)
    if not reason:
        # It says nothing in words of its own, or the event loop's, which are none for everybody.
        said = "it took too long" if isinstance(error, ConnectionAbortedError) else "it was broken off"
        return next_hop_trouble("4.7.5", f"no TLS with {host}: {said}")
    text = f"no TLS with {host}: {_in_words(reason)}"
    if reason in _PASSING:
        return next_hop_trouble("4.7.5", text)
    return _for_the_operator(text, reason)


def plain_talk(host: str) -> Trouble:
    """Say that *host* spoke before the handshake, where TLS comes first."""
    return _for_the_operator(f"no TLS with {host}: it speaks in clear", "WRONG_VERSION_NUMBER")


def lost_connection(host: str, error: Exception | None) -> Trouble:
    """Return what the end of a connection to *host* means."""
    if error is None:
        return next_hop_trouble("4.4.2", "connection closed by the next hop")
    reason = _reason(error)
    # With TLS 1.3 it looks at our certificate when the handshake is over for us.
    if any(word in reason for word in _OF_CERTIFICATES):
        return _for_the_operator(f"no TLS with {host}: {_in_words(reason)}", reason)
    return next_hop_trouble("4.4.2", f"connection lost: {_in_words(reason) if reason else error}")


def _for_the_operator(text: str, reason: str) -> Trouble:
    trouble = route_trouble("4.7.5", text)
    remedy = _REMEDIES.get(reason, "")
    if any(word in reason for word in _OF_CERTIFICATES):
        remedy = _OURS
    return Trouble(replace(trouble.reply, remedy=remedy), Cause.ROUTE)


def _reason(error: Exception) -> str:
    # Ends without a word have a reason only with some versions of OpenSSL.
    if not isinstance(error, ssl.SSLError) or isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return ""
    return error.reason or ""


def _in_words(reason: str) -> str:
    return reason.lower().replace("_", " ")
