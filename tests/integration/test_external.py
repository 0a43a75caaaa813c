"""EXTERNAL over real sockets: client certificates, both kinds of TLS, both versions (RFC 4422 appendix A)."""

from __future__ import annotations

import asyncio
import base64
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from client_certificates import ClientAuthority, Issued, self_signed
from gatepost.app import RealClock
from gatepost.config.schema import Config
from gatepost.identity.accounts import add_account, set_state
from gatepost.identity.credentials import Rules, add_credential, revoke_credential
from gatepost.identity.database import Database
from gatepost.identity.own_certificates import add_certificate
from gatepost.identity.restrictions import Restrictions
from gatepost.observe.events import CanaryTouched, HandshakeFailed, LoginFailed, LoginSucceeded
from gatepost.parts import client_trusts, key_pairs
from gatepost.state.keys import load_keys
from gatepost.testing import RunningServer
from integration.client import Client

LOCAL = {"address": "127.0.0.1", "port": 0}
MECHANISMS = ("EXTERNAL", "SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5")
RULES = Rules(MECHANISMS, {"submission": (), "submissions": (), "devices": MECHANISMS, "devices-starttls": MECHANISMS})
TIM, BOB = "tim@example.org", "bob@example.org"
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
SERVER = ExtendedKeyUsageOID.SERVER_AUTH
NO = "535 5.7.8 Authentication credentials invalid"
YES = "235 2.7.0 Authentication successful"


@pytest.fixture
def clients(tmp_path: Path) -> ClientAuthority:
    return ClientAuthority(tmp_path / "clients")


@pytest.fixture
def settings(clients: ClientAuthority) -> dict[str, Any]:
    asking = {"client_ca": clients.path, **LOCAL}
    return {
        "auth": {"mechanisms": MECHANISMS},
        "listener": [
            {"name": "submission", "tls": "starttls", **LOCAL},
            {"name": "submissions", "tls": "implicit", **LOCAL},
            {"name": "devices", "tls": "implicit", **asking},
            {"name": "devices-starttls", "tls": "starttls", **asking},
        ],
    }


def database(server: RunningServer) -> Database:
    return Database(server.worker.config.state_dir / "accounts.db")


def give(server: RunningServer, issued: Issued, login: str = TIM, **restrictions: Any) -> str:
    """Let *login* in with a certificate; return the id of the credential."""
    canary = restrictions.pop("canary", False)
    row = add_certificate(
        database(server),
        RULES,
        login,
        issued.path.read_bytes(),
        now=time.time(),
        restrictions=Restrictions(**restrictions),
        canary=canary,
    )
    return row.id


