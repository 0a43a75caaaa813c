"""Which certificate a client is shown, before and after a reload, and that its tickets go on working."""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path

import pytest
import trustme

from gatepost.errors import ConfigError
from gatepost.listener.tls import KeyPair, ListenerContext, load_pairs, read_pair, server_context

CA = trustme.CA()
EC, RSA = trustme.KeyType.ECDSA, trustme.KeyType.RSA
RSA_ONLY, EC_ONLY = "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"


def pair(*names: str, kind: trustme.KeyType = EC, days: int | None = None) -> KeyPair:
    ends = None if days is None else dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    leaf = CA.issue_cert(*names, key_type=kind, not_after=ends)
    chain = b"".join(part.bytes() for part in leaf.cert_chain_pems)
    return KeyPair(" ".join(names), chain, leaf.private_key_pem.bytes())


@pytest.fixture(scope="module")
def rsa() -> KeyPair:
    return pair("mail.example.org", kind=RSA)


class Shown:
    """What a handshake showed to the client."""

    def __init__(self, client: ssl.SSLObject) -> None:
        der = client.getpeercert(binary_form=True)
        assert der is not None
        self.pem = ssl.DER_cert_to_PEM_cert(der)
        self.version = client.version()
        self.session = client.session
        self.is_resumed = client.session_reused

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeyPair) and other.certificate.decode().startswith(self.pem)

    __hash__ = None  # type: ignore[assignment]


def client_context(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, ciphers: str = "") -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    CA.configure_trust(context)
    context.maximum_version = version
    if ciphers:
        context.set_ciphers(ciphers)
    return context


