"""What a TLS connection gives to bind to: handshakes in memory, without a socket."""

from __future__ import annotations

import ssl
from typing import Any, cast

import pytest

from gatepost import channel_binding
from gatepost.channel_binding import bindings
from gatepost.sasl.registry import MECHANISMS
from gatepost.session.offer import workable
from servers import Authority

PLUS, PLAIN = MECHANISMS["SCRAM-SHA-256-PLUS"], MECHANISMS["PLAIN"]
NO_EXTENDED_MASTER_SECRET = 1  # SSL_OP_NO_EXTENDED_MASTER_SECRET, which the ssl module has no name for


class Transport:
    """Knows its TLS object, and nothing else."""

    def __init__(self, tls: object) -> None:
        self._tls = tls

    def get_extra_info(self, name: str) -> object:
        return self._tls if name == "ssl_object" else None


def bound(tls: object) -> Any:
    return bindings(cast("Any", Transport(tls)))


def handshake(
    authority: Authority, *, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, options: int = 0
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Return both ends of a connection, the server's first."""
    contexts = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), authority.client_context()
    contexts[0].load_cert_chain(authority.certificate, authority.key)
    return connect(contexts, version, options)


def connect(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], version: ssl.TLSVersion, options: int = 0, session: Any = None
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    for context in contexts:
        context.maximum_version = version
        context.options |= options
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = contexts[0].wrap_bio(there, back, server_side=True)
    client = contexts[1].wrap_bio(back, there, server_hostname="localhost", session=session)
    for _ in range(4):
        for end in (client, server):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return server, client


@pytest.mark.rfc("9266 §2")
def test_both_ends_of_tls_1_3_export_the_same_32_octets_and_other_connections_others(authority: Authority) -> None:
    server, client = handshake(authority)
    assert server.version() == "TLSv1.3"
    exported = bound(server)
    assert list(exported) == ["tls-exporter"]
    assert len(exported["tls-exporter"]) == 32
    assert bound(client) == exported == bound(server)
    assert bound(handshake(authority)[0]) != exported


@pytest.mark.rfc("5929 §3")
def test_both_ends_of_tls_1_2_have_the_same_first_finished(authority: Authority) -> None:
    server, client = handshake(authority, version=ssl.TLSVersion.TLSv1_2)
    assert server.version() == "TLSv1.2"
    assert list(bound(server)) == ["tls-unique"]
    assert bound(server) == bound(client) == {"tls-unique": client.get_channel_binding("tls-unique")}
    assert bound(handshake(authority, version=ssl.TLSVersion.TLSv1_2)[0]) != bound(server)


@pytest.mark.rfc("5929 §3")
def test_both_ends_of_a_resumed_connection_have_the_same_and_it_is_not_that_of_the_first(authority: Authority) -> None:
    contexts = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), authority.client_context()
    contexts[0].load_cert_chain(authority.certificate, authority.key)
    first, old = connect(contexts, ssl.TLSVersion.TLSv1_2)
    server, client = connect(contexts, ssl.TLSVersion.TLSv1_2, session=old.session)
    assert client.session_reused
    assert bound(server) == bound(client) != bound(first)


@pytest.mark.rfc("9266 §3")
@pytest.mark.rfc("7627 §1")
def test_without_extended_master_secret_nothing_is_bound(authority: Authority) -> None:
    ends = handshake(authority, version=ssl.TLSVersion.TLSv1_2, options=NO_EXTENDED_MASTER_SECRET)
    assert ends[0].get_channel_binding("tls-unique"), "the ssl module would take it"
    assert [bound(each) for each in ends] == [{}, {}]


def test_in_clear_and_with_other_objects_nothing_is_bound(authority: Authority) -> None:
    class Lookalike:
        def __init__(self, inner: Any) -> None:
            self._sslobj = inner

        def version(self) -> str:
            return "TLSv1.3"

    server, _ = handshake(authority)
    assert bindings(None) == {}
    assert bound(None) == {}
    assert bound(object()) == {}
    assert bound(Lookalike(cast("Any", server)._sslobj)) == {}
    assert bound(Lookalike(object())) == {}


def test_before_the_handshake_nothing_is_bound(authority: Authority) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert bound(context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)) == {}


def test_an_object_of_another_layout_is_not_looked_into(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    server, _ = handshake(authority)
    # As if the members stood one place further.
    monkeypatch.setattr(channel_binding, "_WORD", 2 * channel_binding._WORD)
    assert bound(server) == {}


def test_a_pointer_to_another_connection_is_not_used(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    server, _ = handshake(authority)

    class Wrong:
        def SSL_get_version(self, _pointer: int) -> bytes:
            return b"TLSv1.2"

    monkeypatch.setattr(channel_binding, "_openssl", Wrong)
    assert bound(server) == {}


def test_without_openssl_at_hand_nothing_is_bound(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    server, _ = handshake(authority)
    monkeypatch.setattr(channel_binding.sys.implementation, "name", "another")
    channel_binding._openssl.cache_clear()
    try:
        assert bound(server) == {}
    finally:
        channel_binding._openssl.cache_clear()


def test_what_binds_is_offered_only_where_it_can(authority: Authority) -> None:
    server, _ = handshake(authority)
    weak, _ = handshake(authority, version=ssl.TLSVersion.TLSv1_2, options=NO_EXTENDED_MASTER_SECRET)
    assert workable([PLUS, PLAIN], cast("Any", Transport(server))) == (PLUS, PLAIN)
    assert workable([PLUS, PLAIN], cast("Any", Transport(weak))) == (PLAIN,)
    assert workable([PLUS, PLAIN], cast("Any", Transport(None))) == (PLAIN,)
    assert workable([PLUS, PLAIN], None) == (PLAIN,)
    assert workable([PLAIN], None) == (PLAIN,)
