"""What a failed TLS handshake means: names of reasons are OpenSSL's."""

from __future__ import annotations

import ssl

import pytest

from gatepost.model.delivery import Cause
from gatepost.relay.tls_trouble import handshake_trouble, lost_connection


def error(reason: str) -> ssl.SSLError:
    made = ssl.SSLError(1, f"[SSL: {reason}] whatever (_ssl.c:1006)")
    made.reason = reason
    return made


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("WRONG_VERSION_NUMBER", "correct port or tls"),
        ("HTTP_REQUEST", "correct port or tls"),
        ("UNSUPPORTED_PROTOCOL", "minimum_tls"),
        ("TLSV1_ALERT_PROTOCOL_VERSION", "minimum_tls"),
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", "no cipher in common"),
        ("TLSV1_UNRECOGNIZED_NAME", "correct host"),
        ("TLSV1_ALERT_UNKNOWN_CA", "give the route certificate and key"),
        ("SSLV3_ALERT_BAD_CERTIFICATE", "give the route certificate and key"),
        ("A_REASON_OF_TOMORROW", ""),
    ],
)
def test_what_does_not_fit_together_is_for_the_operator(reason: str, remedy: str) -> None:
    trouble = handshake_trouble("mx.example.net", error(reason))
    assert trouble.cause is Cause.ROUTE
    assert str(trouble.reply) == f"454 4.7.5 no TLS with mx.example.net: {reason.lower().replace('_', ' ')}"
    assert remedy in trouble.reply.remedy
    assert bool(remedy) == bool(trouble.reply.remedy)


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (error("TLSV1_ALERT_INTERNAL_ERROR"), "tlsv1 alert internal error"),
        (error("DECRYPTION_FAILED_OR_BAD_RECORD_MAC"), "decryption failed or bad record mac"),
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol (_ssl.c:1006)"), "it was broken off"),
        (ConnectionResetError(), "it was broken off"),
        (ConnectionAbortedError("SSL handshake is taking longer than 60.0 seconds"), "it took too long"),
    ],
)
def test_what_may_pass_by_itself_is_the_next_hop_s(failure: OSError, said: str) -> None:
    trouble = handshake_trouble("mx.example.net", failure)
    assert trouble.cause is Cause.NEXT_HOP
    assert str(trouble.reply) == f"451 4.7.5 no TLS with mx.example.net: {said}"


def test_a_certificate_that_is_not_good_is_named() -> None:
    failure = ssl.SSLCertVerificationError(1, "certificate verify failed")
    failure.verify_message = "certificate has expired"
    trouble = handshake_trouble("mx.example.net", failure)
    assert trouble.cause is Cause.ROUTE
    assert trouble.reply.text == "certificate of mx.example.net is not good: certificate has expired"


def test_a_certificate_of_ours_that_is_refused_after_the_handshake_is_for_the_operator() -> None:
    trouble = lost_connection("mx.example.net", error("TLSV13_ALERT_CERTIFICATE_REQUIRED"))
    assert trouble.cause is Cause.ROUTE
    assert trouble.reply.text == "no TLS with mx.example.net: tlsv13 alert certificate required"
    assert "give the route certificate and key" in trouble.reply.remedy


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (None, "connection closed by the next hop"),
        (
            ConnectionResetError(104, "Connection reset by peer"),
            "connection lost: [Errno 104] Connection reset by peer",
        ),
        (error("APPLICATION_DATA_AFTER_CLOSE_NOTIFY"), "connection lost: application data after close notify"),
    ],
)
def test_any_other_end_is_the_next_hop_s(failure: Exception | None, text: str) -> None:
    trouble = lost_connection("mx.example.net", failure)
    assert (trouble.cause, trouble.reply.text) == (Cause.NEXT_HOP, text)