async def reach(
    server: RunningServer,
    issued: Issued | None,
    listener: str = "devices",
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> tuple[Client, str]:
    """Connect, with TLS; return the client and what EHLO said."""
    context = ssl.create_default_context()
    context.load_verify_locations(cafile=server.authority.ca)
    context.minimum_version = context.maximum_version = version
    if issued is not None:
        issued.show(context)
    is_implicit = not listener.endswith(("submission", "starttls"))
    reader, writer = await asyncio.open_connection(
        "127.0.0.1",
        server.ports[listener],
        ssl=context if is_implicit else None,
        server_hostname="localhost" if is_implicit else None,
    )
    client = Client(reader, writer)
    assert (await client.reply()).startswith("220 ")
    if not is_implicit:
        said = await client.say("EHLO x")
        assert "AUTH" not in said
        assert (await client.say("AUTH EXTERNAL =")).startswith("538 5.7.11")
        assert (await client.say("STARTTLS")).startswith("220")
        await client.writer.start_tls(context, server_hostname="localhost")
    return client, await client.say("EHLO client.example")


def words(said: str) -> list[str]:
    (line,) = [line for line in said.split("250") if line[1:].startswith("AUTH")]
    return line[1:].split()[1:]


def encoded(name: str) -> str:
    return base64.b64encode(name.encode()).decode()


def failures(server: RunningServer) -> list[LoginFailed]:
    return [event for event in server.events if isinstance(event, LoginFailed)]


def successes(server: RunningServer) -> list[LoginSucceeded]:
    return [event for event in server.events if isinstance(event, LoginSucceeded)]


async def external(client: Client, name: str | None = None, *, at_once: bool = True) -> str:
    """Log in, in one of the forms of real clients; return the last reply."""
    if at_once:
        return await client.say(f"AUTH EXTERNAL {'=' if name is None else encoded(name)}")
    assert await client.say("AUTH EXTERNAL") == "334 "
    return await client.say("" if name is None else encoded(name))


@pytest.fixture
def serve(start, settings, authority) -> Callable[..., Any]:
    def serve(**changes: Any) -> Any:
        started = start(**{**settings, **changes})

        class Serving:
            async def __aenter__(self) -> RunningServer:
                server = await started.__aenter__()
                server.authority = authority
                return server

            async def __aexit__(self, *details: object) -> None:
                await started.__aexit__(*details)

        return Serving()

    return serve


def on_listeners(settings: dict[str, Any], **keys: Any) -> list[dict[str, Any]]:
    return [{**each, **keys} if "client_ca" in each else each for each in settings["listener"]]


@pytest.mark.rfc("4422 §A.1")
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("listener", ["devices", "devices-starttls"])
async def test_all_forms_of_clients_log_in_with_a_certificate_that_is_a_credential(serve, clients, listener, version):
    laptop = clients.issue("laptop")
    async with serve() as server:
        identifier = give(server, laptop)
        for name, at_once in ((None, True), (None, False), ("", False), (TIM, True), ("Tim@Example.ORG", False)):
            client, said = await reach(server, laptop, listener, version)
            assert words(said)[0] == "EXTERNAL"
            assert await external(client, name, at_once=at_once) == YES
            assert (await client.say("MAIL FROM:<tim@example.org>")).startswith("250")
            await client.close()
        told = {(each.login, each.credential, each.label, each.mechanism, each.listener) for each in successes(server)}
        assert told == {(TIM, identifier, "laptop", "EXTERNAL", listener)}
        # curl without a name.
        client, _ = await reach(server, laptop, listener, version)
        assert await client.say("AUTH EXTERNAL") == "334 "
        assert await client.say("=") == YES
        await client.close()
        assert successes(server)[0].tls.startswith("TLSv1.2" if version == VERSIONS[0] else "TLSv1.3")
        assert not failures(server)
        assert not server.troubles


async def test_whoever_shows_no_certificate_is_not_offered_it_told_no_and_may_log_in_otherwise(serve):
    async with serve(limits={"failed_logins_per_address": 100}) as server:
        for version in VERSIONS:
            client, said = await reach(server, None, "devices", version)
            assert "EXTERNAL" not in words(said)
            assert "PLAIN" in words(said)
            assert (await external(client)).startswith(NO)
            assert (await external(client, TIM, at_once=False)).startswith(NO)
            token = base64.b64encode(b"\0tim@example.org\0secret-pass-1").decode()
            assert await client.say(f"AUTH PLAIN {token}") == YES
            await client.close()
        assert {each.reason for each in failures(server)} == {"no client certificate"}


async def test_other_listeners_ask_for_no_certificate_and_know_no_external(serve, clients):
    laptop = clients.issue("laptop")
    async with serve() as server:
        give(server, laptop)
        for listener in ("submission", "submissions"):
            context = laptop.show(server.authority.client_context())
            reader, writer = await asyncio.open_connection(
                "127.0.0.1",
                server.ports[listener],
                **({"ssl": context, "server_hostname": "localhost"} if listener == "submissions" else {}),
            )
            client = Client(reader, writer)
            await client.reply()
            await client.say("EHLO x")
            if listener == "submission":
                await client.say("STARTTLS")
                await client.writer.start_tls(context, server_hostname="localhost")
            assert "EXTERNAL" not in await client.say("EHLO x")
            assert (await external(client)).startswith("504 5.5.4 ")
            await client.close()
        assert [session.peer.certificate for session in server.worker.sessions if session.peer.tls] in ([], [None])


@pytest.mark.rfc("4954 §4")
async def test_every_kind_of_no_is_the_same_reply(serve, clients):
    async with serve(limits={"failed_logins_per_address": 100, "failed_logins_per_login": 100}) as server:
        base = database(server)
        keys = load_keys(server.worker.config.secret_key_file)
        for login in (BOB, "away@example.org"):
            add_account(base, keys, login, now=time.time())
        names = ("known", "unbound", "bobs", "revoked", "elsewhere", "disabled", "trap", "early")
        issued = {name: clients.issue(name, TIM) for name in names}
        give(server, issued["known"])
        give(server, issued["bobs"], BOB)
        revoke_credential(base, give(server, issued["revoked"]), now=time.time())
        give(server, issued["elsewhere"], networks=["192.0.2.0/24"])
        give(server, issued["disabled"], "away@example.org")
        set_state(base, "away@example.org", active=False, reason="left")
        give(server, issued["early"], not_before=time.time() + 3600)
        give(server, issued["trap"], canary=True)
        reasons = {
            "unbound": "certificate of no credential",
            "bobs": "may not act as another login",
            "revoked": "credential revoked",
            "elsewhere": "credential not for network of 127.0.0.1",
            "disabled": "account disabled: left",
            "early": "credential not valid yet",
            "trap": "canary credential",
        }
        for name, reason in reasons.items():
            asked = {"bobs": TIM, "disabled": "away@example.org"}.get(name)
            client, said = await reach(server, issued[name])
            assert words(said)[0] == "EXTERNAL"
            reply = await external(client, asked)
            assert reply.startswith(NO), name
            assert failures(server)[-1].reason == reason
            await client.close()
        assert not successes(server)
        [touched] = [event for event in server.events if isinstance(event, CanaryTouched)]
        assert (touched.login, touched.mechanism) == (TIM, "EXTERNAL")


@pytest.mark.parametrize(
    ("answer", "code"),
    [("*", "501 5.7.0"), ("==", "501 5.5.2"), ("=AAA", "501 5.5.2"),
     ("!", "501 5.5.2"), ("dGVzdA", "501 5.5.2"), ("AA==", "501 5.5.2"), ("/w==", "501 5.5.2"),
     ("A" * 20_000, "500 5.5.6")],
    ids=lambda value: value[:8],
)  # fmt: skip
async def test_a_wrong_answer_is_refused_and_the_session_lives(serve, clients, answer, code):
    laptop = clients.issue("laptop")
    async with serve() as server:
        give(server, laptop)
        client, _ = await reach(server, laptop)
        if answer != "*":  # as an initial response it means nothing
            assert (await client.say(f"AUTH EXTERNAL {answer}")).startswith(code)
        assert await client.say("AUTH EXTERNAL") == "334 "
        assert (await client.say(answer)).startswith(code)
        assert await client.say("NOOP") == "250 2.0.0 OK"
        assert await external(client) == YES
        await client.close()
        assert not server.troubles


@pytest.mark.rfc("5280 §4.2.1.6")
async def test_an_address_or_the_common_name_may_name_the_account(serve, clients, settings):
    mail = clients.issue("mail", "Tim@EXAMPLE.org")
    both = clients.issue("both", "tim@example.org", "nobody@example.org")
    nobody = clients.issue("nobody", "nobody@example.org")
    named = clients.issue(TIM)
    twice = clients.issue("twice", names=[TIM, BOB])
    revoked = clients.issue("revoked", TIM)
    listener = on_listeners(settings, client_identity="email")
    async with serve(listener=listener, limits={"failed_logins_per_address": 100}) as server:
        revoke_credential(database(server), give(server, revoked), now=time.time())
        cases = [
            (mail, None, ""),
            (mail, TIM, ""),
            (mail, BOB, "may not act as another login"),
            (both, None, "certificate names several, and none is asked for"),
            (both, TIM, ""),
            (both, "nobody@example.org", "unknown login"),
            (both, BOB, "certificate names others"),
            (nobody, None, "unknown login"),
            (named, None, "certificate without email"),
            (revoked, None, "credential revoked"),
        ]
        for issued, name, reason in cases:
            client, _ = await reach(server, issued)
            reply = await external(client, name)
            assert reply.startswith(NO) if reason else reply == YES, (issued.path, name)
            assert not reason or failures(server)[-1].reason == reason
            await client.close()
        assert {(each.login, each.credential, each.label) for each in successes(server)} == {
            (TIM, "certificate", mail.fingerprint),
            (TIM, "certificate", both.fingerprint),
        }
    listener = on_listeners(settings, client_identity="common-name")
    async with serve(listener=listener, limits={"failed_logins_per_address": 100}) as server:
        for issued, name, reason in (
            (named, None, ""),
            (twice, None, "certificate names several, and none is asked for"),
            (twice, TIM, ""),
            (mail, None, "unknown login"),
        ):
            client, _ = await reach(server, issued)
            reply = await external(client, name)
            assert reply.startswith(NO) if reason else reply == YES, (issued.path, name)
            assert not reason or failures(server)[-1].reason == reason
            await client.close()


async def refused(server: RunningServer, issued: Issued, version: ssl.TLSVersion, **where: Any) -> str:
    """See that a certificate ends the handshake; return why."""
    before = sum(isinstance(event, HandshakeFailed) for event in server.events)
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError, TimeoutError)):
        _, said = await reach(server, issued, version=version, **where)
        assert said  # in TLS 1.3 the client learns of it only now
    async with asyncio.timeout(60):
        while True:
            told = [event.reason for event in server.events if isinstance(event, HandshakeFailed)]
            if len(told) > before:
                return told[-1]
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("listener", ["devices", "devices-starttls"])
async def test_a_certificate_that_nobody_here_made_or_that_is_over_ends_the_handshake(
    serve, clients, tmp_path, listener, version
):
    stranger = ClientAuthority(tmp_path / "others", "clients").issue("laptop", TIM)
    over = clients.issue("over", TIM, begins=-20, days=-1)
    early = clients.issue("early", TIM, begins=1)
    of_a_server = clients.issue("server", TIM, purpose=SERVER)
    async with serve() as server:
        for issued, reason in (
            (stranger, "certificate signature failure"),
            (self_signed(tmp_path, "tim"), "self-signed certificate"),
            (over, "certificate has expired"),
            (early, "certificate is not yet valid"),
            (of_a_server, "purpose"),
        ):
            assert reason in await refused(server, issued, version, listener=listener)
        assert not successes(server)
        assert not server.troubles


