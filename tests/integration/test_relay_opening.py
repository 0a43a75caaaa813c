"""Getting in at a next hop: addresses, TLS in each way, login by each mechanism, and every way in which it fails."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from socket import AF_INET

import pytest

from contracts.transport_contract import delivery
from gatepost.model.delivery import Cause, Deferred, Delivered, Result
from gatepost.model.identity import Secret
from gatepost.relay.dialing import Place
from gatepost.relay.smarthost import SmartHost, TlsMode
from gatepost.relay.wire import Timeouts
from next_hop import Act, FakeNextHop, babble, cut, say, silent
from servers import Authority

PASSWORD = "pass Wörd with space"
TOKEN = "ya29." + "t" * 900
PLUS = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS")
MECHANISMS = ("XOAUTH2", "OAUTHBEARER", *PLUS, "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN", "CRAM-MD5")
BOTH = pytest.mark.parametrize("tls", ["starttls", "implicit"])


@pytest.fixture
def context(authority: Authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)
    return context


@pytest.fixture
async def hop(context: ssl.SSLContext) -> AsyncIterator[FakeNextHop]:
    """A next hop that is not started yet."""
    hop = FakeNextHop(context=context, logins={"tim": PASSWORD}, tokens={"tim": TOKEN}, mechanisms=MECHANISMS)
    yield hop
    if hop.is_started:
        await hop.close()


Addresses = Callable[..., None]


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> Addresses:
    """Make every name have these addresses."""

    def make(*found: str) -> None:
        async def look_up(_host: str, port: int, _sources: object, _seconds: float) -> list[Place]:
            return [(AF_INET, (each, port)) for each in found]

        monkeypatch.setattr("gatepost.relay.opening.look_up", look_up)

    return make


def patience(act: Act) -> Timeouts:
    """Wait in vain for a moment only, and otherwise for as long as a slow machine may take."""
    return Timeouts(command=1.0 if act == silent() else 60.0)


async def attempt(hop: FakeNextHop, authority: Authority, **options: object) -> Result:
    """Deliver one message once; return its result."""
    if not hop.is_started:
        await hop.start()
    options = {
        "tls": TlsMode(hop.tls),
        "ca_file": authority.ca,
        "login": "tim" if hop.tls != "none" else "",
        "password": Secret(PASSWORD.encode()),
        **options,
    }
    host = SmartHost("out", str(options.pop("host", "127.0.0.1")), hop.port, hostname="gatepost.example", **options)
    try:
        (result,) = await host.deliver(delivery())
        return result
    finally:
        await host.close()


def assert_deferred(result: Result, cause: Cause, text: str) -> None:
    assert isinstance(result, Deferred), result
    assert result.cause is cause
    assert text in result.reply.text
    assert PASSWORD not in result.reply.text


@BOTH
@pytest.mark.rfc("4954 §4")
@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_each_mechanism_gets_in_over_tls(
    hop: FakeNextHop, authority: Authority, tls: str, mechanism: str
) -> None:
    hop.tls, hop.mechanisms = tls, (mechanism,)
    result = await attempt(hop, authority, token=Secret(TOKEN.encode()))
    assert isinstance(result, Delivered)
    assert hop.used_mechanisms == [mechanism]
    assert hop.accepted[0].login == "tim"
    assert hop.accepted[0].is_encrypted


@pytest.mark.parametrize(
    ("offered", "token", "taken"),
    [
        (MECHANISMS, True, "XOAUTH2"),
        (MECHANISMS, False, "SCRAM-SHA-256-PLUS"),
        (MECHANISMS[3:], False, "SCRAM-SHA-1-PLUS"),
        (MECHANISMS[:1:-1][:-2], False, "SCRAM-SHA-256"),
        (("PLAIN", "SCRAM-SHA-1"), False, "SCRAM-SHA-1"),
        (("CRAM-MD5", "LOGIN", "PLAIN"), False, "PLAIN"),
        (("LOGIN", "XOAUTH2"), False, "LOGIN"),
    ],
)
async def test_the_best_common_mechanism_is_taken(
    hop: FakeNextHop, authority: Authority, offered: tuple[str, ...], token: bool, taken: str
) -> None:
    hop.tls, hop.mechanisms = "starttls", offered
    await attempt(hop, authority, token=Secret(TOKEN.encode()) if token else None)
    assert hop.used_mechanisms == [taken]


@pytest.mark.rfc("9266 §2")
@pytest.mark.rfc("5929 §3")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("mechanism", PLUS)
async def test_a_login_is_bound_to_the_connection_on_each_version_of_tls(
    hop: FakeNextHop, authority: Authority, context: ssl.SSLContext, version: ssl.TLSVersion, mechanism: str
) -> None:
    context.maximum_version = version
    hop.tls, hop.mechanisms = "starttls", (mechanism, "PLAIN")
    assert isinstance(await attempt(hop, authority), Delivered)
    assert hop.used_mechanisms == [mechanism]


async def test_a_login_that_is_bound_to_another_connection_is_none(
    hop: FakeNextHop, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody between us and the next hop has connections of his own to both."""
    monkeypatch.setattr("gatepost.relay.wire.bindings", lambda _: {"tls-exporter": bytes(32)})
    hop.tls, hop.mechanisms = "starttls", ("SCRAM-SHA-256-PLUS",)
    assert_deferred(await attempt(hop, authority), Cause.ROUTE, "wrong")


