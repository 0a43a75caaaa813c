"""Whatever libraries say: the system's words."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest

from gatepost.model.system_words import system_words


def wrapped(cause: BaseException) -> BaseException:
    """Return *cause* in the words of two libraries."""
    try:
        try:
            raise OSError("All connection attempts failed") from cause
        except OSError as error:
            raise RuntimeError("ConnectError") from error
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (OSError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 1)"), "Connection refused"),
        (ExceptionGroup("two", [OSError(errno.ENETUNREACH, "x"), OSError(1, "y")]), "Network is unreachable"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
    ],
)
def test_the_system_s_words_come_through_those_of_libraries(cause: BaseException, words: str) -> None:
    assert system_words(wrapped(cause)).startswith(words)


def test_a_certificate_that_is_refused_is_told_by_its_reason() -> None:
    cause = ssl.SSLCertVerificationError(1, "certificate verify failed")
    cause.verify_message = "certificate has expired"
    assert system_words(wrapped(cause)) == "certificate refused: certificate has expired"


def test_trouble_of_tls_is_told_by_its_name() -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    incoming.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(ssl.SSLError) as caught:
        ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    assert system_words(wrapped(caught.value)) in {"TLS failed: WRONG_VERSION_NUMBER", "TLS failed: HTTP_REQUEST"}


def test_without_any_the_words_are_the_library_s() -> None:
    assert system_words(RuntimeError("broken")) == "broken"
    assert system_words(RuntimeError()) == "RuntimeError"