async def test_a_certificate_that_stands_for_itself_needs_no_authority(serve, clients, settings, tmp_path):
    printer, other = self_signed(tmp_path, "printer"), self_signed(tmp_path, "other")
    leaf = ClientAuthority(tmp_path / "others", "somebody").issue("leaf")
    pinned = tmp_path / "pinned.pem"
    pinned.write_bytes(printer.certificate_path.read_bytes() + leaf.certificate_path.read_bytes())
    async with serve(listener=on_listeners(settings, client_ca=pinned)) as server:
        for issued in (printer, leaf):
            give(server, issued)
            for version in VERSIONS:
                client, _ = await reach(server, issued, version=version)
                assert await external(client) == YES
                await client.close()
        await refused(server, other, VERSIONS[1])


async def reload(server: RunningServer, settings: dict[str, Any], **keys: Any) -> None:
    """Go on with other keys of the listeners that ask for certificates, as SIGHUP does."""
    listener = on_listeners(settings, **keys)
    old = server.worker.config
    config = Config.model_validate({**old.model_dump(exclude_unset=True), "listener": listener})
    await server.worker.reload(config, key_pairs(config), client_trusts(config))


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_is_revoked_ends_the_handshake_after_a_reload(serve, clients, settings, version):
    laptop, stolen = clients.issue("laptop"), clients.issue("stolen")
    async with serve(listener=on_listeners(settings, client_crl=clients.revoke())) as server:
        for issued in (laptop, stolen):
            give(server, issued)
            client, _ = await reach(server, issued, version=version)
            assert await external(client) == YES
            await client.close()
        clients.revoke(stolen)
        await reload(server, settings, client_crl=clients.folder / "revoked.pem")
        assert "certificate revoked" in await refused(server, stolen, version)
        client, _ = await reach(server, laptop, version=version)
        assert await external(client) == YES
        await client.close()
        clients.revoke(days=-1)
        await reload(server, settings, client_crl=clients.folder / "revoked.pem")
        assert "CRL has expired" in await refused(server, laptop, version)
        await reload(server, settings)
        client, _ = await reach(server, stolen, version=version)
        assert await external(client) == YES
        await client.close()


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_reload_changes_whom_we_trust(serve, clients, settings, tmp_path, version):
    others = ClientAuthority(tmp_path / "others", "others")
    mine, theirs = clients.issue("mine"), others.issue("theirs")
    async with serve() as server:
        give(server, mine)
        give(server, theirs)
        client, _ = await reach(server, mine, version=version)
        await refused(server, theirs, version)
        await reload(server, settings, client_ca=others.path)
        assert await external(client) == YES  # of before the reload
        await client.close()
        await refused(server, mine, version)
        client, _ = await reach(server, theirs, version=version)
        assert await external(client) == YES
        await client.close()