@pytest.mark.rfc("5802 §6")
async def test_where_nothing_can_be_bound_the_next_best_is_taken(
    hop: FakeNextHop, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatepost.relay.wire.bindings", lambda _: {})
    hop.tls = "starttls"
    assert isinstance(await attempt(hop, authority), Delivered)
    assert hop.used_mechanisms == ["SCRAM-SHA-256"]


@pytest.mark.rfc("4954 §4")
@pytest.mark.parametrize("code", [500, 501, 502, 504])
async def test_a_mechanism_that_is_offered_and_not_known_is_passed_over(
    hop: FakeNextHop, authority: Authority, code: int
) -> None:
    hop.tls, hop.mechanisms = "starttls", ("CRAM-MD5", "SCRAM-SHA-256", "LOGIN", "PLAIN")
    hop.refused_mechanisms = {"SCRAM-SHA-256": f"{code} 5.5.4 what?", "PLAIN": f"{code} 5.5.4 what?"}
    assert isinstance(await attempt(hop, authority), Delivered)
    assert hop.used_mechanisms == ["SCRAM-SHA-256", "PLAIN", "LOGIN"]


async def test_a_secret_that_was_judged_is_not_tried_with_another_mechanism(
    hop: FakeNextHop, authority: Authority
) -> None:
    hop.tls, hop.mechanisms, hop.logins = "starttls", ("SCRAM-SHA-256", "PLAIN", "LOGIN"), {"tim": "another"}
    assert_deferred(await attempt(hop, authority), Cause.ROUTE, "wrong")
    hop.on("AUTH", say("501 5.5.2 what?"))
    assert_deferred(await attempt(hop, authority), Cause.ROUTE, "what?")
    assert hop.used_mechanisms == ["SCRAM-SHA-256"] * 2


async def test_a_login_that_scram_cannot_carry_goes_by_another_mechanism(
    hop: FakeNextHop, authority: Authority
) -> None:
    name = "tim\x7f"
    hop.tls, hop.mechanisms, hop.logins = "starttls", ("SCRAM-SHA-256", "PLAIN"), {name: PASSWORD}
    assert isinstance(await attempt(hop, authority, login=name), Delivered)
    assert hop.used_mechanisms == ["PLAIN"]


@BOTH
async def test_a_version_of_tls_below_the_minimum_is_refused(
    hop: FakeNextHop, authority: Authority, context: ssl.SSLContext, tls: str
) -> None:
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    hop.tls = tls
    assert_deferred(await attempt(hop, authority, minimum_tls=ssl.TLSVersion.TLSv1_3), Cause.NEXT_HOP, "no TLS with")
    assert hop.used_mechanisms == []
    assert isinstance(await attempt(hop, authority, minimum_tls=ssl.TLSVersion.TLSv1_2), Delivered)


async def test_names_are_checked_as_well_as_addresses(hop: FakeNextHop, authority: Authority) -> None:
    hop.tls = "starttls"
    assert isinstance(await attempt(hop, authority, host="localhost"), Delivered)


async def test_without_login_none_is_tried(hop: FakeNextHop, authority: Authority) -> None:
    hop.tls = "starttls"
    assert isinstance(await attempt(hop, authority, login=""), Delivered)
    assert hop.used_mechanisms == []


@BOTH
async def test_an_unknown_authority_is_trouble_of_the_route(
    hop: FakeNextHop, authority: Authority, tls: str, tmp_path: Path
) -> None:
    hop.tls = tls
    other = Authority(tmp_path)
    assert_deferred(await attempt(hop, authority, ca_file=other.ca), Cause.ROUTE, "certificate of 127.0.0.1")
    assert hop.used_mechanisms == []


async def test_the_system_does_not_know_our_authority(hop: FakeNextHop, authority: Authority) -> None:
    hop.tls = "implicit"
    assert_deferred(await attempt(hop, authority, ca_file=None), Cause.ROUTE, "certificate")


@BOTH
@pytest.mark.rfc("9525 §6")
async def test_a_certificate_of_another_name_is_trouble_of_the_route(
    hop: FakeNextHop, authority: Authority, tls: str, addresses: Addresses
) -> None:
    hop.tls = tls
    addresses("127.0.0.1")
    result = await attempt(hop, authority, host="other.example")
    assert_deferred(result, Cause.ROUTE, "certificate of other.example is not good")
    assert hop.used_mechanisms == []


@BOTH
async def test_without_verify_any_certificate_will_do(
    hop: FakeNextHop, authority: Authority, tls: str, tmp_path: Path
) -> None:
    hop.tls = tls
    other = Authority(tmp_path)
    assert isinstance(await attempt(hop, authority, ca_file=other.ca, verify=False, login=""), Delivered)


@BOTH
async def test_no_secret_goes_over_tls_that_is_not_verified(hop: FakeNextHop, authority: Authority, tls: str) -> None:
    hop.tls = tls
    assert_deferred(await attempt(hop, authority, verify=False), Cause.ROUTE, "TLS that is not verified")
    assert hop.connections == 0


async def test_no_password_without_tls(hop: FakeNextHop, authority: Authority) -> None:
    assert_deferred(await attempt(hop, authority, login="tim"), Cause.ROUTE, "no login without TLS")
    assert hop.connections == 0


async def test_starttls_missing_is_trouble_of_the_route(hop: FakeNextHop, authority: Authority) -> None:
    result = await attempt(hop, authority, tls=TlsMode.STARTTLS, login="tim")
    assert_deferred(result, Cause.ROUTE, "does not offer STARTTLS")
    assert hop.used_mechanisms == []


@pytest.mark.parametrize(
    ("act", "cause", "text"),
    [
        (say("454 4.7.0 no TLS now"), Cause.NEXT_HOP, "no TLS now"),
        (say("502 5.5.1 what"), Cause.ROUTE, "what"),
        (say("421 4.3.2 closing", cut=True), Cause.NEXT_HOP, "closing"),
        (cut(), Cause.NEXT_HOP, "connection closed by the next hop (STARTTLS)"),
        (silent(), Cause.NEXT_HOP, "no answer within"),
        (say("220 go", cut=True), Cause.NEXT_HOP, "TLS"),
        (babble(b"220 go\r\nnot TLS at all\r\n"), Cause.NEXT_HOP, ""),
    ],
)
async def test_starttls_refused(hop: FakeNextHop, authority: Authority, act: Act, cause: Cause, text: str) -> None:
    hop.tls = "starttls"
    hop.on("STARTTLS", act)
    assert_deferred(await attempt(hop, authority, timeouts=patience(act)), cause, text)
    assert hop.used_mechanisms == []


@pytest.mark.rfc("3207 §4")
@pytest.mark.parametrize("injected", [b"250 injected\r\n", b"250-in", b"250-hop\r\n250 AUTH PLAIN\r\n"])
async def test_octets_injected_before_tls_end_it(hop: FakeNextHop, authority: Authority, injected: bytes) -> None:
    hop.tls = "starttls"
    hop.on("STARTTLS", babble(b"220 go ahead\r\n" + injected))
    result = await attempt(hop, authority)
    assert isinstance(result, Deferred)
    assert result.cause is Cause.NEXT_HOP
    assert hop.mails == []
    assert hop.used_mechanisms == []


@pytest.mark.rfc("3207 §4.2")
async def test_what_was_offered_before_tls_is_forgotten(hop: FakeNextHop, authority: Authority) -> None:
    hop.tls, hop.extensions = "starttls", ()
    hop.on("EHLO", say("250-hop", "250-PIPELINING", "250-AUTH PLAIN", "250-SMTPUTF8", "250 STARTTLS"), times=1)
    hop.mechanisms = ()
    assert_deferred(await attempt(hop, authority), Cause.ROUTE, "the next hop offers none")
    assert hop.commands.count("EHLO gatepost.example") == 2


async def test_starttls_is_needed_even_where_only_helo_is_known(hop: FakeNextHop, authority: Authority) -> None:
    hop.tls = "starttls"
    hop.on("EHLO", say("502 5.5.1 what"))
    assert_deferred(await attempt(hop, authority), Cause.NEXT_HOP, "what")


@BOTH
async def test_a_handshake_that_never_ends_is_given_up(authority: Authority, tls: str) -> None:
    """A next hop that speaks TCP, and STARTTLS, but then not TLS."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if tls == "starttls":
            writer.write(b"220 hop\r\n")
            await reader.readuntil(b"\r\n")
            writer.write(b"250-hop\r\n250 STARTTLS\r\n")
            await reader.readuntil(b"\r\n")
            writer.write(b"220 go\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host = SmartHost(
        "out",
        "127.0.0.1",
        server.sockets[0].getsockname()[1],
        hostname="gatepost.example",
        tls=TlsMode(tls),
        timeouts=Timeouts(handshake=2.0),
    )
    (result,) = await host.deliver(delivery())
    assert_deferred(result, Cause.NEXT_HOP, "TLS")
    await host.close()
    server.close()
    await server.wait_closed()


async def test_plain_smtp_where_tls_is_expected_is_trouble_of_the_route(hop: FakeNextHop, authority: Authority) -> None:
    result = await attempt(hop, authority, tls=TlsMode.IMPLICIT)
    # Its greeting comes before the handshake, or in its place.
    assert_deferred(result, Cause.ROUTE, "no TLS with 127.0.0.1")
    assert "correct port or tls of the route" in result.reply.remedy


# Login.


@pytest.mark.rfc("4954 §6")
@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_wrong_secrets_are_trouble_of_the_route(hop: FakeNextHop, authority: Authority, mechanism: str) -> None:
    hop.tls, hop.mechanisms = "starttls", (mechanism,)
    hop.logins, hop.tokens = {"tim": "another"}, {"tim": "another"}
    assert_deferred(await attempt(hop, authority, token=Secret(TOKEN.encode())), Cause.ROUTE, "wrong")
    assert hop.mails == []


@pytest.mark.rfc("4954 §6")
@pytest.mark.parametrize(
    ("act", "cause"),
    [
        (say("535 5.7.139 basic authentication is disabled"), Cause.ROUTE),
        (say("534 5.7.9 application password needed"), Cause.ROUTE),
        (say("530 5.7.0 no"), Cause.ROUTE),
        (say("504 5.5.4 mechanism not known"), Cause.ROUTE),
        (say("454 4.7.0 later"), Cause.ROUTE),
        (say("432 4.7.12 password transition"), Cause.ROUTE),
        (say("432 4.3.2 too many connections"), Cause.NEXT_HOP),
        (say("421 4.7.0 too many errors", cut=True), Cause.NEXT_HOP),
        (say("250 what"), Cause.ROUTE),
        (cut(), Cause.NEXT_HOP),
        (silent(), Cause.NEXT_HOP),
    ],
)
async def test_login_refused(hop: FakeNextHop, authority: Authority, act: Act, cause: Cause) -> None:
    hop.tls = "starttls"
    hop.mechanisms = ("PLAIN",)
    hop.on("AUTH", act)
    result = await attempt(hop, authority, timeouts=patience(act))
    assert_deferred(result, cause, "")
    assert hop.mails == []


async def test_no_common_mechanism_is_trouble_of_the_route(hop: FakeNextHop, authority: Authority) -> None:
    hop.tls, hop.mechanisms = "starttls", ("GSSAPI", "NTLM")
    assert_deferred(await attempt(hop, authority), Cause.ROUTE, "GSSAPI NTLM")


@pytest.mark.parametrize("challenge", [b"334 not base64!\r\n", b"334 " + b"QUJD" * 30 + b"\r\n", b"334\r\n"])
async def test_bad_challenges_are_answered_with_a_star(
    hop: FakeNextHop, authority: Authority, challenge: bytes
) -> None:
    hop.tls, hop.mechanisms = "starttls", ("SCRAM-SHA-256",)
    hop.on("challenge", babble(challenge), times=1)
    assert_deferred(await attempt(hop, authority), Cause.ROUTE, "SCRAM-SHA-256 failed")
    assert hop.mails == []


async def test_a_next_hop_that_skips_its_own_proof_is_not_trusted(hop: FakeNextHop, authority: Authority) -> None:
    hop.tls, hop.mechanisms = "starttls", ("SCRAM-SHA-256",)
    hop.on("challenge", say("235 2.7.0 come in"))
    assert_deferred(await attempt(hop, authority), Cause.ROUTE, "cheats")
    assert hop.mails == []


# Addresses.


async def test_a_name_that_does_not_exist_is_deferred(hop: FakeNextHop, authority: Authority) -> None:
    result = await attempt(hop, authority, host="no-such-host.invalid", tls=TlsMode.NONE)
    assert_deferred(result, Cause.NEXT_HOP, "no-such-host.invalid")
    assert result.reply.enhanced == "4.4.3"


async def test_a_port_where_nobody_listens_is_deferred(hop: FakeNextHop) -> None:
    await hop.start()
    port = hop.port
    await hop.close()
    host = SmartHost("out", "127.0.0.1", port, hostname="gatepost.example", tls=TlsMode.NONE)
    (result,) = await host.deliver(delivery())
    assert_deferred(result, Cause.NEXT_HOP, "cannot connect")
    assert result.reply.enhanced == "4.4.1"


@pytest.mark.rfc("5321 §5.1")
async def test_the_next_address_is_tried_when_one_refuses_the_connection(
    hop: FakeNextHop, authority: Authority, addresses: Addresses
) -> None:
    addresses("127.0.0.9", "127.0.0.1")
    assert isinstance(await attempt(hop, authority), Delivered)


async def test_connections_come_from_our_address_of_that_family(hop: FakeNextHop, authority: Authority) -> None:
    assert isinstance(await attempt(hop, authority, source_addresses=("::1", "127.0.0.5")), Delivered)
    assert hop.peers[0].startswith("('127.0.0.5', ")
    result = await attempt(hop, authority, source_addresses=("::1",))
    assert_deferred(result, Cause.NEXT_HOP, "no address of a family that source_address has one of")
    assert hop.connections == 1


@pytest.mark.rfc("5321 §5.1")
async def test_the_next_address_is_tried_when_one_gives_no_good_greeting(
    hop: FakeNextHop, authority: Authority, addresses: Addresses
) -> None:
    addresses("127.0.0.1", "127.0.0.1")
    hop.on("greeting", say("421 4.3.2 closing", cut=True), times=1)
    assert isinstance(await attempt(hop, authority), Delivered)
    assert hop.connections == 2
