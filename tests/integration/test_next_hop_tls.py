"""A next hop whose TLS is bad in each way it can be: no password goes there, no mail, and nobody gets a bounce.

What an operator must mend (a certificate, no TLS in common) pauses the route; what may pass by itself (a handshake that
is broken off) defers.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from contracts.transport_contract import delivery
from gatepost.model.delivery import Cause, Deferred
from gatepost.model.identity import Secret
from gatepost.relay.smarthost import SmartHost, TlsMode
from gatepost.relay.wire import Timeouts
from next_hop import FakeNextHop, babble, say
from next_hop_answers import seen
from servers import Authority

ROUTE, DOWN = ["deferred route 454"], ["deferred next-hop 451"]
LONG_AGO, SOON = dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime(2090, 1, 1, tzinfo=dt.UTC)


def own(*names: str, **options: dt.datetime) -> Callable[[trustme.CA, ssl.SSLContext], None]:
    """Use a certificate of the known authority."""

    def use(ca: trustme.CA, context: ssl.SSLContext) -> None:
        ca.issue_cert(*(names or ("127.0.0.1",)), **options).configure_cert(context)

    return use


def of_a_stranger(_: trustme.CA, context: ssl.SSLContext) -> None:
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)


def without_its_chain(ca: trustme.CA, context: ssl.SSLContext) -> None:
    leaf = ca.create_child_ca().issue_cert("127.0.0.1")
    with leaf.private_key_and_cert_chain_pem.tempfile() as path:
        part = Path(path).with_suffix(".leaf")
        part.write_bytes(leaf.private_key_pem.bytes() + leaf.cert_chain_pems[0].bytes())
    context.load_cert_chain(part)
    part.unlink()


def too_old(ca: trustme.CA, context: ssl.SSLContext) -> None:
    own()(ca, context)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1


def without_common_ciphers(ca: trustme.CA, context: ssl.SSLContext) -> None:
    own()(ca, context)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("NULL-SHA256:@SECLEVEL=0")


def asking_for_ours(ca: trustme.CA, context: ssl.SSLContext) -> None:
    own()(ca, context)
    ca.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED


# What is wrong with it, what to do to its TLS context, what it comes to.
BAD = [
    ("expired", own(not_before=LONG_AGO, not_after=LONG_AGO + dt.timedelta(days=90)), ROUTE),
    ("not valid yet", own(not_before=SOON, not_after=SOON + dt.timedelta(days=90)), ROUTE),
    ("of another name", own("other.example"), ROUTE),
    ("of a name that ends the same", own("127.0.0.1.example"), ROUTE),
    ("of a stranger", of_a_stranger, ROUTE),
    ("chain not whole", without_its_chain, ROUTE),
    ("TLS 1.1 at most", too_old, DOWN),
    ("no common cipher", without_common_ciphers, DOWN),
    ("wants a certificate of ours", asking_for_ours, DOWN),
]


@pytest.mark.rfc("8314 §4")
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_bad_tls_gets_neither_password_nor_mail(tmp_path: Path, tls: str) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    wrong = {}
    for name, spoil, expected in BAD:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        spoil(ca, context)
        async with FakeNextHop(tls=tls, context=context, mechanisms=("PLAIN",), logins={"tim": "pass"}) as hop:
            got = await attempt(hop, tmp_path / "ca.pem")
            if got != expected or hop.used_mechanisms or hop.mails:
                wrong[name] = got, hop.used_mechanisms
    assert not wrong


def shake_hands(server: socket.socket, context: ssl.SSLContext) -> None:
    """Fail in a handshake as OpenSSL does, with an alert, and wait until the other end has gone."""
    connection, _ = server.accept()
    with connection, connection.dup() as spare:
        spare.settimeout(60)
        with contextlib.suppress(OSError):
            context.wrap_socket(connection, server_side=True).close()
        with contextlib.suppress(OSError):
            while spare.recv(4096):
                pass


def asking_for_ours_in_tls_1_2(ca: trustme.CA, context: ssl.SSLContext) -> None:
    asking_for_ours(ca, context)
    context.maximum_version = ssl.TLSVersion.TLSv1_2


# What is wrong with it, what is said of it, and what the operator is told to do.
ALERTS = [
    (too_old, "alert protocol version", "minimum_tls"),
    (without_common_ciphers, "alert handshake failure", "no cipher in common"),
    (asking_for_ours, "alert certificate required", "give the route certificate"),
    (asking_for_ours_in_tls_1_2, "alert handshake failure", "wants a certificate of ours"),
]


@pytest.mark.rfc("8314 §4")
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize(("spoil", "said", "remedy"), ALERTS)
async def test_what_the_two_cannot_agree_on_is_named_to_the_operator(
    tmp_path: Path, spoil: Callable[[trustme.CA, ssl.SSLContext], None], said: str, remedy: str
) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    spoil(ca, context)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        ending = asyncio.create_task(asyncio.to_thread(shake_hands, server, context))
        host = SmartHost(
            "out",
            "127.0.0.1",
            server.getsockname()[1],
            hostname="gatepost.example",
            tls=TlsMode.IMPLICIT,
            ca_file=tmp_path / "ca.pem",
        )
        (result,) = await host.deliver(delivery())
        await host.close()
        await ending
    assert isinstance(result, Deferred)
    assert result.cause is Cause.ROUTE
    assert said in result.reply.text
    assert remedy in result.reply.remedy


# RFC 3207 §4: what comes between the reply to STARTTLS and the handshake is nobody's word.
INSTEAD = {
    "a reply": b"250 ok\r\n",
    "half a reply": b"250-",
    "another EHLO": b"250-hop\r\n250 AUTH PLAIN\r\n",
    "a login that succeeds": b"235 2.7.0 welcome\r\n",
    "NUL": b"\0" * 100,
    "an alert": b"\x15\x03\x03\x00\x02\x02\x28",
    "a record without end": b"\x16\x03\x03\xff\xff" + b"\x02" * 70_000,
    "its own client hello": b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
}


@pytest.mark.rfc("3207 §4")
async def test_what_is_said_instead_of_a_handshake_is_not_believed(authority: Authority) -> None:
    wrong = {}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)
    for name, octets in INSTEAD.items():
        for is_at_once in (True, False):
            async with FakeNextHop(tls="starttls", context=context, mechanisms=("PLAIN",)) as hop:
                hop.on("STARTTLS", babble(b"220 go\r\n" + octets) if is_at_once else say("220 go"))
                hop.before_tls = b"" if is_at_once else octets
                got = await attempt(hop, authority.ca)
                # What cannot be read as TLS is for the operator; half a record may be on its way.
                expected = DOWN if is_at_once or name == "half a reply" else ROUTE
                if got != expected or hop.used_mechanisms or hop.mails:
                    wrong[name, is_at_once] = got
    assert not wrong


async def attempt(hop: FakeNextHop, ca: Path) -> list[str]:
    host = SmartHost(
        "out",
        "127.0.0.1",
        hop.port,
        hostname="gatepost.example",
        tls=TlsMode(hop.tls),
        ca_file=ca,
        login="tim",
        password=Secret(b"pass"),
        timeouts=Timeouts(handshake=1.0),
    )
    try:
        async with asyncio.timeout(60):
            return seen(list(await host.deliver(delivery())))
    finally:
        await host.close()