def resume(server: RunningServer, context: ssl.SSLContext, session: ssl.SSLSession | None) -> tuple[Any, bool]:
    """Connect with sockets that block, and say EHLO; return the session that could be resumed, and whether one was."""
    import socket

    with (
        socket.create_connection(("127.0.0.1", server.ports["devices"]), 60) as plain,
        context.wrap_socket(plain, server_hostname="localhost", session=session) as tls,
    ):
        tls.recv(1000)
        tls.sendall(b"EHLO x\r\nQUIT\r\n")
        said = b""
        while more := tls.recv(1000):
            said += more
        assert b"AUTH EXTERNAL" in said
        return tls.session, bool(tls.session_reused)


@pytest.mark.rfc("8446 §4.6.1")
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("offers_tickets", [True, False])
async def test_no_session_is_resumed_where_certificates_are_looked_at(serve, clients, version, offers_tickets):
    laptop = clients.issue("laptop")
    async with serve() as server:
        context = laptop.show(server.authority.client_context())
        context.minimum_version = context.maximum_version = version
        if not offers_tickets:
            context.options |= ssl.OP_NO_TICKET  # TLS 1.2 then resumes by the id that a server remembers
        session, _ = await asyncio.to_thread(resume, server, context, None)
        assert session is None or not session.has_ticket
        for _ in range(2):
            session, was_reused = await asyncio.to_thread(resume, server, context, session)
            assert not was_reused


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_ticket_of_another_listener_brings_nobody_in(serve, clients, version):
    laptop = clients.issue("laptop")
    async with serve() as server:
        give(server, laptop)
        context = server.authority.client_context()
        context.minimum_version = context.maximum_version = version

        def dial(listener: str, session: ssl.SSLSession | None) -> tuple[Any, bool, bytes]:
            import socket

            with (
                socket.create_connection(("127.0.0.1", server.ports[listener]), 60) as plain,
                context.wrap_socket(plain, server_hostname="localhost", session=session) as tls,
            ):
                tls.recv(1000)
                tls.sendall(b"EHLO x\r\nQUIT\r\n")
                said = b""
                while more := tls.recv(1000):
                    said += more
                return tls.session, bool(tls.session_reused), said

        session, _, _ = await asyncio.to_thread(dial, "submissions", None)
        _, was_reused, _ = await asyncio.to_thread(dial, "submissions", session)
        assert was_reused, "an ordinary listener resumes"
        _, was_reused, said = await asyncio.to_thread(dial, "devices", session)
        assert not was_reused
        assert b"EXTERNAL" not in said