def shake(
    server: ssl.SSLContext,
    name: str | None,
    context: ssl.SSLContext | None = None,
    session: ssl.SSLSession | None = None,
) -> Shown:
    """Shake hands in memory; raise what the client hears of."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = (context or client_context()).wrap_bio(to_client, to_server, server_hostname=name, session=session)
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    waiting = [client, ours]
    while waiting:
        for each in list(waiting):
            try:
                each.do_handshake()
                waiting.remove(each)
            except ssl.SSLWantReadError:
                continue
    ours.write(b"220")
    assert client.read(3) == b"220"
    return Shown(client)


VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


@pytest.mark.rfc("6066 §3")
@VERSIONS
def test_the_name_that_a_client_asks_for_chooses(version: ssl.TLSVersion) -> None:
    default, net, wild = pair("mail.example.org"), pair("mail.example.net", "smtp.example.net"), pair("*.example.com")
    server = server_context([default, net, wild])
    asked = {
        "mail.example.org": default,
        "mail.example.net": net,
        "SMTP.Example.NET": net,
        "a.example.com": wild,
        "a.b.example.com": default,
        "example.com": default,
        "unknown.example": default,
        None: default,
    }
    assert {
        name: shake(server, name, client_context(version)) == shown for name, shown in asked.items()
    } == dict.fromkeys(asked, True)


@pytest.mark.parametrize("name", ["mail.example.org", "unknown.example", None])
def test_each_kind_of_key_is_shown_to_who_can_verify_it(rsa: KeyPair, name: str | None) -> None:
    ecdsa = pair("mail.example.org")
    for pairs in ([ecdsa, rsa], [rsa, ecdsa]):
        server = server_context(pairs)
        assert shake(server, name, client_context(ssl.TLSVersion.TLSv1_2, EC_ONLY)) == ecdsa
        assert shake(server, name, client_context(ssl.TLSVersion.TLSv1_2, RSA_ONLY)) == rsa
        assert shake(server, name) in (ecdsa, rsa)


def test_the_first_of_a_kind_counts_for_a_name() -> None:
    first, second = pair("mail.example.org"), pair("mail.example.org", "smtp.example.org")
    server = server_context([first, second])
    assert shake(server, "mail.example.org") == first
    assert shake(server, "smtp.example.org") == second


@pytest.mark.rfc("9325 §4.2")
@pytest.mark.parametrize("ciphers", ["AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "AES128-GCM-SHA256"])
def test_weak_ciphers_are_refused_whatever_the_name(ciphers: str) -> None:
    server = server_context([pair("mail.example.org"), pair("mail.example.net")])
    for name in ("mail.example.org", "mail.example.net"):
        with pytest.raises(ssl.SSLError):
            shake(server, name, client_context(ssl.TLSVersion.TLSv1_2, f"{ciphers}:@SECLEVEL=0"))


@pytest.mark.rfc("8996 §4")
def test_the_oldest_version_holds_for_every_name_also_after_a_reload() -> None:
    pairs = [pair("mail.example.org"), pair("mail.example.net")]
    server = server_context(pairs)
    load_pairs(server, pairs, minimum_version="TLSv1.3")
    for name in ("mail.example.org", "mail.example.net"):
        with pytest.raises(ssl.SSLError):
            shake(server, name, client_context(ssl.TLSVersion.TLSv1_2))
        assert shake(server, name).version == "TLSv1.3"


@VERSIONS
@pytest.mark.parametrize("name", ["mail.example.org", "mail.example.net"])
def test_a_ticket_holds_through_every_reload(version: ssl.TLSVersion, name: str, rsa: KeyPair) -> None:
    old = pair("mail.example.org")
    server = server_context([old])
    context = client_context(version)
    ticket = shake(server, name, context).session
    for pairs in ([old, pair("mail.example.net")], [pair("mail.example.org")], [rsa], [old]):
        load_pairs(server, pairs)
        again = shake(server, name, context, ticket)
        assert again.is_resumed
    ticket = shake(server, name, context).session
    assert shake(server, name, context, ticket).is_resumed
    assert not shake(server, name, context).is_resumed


def test_a_reload_shows_what_it_brings_and_nothing_else(rsa: KeyPair) -> None:
    old, new, net = pair("mail.example.org"), pair("mail.example.org"), pair("mail.example.net")
    server = server_context([old, net])
    load_pairs(server, [new])
    assert shake(server, "mail.example.org") == new
    assert shake(server, "mail.example.net") == new
    load_pairs(server, [rsa, net])
    assert shake(server, "mail.example.org") == rsa  # though ECDSA would be preferred
    assert shake(server, "mail.example.net") == net
    with pytest.raises(ssl.SSLError):
        shake(server, None, client_context(ssl.TLSVersion.TLSv1_2, EC_ONLY))
    load_pairs(server, [old])
    assert shake(server, "mail.example.net") == old


@pytest.mark.parametrize("place", [0, 1])
def test_a_pair_that_cannot_be_used_is_named_and_changes_nothing(place: int) -> None:
    old, net = pair("mail.example.org"), pair("mail.example.net")
    server = server_context([old, net])
    expires = server.expires
    new = [pair("mail.example.org"), pair("mail.example.net")]
    new[place] = KeyPair("the bad one", new[place].certificate, old.key)
    with pytest.raises(ConfigError, match="the bad one cannot be used"):
        load_pairs(server, new, minimum_version="TLSv1.3")
    assert shake(server, "mail.example.org", client_context(ssl.TLSVersion.TLSv1_2)) == old
    assert shake(server, "mail.example.net") == net
    assert server.expires == expires


def test_the_first_end_of_all_certificates_is_known() -> None:
    server = server_context([pair("mail.example.org", days=30), pair("mail.example.net", days=10)])
    assert server.expires is not None
    left = dt.datetime.fromtimestamp(server.expires, dt.UTC) - dt.datetime.now(dt.UTC)
    assert 9 <= left.days <= 10
    load_pairs(server, [pair("mail.example.org", days=30)])
    assert server.expires > dt.datetime.now(dt.UTC).timestamp() + 20 * 86400


def test_one_ticket_is_given() -> None:
    assert server_context([pair("mail.example.org")]).num_tickets == 1


def test_a_file_may_hold_certificate_and_key(tmp_path: Path) -> None:
    both = pair("mail.example.org")
    assert both.key is not None
    (tmp_path / "both.pem").write_bytes(both.certificate + both.key)
    server = server_context([read_pair(tmp_path / "both.pem")])
    assert isinstance(server, ListenerContext)
    assert shake(server, None) == both
    with pytest.raises(ConfigError, match=r"nowhere\.pem cannot be used: .*No such file"):
        read_pair(tmp_path / "nowhere.pem")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
def test_old_versions_are_taken_in_the_context_for_old_devices_alone(rsa: KeyPair, version: ssl.TLSVersion) -> None:
    net, new = pair("mail.example.net"), pair("mail.example.net", kind=RSA)
    server = server_context([rsa, net], has_legacy=True)
    assert server.legacy is not None

    def old_client(ciphers: str = "ALL") -> ssl.SSLContext:
        context = client_context(version, f"{ciphers}:@SECLEVEL=0")
        context.minimum_version = version
        return context

    assert shake(server.legacy, "mail.example.org", old_client("AES128-SHA")) == rsa
    assert shake(server.legacy, "mail.example.net", old_client()) == net
    for nothing in ("RC4", "NULL", "aNULL", "3DES"):
        with pytest.raises(ssl.SSLError):
            shake(server.legacy, "mail.example.org", old_client(nothing))
    load_pairs(server, [rsa, new])
    assert shake(server.legacy, "mail.example.net", old_client("AES128-SHA")) == new
    assert shake(server.legacy, "mail.example.net").version == "TLSv1.3"
    if version < ssl.TLSVersion.TLSv1_2:
        with pytest.raises(ssl.SSLError):
            shake(server, "mail.example.org", old_client())
    assert server_context([rsa]).legacy is None
