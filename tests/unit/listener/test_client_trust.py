"""A listener that asks for client certificates: who gets through the handshake, and that nobody resumes."""

from __future__ import annotations

import gc
import hashlib
import ssl

import pytest
import trustme

from client_certificates import ClientAuthority
from gatepost.errors import ConfigError
from gatepost.listener.client_trust import SIZE_LIMIT, ClientTrust, read_trust
from gatepost.listener.tls import KeyPair, ListenerContext, load_pairs, server_context

CA = trustme.CA()
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def pair(*names: str, kind: trustme.KeyType = trustme.KeyType.ECDSA) -> KeyPair:
    leaf = CA.issue_cert(*names, key_type=kind)
    return KeyPair(
        " ".join(names), b"".join(part.bytes() for part in leaf.cert_chain_pems), leaf.private_key_pem.bytes()
    )


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> ClientAuthority:
    return ClientAuthority(tmp_path_factory.mktemp("clients"))


@pytest.fixture
def asking(clients: ClientAuthority) -> ListenerContext:
    return server_context([pair("mail.example.org")], trusts={"devices": read_trust(clients.path)})


def client_context(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    context = ssl.create_default_context()
    CA.configure_trust(context)
    context.minimum_version = context.maximum_version = version
    return context


def shake(
    server: ssl.SSLContext,
    context: ssl.SSLContext,
    session: ssl.SSLSession | None = None,
    name: str = "mail.example.org",
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Shake hands in memory; return both ends, the client's first."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname=name, session=session)
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    waiting = [client, ours]
    while waiting:
        for each in list(waiting):
            try:
                each.do_handshake()
                waiting.remove(each)
            except ssl.SSLWantReadError:
                continue
        gc.collect()
    ours.write(b"220")
    assert client.read(3) == b"220"
    return client, ours


@pytest.mark.parametrize("version", VERSIONS)
def test_a_certificate_is_asked_for_where_it_should_be_and_nowhere_else(clients, asking, version):
    context = clients.issue("laptop").show(client_context(version))
    _, ours = shake(asking.asking["devices"], context)
    assert ours.getpeercert(binary_form=True) is not None
    _, ours = shake(asking, context)
    assert ours.getpeercert(binary_form=True) is None
    _, ours = shake(asking.asking["devices"], client_context(version))
    assert ours.getpeercert(binary_form=True) is None


@pytest.mark.rfc("8446 §4.6.1")
@pytest.mark.parametrize("version", VERSIONS)
def test_nobody_resumes_there_though_others_do(clients, asking, version):
    context = clients.issue("laptop").show(client_context(version))
    client, _ = shake(asking, context)
    assert shake(asking, context, client.session)[0].session_reused
    client, _ = shake(asking.asking["devices"], context)
    assert client.session is None or not client.session.has_ticket
    again, ours = shake(asking.asking["devices"], context, client.session)
    assert not again.session_reused
    assert not ours.session_reused


def test_versions_and_ciphers_are_those_of_the_other_listeners(clients):
    server = server_context(
        [pair("mail.example.org", kind=trustme.KeyType.RSA)], trusts={"devices": read_trust(clients.path)}
    )
    old = client_context(ssl.TLSVersion.TLSv1_2)
    for ciphers in ("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA", "AES128-SHA"):
        old.set_ciphers(ciphers)
        for context in (server, server.asking["devices"]):
            if "GCM" in ciphers:
                assert shake(context, old)[0].version() == "TLSv1.2"
            else:
                with pytest.raises(ssl.SSLError):
                    shake(context, old)
    load_pairs(server, [pair("mail.example.org")], minimum_version="TLSv1.3")
    old.set_ciphers("ECDHE+AESGCM")
    for context in (server, server.asking["devices"]):
        with pytest.raises(ssl.SSLError):
            shake(context, old)


def test_names_are_shown_and_renewed_as_elsewhere(clients):
    first, net, new = pair("mail.example.org"), pair("mail.example.net"), pair("mail.example.net")
    server = server_context([first, net], trusts={"devices": read_trust(clients.path)})
    context = clients.issue("laptop").show(client_context())

    def shown(name: str) -> bytes | None:
        return shake(server.asking["devices"], context, name=name)[0].getpeercert(binary_form=True)

    assert shown("mail.example.org") != shown("mail.example.net")
    before = shown("mail.example.net")
    load_pairs(server, [first, new])
    assert shown("mail.example.net") != before
    assert shake(server.asking["devices"], context)[1].getpeercert(binary_form=True), "trust stays"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_reload_takes_trust_away_and_gives_it(clients, asking, tmp_path, version):
    others = ClientAuthority(tmp_path, "others")
    mine = clients.issue("mine").show(client_context(version))
    theirs = others.issue("theirs").show(client_context(version))
    own = [pair("mail.example.org")]
    with pytest.raises(ssl.SSLError):
        shake(asking.asking["devices"], theirs)
    load_pairs(asking, own, trusts={"devices": read_trust(others.path)})
    shake(asking.asking["devices"], theirs)
    with pytest.raises(ssl.SSLError):
        shake(asking.asking["devices"], mine)
    lost = others.issue("lost")
    load_pairs(asking, own, trusts={"devices": read_trust(others.path, others.revoke(lost))})
    shake(asking.asking["devices"], theirs)
    with pytest.raises(ssl.SSLError):
        shake(asking.asking["devices"], lost.show(client_context(version)))


def test_a_certificate_beside_a_revocation_list_makes_nobody_trusted(clients, tmp_path):
    stranger = ClientAuthority(tmp_path / "stranger", "stranger")
    lists = clients.revoke().read_bytes()
    for beside, is_refused in ((stranger.path, True), (clients.path, False)):
        both = tmp_path / "both.pem"
        both.write_bytes(lists + beside.read_bytes())
        trusts = {"devices": read_trust(clients.path, both)}
        if is_refused:
            with pytest.raises(ConfigError, match=r"listener\.client_crl: .* beside the CRLs stands a certificate"):
                server_context([pair("mail.example.org")], trusts=trusts)
            continue
        server = server_context([pair("mail.example.org")], trusts=trusts).asking["devices"]
        shake(server, clients.issue("tablet").show(client_context()))
        with pytest.raises(ssl.SSLError):
            shake(server, stranger.issue("laptop").show(client_context(ssl.TLSVersion.TLSv1_2)))


def test_what_cannot_be_used_is_told_and_changes_nothing(clients, asking, tmp_path):
    context = clients.issue("laptop").show(client_context())
    empty, junk = tmp_path / "empty.pem", tmp_path / "junk.pem"
    empty.touch()
    junk.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    for path in (empty, junk):
        with pytest.raises(ConfigError, match=r"listener\.client_ca: .* cannot be used: .*; give certificates"):
            load_pairs(asking, [pair("mail.example.org")], trusts={"devices": read_trust(path)})
        with pytest.raises(ConfigError, match="cannot be used"):
            server_context([pair("mail.example.org")], trusts={"devices": read_trust(clients.path, path)})
    with pytest.raises(ConfigError, match="holds no certificate"):
        server_context([pair("mail.example.org")], trusts={"devices": read_trust(clients.revoke())})
    with pytest.raises(ConfigError, match="No such file"):
        read_trust(tmp_path / "nowhere.pem")
    big = tmp_path / "big.pem"
    big.write_bytes(b"#" * (SIZE_LIMIT + 1))
    for files in ((big, None), (clients.path, big)):
        with pytest.raises(ConfigError, match="is larger than 1 MiB"):
            read_trust(*files)
    shake(asking.asking["devices"], context)


def test_nothing_shows_what_was_read():
    assert "secret" not in repr(ClientTrust("clients.pem", b"secret", b"secret"))


@pytest.mark.rfc("8446 §4.1.4")
def test_a_client_that_is_asked_to_begin_again_goes_on_in_the_context_that_counts(asking):
    """OpenSSL asks the context in which the connection began a second time: it must still be there."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context().wrap_bio(to_client, to_server, server_hostname="mail.example.org")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    hello = to_server.read()
    ours = asking.asking["devices"].wrap_bio(to_server, to_client, server_side=True)
    for each in (without_key(hello), hello):
        to_server.write(each)
        with pytest.raises(ssl.SSLWantReadError):
            ours.do_handshake()
        gc.collect()
    assert to_client.read().count(HELLO_RETRY_REQUEST) == 1
    assert ours.context is not asking.asking["devices"]


# The random of a HelloRetryRequest: SHA-256 of its name.
HELLO_RETRY_REQUEST = hashlib.sha256(b"HelloRetryRequest").digest()


def without_key(hello: bytes) -> bytes:
    """Take the keys out of the key_share extension of a ClientHello in one record, and correct all lengths."""

    def number(place: int, octets: int = 2) -> int:
        return int.from_bytes(hello[place : place + octets], "big")

    extensions = 9 + 2 + 32  # record, message, version, random
    extensions += 1 + number(extensions, 1)  # session id
    extensions += 2 + number(extensions)  # ciphers
    extensions += 1 + number(extensions, 1)  # compression
    place = extensions + 2
    while number(place) != 51:  # key_share
        place += 4 + number(place + 2)
    keys = number(place + 4)
    shorter = bytearray(hello[: place + 6] + hello[place + 6 + keys :])
    for begin, octets in ((3, 2), (6, 3), (extensions, 2), (place + 2, 2), (place + 4, 2)):
        shorter[begin : begin + octets] = (number(begin, octets) - keys).to_bytes(octets, "big")
    return bytes(shorter)