async def test_revoking_ends_the_open_session(serve, clients):
    laptop = clients.issue("laptop")
    async with serve() as server:
        identifier = give(server, laptop)
        client, _ = await reach(server, laptop)
        assert await external(client) == YES
        revoke_credential(database(server), identifier, now=time.time())
        assert (await client.reply(60)).startswith("421 ")
        await client.close()


class Ahead(RealClock):
    """A clock that goes wrong by a month and a day."""

    @staticmethod
    def now() -> float:
        return time.time() + 31 * 86400


async def test_a_certificate_that_ends_while_its_client_is_connected_lets_nobody_in(serve, clients, settings):
    laptop = clients.issue("laptop", TIM, days=30)
    async with serve(listener=on_listeners(settings, client_identity="email")) as server:
        client, said = await reach(server, laptop)
        assert words(said)[0] == "EXTERNAL"
        server.worker.authority.clock = Ahead()
        assert (await external(client)).startswith(NO)
        assert failures(server)[-1].reason == "client certificate expired"
        await client.close()


async def test_guessing_with_certificates_is_counted_like_any_other(serve, clients):
    unbound, laptop = clients.issue("unbound"), clients.issue("laptop")
    async with serve(limits={"failed_logins_per_address": 5, "failed_logins_per_login": 5}) as server:
        give(server, laptop)
        for _ in range(5):
            client, _ = await reach(server, unbound)
            assert (await external(client, TIM)).startswith(NO)
            await client.close()
        client, _ = await reach(server, laptop)
        assert (await external(client)).startswith("454 4.7.0")
        assert await client.reply() == "421 4.7.0 Too many failed logins"
        await client.close()


async def test_a_certificate_withdraws_no_mechanism_from_others(serve, clients):
    async with serve() as server:
        before = [each.name for each in server.worker.authority.offered("devices")]
        assert before == ["EXTERNAL", "SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5"]
        give(server, clients.issue("laptop"))
        await server.worker.authority.refresh()
        assert [each.name for each in server.worker.authority.offered("devices")] == before
        assert "EXTERNAL" not in [each.name for each in server.worker.authority.offered("submissions")]


async def test_no_exchange_with_a_flipped_bit_lets_anybody_in(serve, clients):
    laptop = clients.issue("laptop")
    async with serve(limits={"failed_logins_per_address": 0, "failed_logins_per_login": 0}) as server:
        give(server, laptop)
        name = TIM.encode()
        for place in range(len(name)):
            # Not 0x20, which makes a capital letter of a small one, and the same name.
            bit = (0x01, 0x02, 0x04, 0x08, 0x10, 0x40, 0x80)[place % 7]
            changed = base64.b64encode(name[:place] + bytes([name[place] ^ bit]) + name[place + 1 :]).decode()
            client, _ = await reach(server, laptop)
            if place % 2:
                reply = await client.say(f"AUTH EXTERNAL {changed}")
            else:
                assert await client.say("AUTH EXTERNAL") == "334 "
                reply = await client.say(changed)
            assert reply[:9] in ("535 5.7.8", "501 5.5.2"), changed
            assert (await client.say("MAIL FROM:<tim@example.org>")).startswith("530 5.7.0 ")
            await client.close()
        assert not successes(server)
        assert not server.troubles


async def test_the_name_of_an_account_with_nothing_but_canaries_lets_nobody_in(serve, clients, settings):
    bait, other = "bait@example.org", "real@example.org"
    async with serve(listener=on_listeners(settings, client_identity="email")) as server:
        base, keys = database(server), load_keys(server.worker.config.secret_key_file)
        for login in (bait, other):
            add_account(base, keys, login, now=time.time())
            give(server, clients.issue(f"trap of {login}"), login, canary=True)
        add_credential(base, keys, RULES, other, now=time.time(), force=True)
        client, _ = await reach(server, clients.issue("one", other))
        assert await external(client) == YES
        await client.close()
        client, _ = await reach(server, clients.issue("two", bait))
        assert (await external(client)).startswith(NO)
        assert failures(server)[-1].reason == "canary credential"
        await client.close()
        [touched] = [event for event in server.events if isinstance(event, CanaryTouched)]
        assert touched.login == bait
