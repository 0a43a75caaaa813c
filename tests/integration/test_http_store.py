"""The store that asks a service over HTTP: a real one, that answers, misbehaves, goes away and comes back."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gatepost.config.check import check
from gatepost.config.load import load
from gatepost.errors import StoreUnavailable
from gatepost.identity.store import MECHANISM_SCHEMES, PasswordStore
from gatepost.identity.stores.http import HttpStore
from gatepost.identity.stores.http_context import client_context
from gatepost.model.identity import Secret
from gatepost.observe.events import SessionRevoked, StoreAway, StoreBack
from identities import KEYS, Clock, closing
from integration.conftest import LOGIN, SECRET, Start
from integration.test_session import until
from integration.test_several_stores import hello, plain
from login_service import LoginService
from pems import make_pems
from servers import Authority
from stopwatch import Stopwatch

ANN, ANNS = "ann@example.org", Secret("pässword-2".encode())


@pytest.fixture
async def service() -> AsyncIterator[LoginService]:
    made = LoginService({ANN: {"password": ANNS.reveal().decode(), "facts": {"senders": [ANN]}}})
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def clock() -> Clock:
    return Clock()


def store_of(service: LoginService, clock: Clock, **options: Any) -> HttpStore:
    return HttpStore(f"http://127.0.0.1:{service.port}/login", KEYS, clock, **{"timeout": 30.0, **options})


async def close(store: HttpStore) -> None:
    store.close()
    await closing()


async def test_it_is_told_name_and_password_and_says_whose_they_are(service: LoginService, clock: Clock) -> None:
    store = store_of(service, clock)
    assert isinstance(store, PasswordStore)
    checked = await store.check(ANN, ANNS)
    assert checked is not None
    assert checked.credential is not None
    assert (checked.account.login, checked.credential.id) == (ANN, "password")
    assert [str(each) for each in checked.account.senders] == [ANN]
    wrong = await store.check(ANN, Secret(b"wrong"))
    assert wrong is not None
    assert wrong.credential is None
    assert await store.check("nobody", ANNS) is None
    assert await store.find("nobody") is None
    assert service.questions[0] == {"login": ANN, "password": "pässword-2"}
    assert service.questions[-1] == {"login": "nobody"}
    assert service.connections == 1
    survey = await store.survey(0.0)
    assert set(survey.lacking) == set(MECHANISM_SCHEMES.values())
    assert all(those == {frozenset()} for those in survey.lacking.values())
    await close(store)


async def test_facts_of_account_and_credentials_are_taken_over(service: LoginService, clock: Clock) -> None:
    service.accounts[ANN] |= {
        "opens": "laptop",
        "facts": {
            "active": False,
            "reason": "left us",
            "senders": ["*@example.org"],
            "max_message_bytes": 1000,
            "max_recipients": 3,
            "null_sender": True,
            "credentials": [
                {"id": "phone"},
                {
                    "id": "laptop",
                    "label": "Ann's",
                    "mechanisms": ["PLAIN"],
                    "listeners": ["submission"],
                    "networks": ["192.0.2.0/24"],
                    "senders": [ANN],
                    "expires": 1900000000,
                    "sandbox": True,
                },
            ],
        },
    }
    store = store_of(service, clock)
    checked = await store.check(ANN, ANNS)
    assert checked is not None
    account, credential = checked
    assert credential is not None
    assert (account.is_active, account.state_reason, len(account.credentials)) == (False, "left us", 2)
    assert (account.max_message_bytes, account.max_recipients, account.null_sender) == (1000, 3, True)
    assert (credential.label, credential.expires, credential.sandbox) == ("Ann's", 1900000000.0, True)
    assert (credential.mechanisms, credential.listeners) == ({"PLAIN"}, {"submission"})
    assert [str(each) for each in credential.networks] == ["192.0.2.0/24"]
    await close(store)


async def test_a_yes_is_remembered_for_its_time_and_a_no_never(service: LoginService, clock: Clock) -> None:
    store = store_of(service, clock, cache_seconds=60.0)
    for _ in range(3):
        assert (await store.check(ANN, ANNS))[1] is not None  # type: ignore[index]
        assert await store.find(ANN) is not None
    assert len(service.questions) == 1
    for _ in range(3):
        assert (await store.check(ANN, Secret(b"wrong")))[1] is None  # type: ignore[index]
        assert await store.check("nobody", ANNS) is None
    assert len(service.questions) == 7
    clock.time += 60
    service.accounts[ANN]["password"] = "changed"
    assert (await store.check(ANN, ANNS))[1] is None  # type: ignore[index]
    await close(store)


async def test_what_is_remembered_is_bounded_and_can_be_switched_off(service: LoginService, clock: Clock) -> None:
    service.accounts |= {f"user{number}": {"password": "x"} for number in range(20)}
    store, forgetful = store_of(service, clock, cache_entries=5), store_of(service, clock, cache_seconds=0.0)
    for number in range(20):
        await store.check(f"user{number}", Secret(b"x"))
    assert len(store._opened) == len(store._accounts) == 5
    before = len(service.questions)
    for _ in range(3):
        await forgetful.check(ANN, ANNS)
    assert len(service.questions) == before + 3
    await close(store)
    await close(forgetful)


_BAD_ANSWERS: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"yes",
    "a list": b"[]",
    "true": b"true",
    "no account": b'{"opened": null}',
    "no opened": b'{"account": {}}',
    "an unknown key": b'{"account": {}, "opened": null, "deny": true}',
    "an unknown fact": b'{"account": {"network": "192.0.2.1"}, "opened": null}',
    "an unknown restriction": b'{"account": {"credentials": [{"id": "a", "from": "x"}]}, "opened": "a"}',
    "a credential of nobody": b'{"account": null, "opened": "password"}',
    "a credential that is not there": b'{"account": {}, "opened": "laptop"}',
    "two of one id": b'{"account": {"credentials": [{"id": "a"}, {"id": "a"}]}, "opened": "a"}',
    "text for a flag": b'{"account": {"active": "no"}, "opened": "password"}',
    "a number for a text": b'{"account": {}, "opened": 1}',
    "a bad network": b'{"account": {"credentials": [{"id": "a", "networks": ["all"]}]}, "opened": "a"}',
    "no end": b'{"account": {"credentials": [{"id": "a", "expires": NaN}]}, "opened": "a"}',
    "too deep": b"[" * 50_000,
    "too much": b'{"account": {}, "opened": "password"}' + b" " * 70_000,
    "no UTF-8": b'{"account": {}, "opened": "\xff"}',
    "UTF-16": '{"account": {}, "opened": "password"}'.encode("utf-16"),
    "a key twice": b'{"account": {}, "opened": null, "opened": "password"}',
    "a fact twice": b'{"account": {"active": false, "active": true}, "opened": "password"}',
    "a restriction twice": b'{"account": {"credentials": [{"id": "a", "expires": 1, "expires": null}]}, "opened": "a"}',
}


@pytest.mark.parametrize("kind", _BAD_ANSWERS)
async def test_an_answer_that_is_none_is_trouble_of_the_store_and_never_a_yes_or_a_no(
    service: LoginService, clock: Clock, kind: str
) -> None:
    store = store_of(service, clock)
    service.raw = _BAD_ANSWERS[kind]
    with pytest.raises(StoreUnavailable) as caught:
        await store.check(ANN, ANNS)
    assert ANNS.reveal().decode() not in str(caught.value)
    service.raw = None
    assert await store.check(ANN, ANNS) is not None
    await close(store)


@pytest.mark.parametrize("status", ["500 Oops", "404 Not Found", "403 Forbidden", "204 No Content", "302 Found"])
async def test_another_status_is_no_answer_and_no_redirect_is_followed(
    service: LoginService, clock: Clock, status: str
) -> None:
    store = store_of(service, clock)
    service.status, service.headers = status, f"Location: http://127.0.0.1:{service.port}/elsewhere\r\n"
    if status.startswith("204"):
        service.raw = b""
    with pytest.raises(StoreUnavailable, match=f"status {status[:3]}"):
        await store.check(ANN, ANNS)
    assert len(service.questions) == 1
    await close(store)


async def test_no_cookie_comes_back_with_the_next_question(service: LoginService, clock: Clock) -> None:
    """A service that keeps sessions would answer about whoever was asked for before."""
    store = store_of(service, clock)
    service.headers = "Set-Cookie: session=ann; Path=/\r\n"
    assert await store.check(ANN, ANNS) is not None
    assert await store.check("nobody", ANNS) is None
    assert len(service.heads) == 2
    assert "cookie:" not in service.heads[1]
    await close(store)


async def test_silence_ends_in_time_and_too_many_do_not_wait(service: LoginService, clock: Clock) -> None:
    store = store_of(service, clock, timeout=1.0, connections=1)
    service.is_mute = True
    with Stopwatch() as watch:
        answers = await asyncio.gather(*[store.check(f"user{n}", ANNS) for n in range(12)], return_exceptions=True)
        assert watch.seconds < 6  # and not one after the other
    assert all(isinstance(each, StoreUnavailable) for each in answers)
    assert sum("too many questions" in str(each) for each in answers) == 4
    await close(store)


async def test_a_service_that_was_away_is_tried_without_anybody_logging_in(service: LoginService, clock: Clock) -> None:
    store = store_of(service, clock)
    await store.survey(0.0)
    assert not await store.has_changed()
    await service.stop()
    with pytest.raises(StoreUnavailable):
        await store.check(ANN, ANNS)
    before = len(service.questions)
    for _ in range(5):
        with pytest.raises(StoreUnavailable):
            await store.has_changed()
        # Who asks without a password is not made to wait.
        with pytest.raises(StoreUnavailable):
            await store.find(ANN)
    await until(lambda: not store._probing)  # nobody is asking it any more
    await service.start()
    clock.time += 2
    with pytest.raises(StoreUnavailable):
        await store.has_changed()
    await until(lambda: not store._probing)
    assert not await store.has_changed()
    assert service.questions[before:] == [{"login": "probe@gatepost.invalid"}]
    await close(store)


async def test_a_token_is_shown_and_a_wrong_one_is_trouble_of_the_store(service: LoginService, clock: Clock) -> None:
    service.token = "sesame"
    good, bad = (store_of(service, clock, token=Secret(each)) for each in (b"sesame", b"mustard"))
    assert await good.check(ANN, ANNS) is not None
    with pytest.raises(StoreUnavailable, match="status 401"):
        await bad.check(ANN, ANNS)
    await close(good)
    await close(bad)


async def test_with_mutual_tls_both_sides_are_verified(authority: Authority, tmp_path: Path, clock: Clock) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.ca)
    server.load_cert_chain(authority.certificate, authority.key)
    server.verify_mode = ssl.CERT_REQUIRED
    service = LoginService({ANN: {"password": ANNS.reveal().decode()}})
    await service.start(server)
    url = f"https://localhost:{service.port}/login"
    other = Authority(tmp_path)
    contexts = {
        "good": client_context(authority.ca, authority.certificate, authority.key),
        "without ours": client_context(authority.ca),
        "with another's": client_context(authority.ca, other.certificate, other.key),
        "theirs not known": client_context(other.ca, authority.certificate, authority.key),
    }
    for name, context in contexts.items():
        store = HttpStore(url, KEYS, clock, context=context, timeout=60.0)
        if name == "good":
            assert await store.check(ANN, ANNS) is not None
        else:
            with pytest.raises(StoreUnavailable):
                await store.check(ANN, ANNS)
        await close(store)
    assert service.with_password == [ANN]
    await service.stop()


async def test_in_a_running_server_it_stands_behind_the_database_goes_away_and_comes_back(
    start: Start, tmp_path: Path, service: LoginService
) -> None:
    password = ANNS.reveal().decode()
    stores = [
        {"type": "sqlite", "path": str(tmp_path / "state/accounts.db")},
        {"type": "http", "url": f"http://127.0.0.1:{service.port}/", "cache_time": "1s"},
    ]
    async with start(store=stores) as server:
        assert [each.name for each in server.worker.authority.offered("submissions")] == ["PLAIN", "LOGIN"]
        assert (await plain(server, LOGIN, SECRET)).startswith("235")
        assert (await plain(server, LOGIN, "wrong")).startswith("535 5.7.8")
        assert service.questions == []
        assert (await plain(server, ANN, password)).startswith("235")
        assert (await plain(server, ANN, "wrong")).startswith("535 5.7.8")
        assert (await plain(server, "nobody@example.org", "x")).startswith("535 5.7.8")
        await service.stop()
        await asyncio.sleep(1.1)
        for login, text in ((ANN, password), ("nobody@example.org", "x"), (LOGIN, "wrong")):
            assert (await plain(server, login, text)).startswith("454 4.7.0")
        assert (await plain(server, LOGIN, SECRET)).startswith("235")
        await service.start()
        await until(lambda: any(isinstance(each, StoreBack) for each in server.events))
        assert [type(each) for each in server.events if isinstance(each, StoreAway | StoreBack)] == [
            StoreAway,
            StoreBack,
        ]
        client = await hello(server)
        token = base64.b64encode(f"\0{ANN}\0{password}".encode()).decode()
        assert (await client.say(f"AUTH PLAIN {token}")).startswith("235")
        service.accounts[ANN]["facts"] = {"active": False, "reason": "left us"}
        async with asyncio.timeout(60):
            assert (await client.reply()).startswith("421 4.7.0")
        [revoked] = [each for each in server.events if isinstance(each, SessionRevoked)]
        assert revoked.reason == "account disabled: left us"
        assert not server.troubles


async def test_to_clients_a_malformed_answer_is_a_454_and_to_operators_an_event(
    start: Start, service: LoginService
) -> None:
    password = ANNS.reveal().decode()
    store = {"type": "http", "url": f"http://127.0.0.1:{service.port}/", "cache_time": "1s"}
    async with start(store=[store]) as server:

        def told() -> list[type]:
            return [type(each) for each in server.events if isinstance(each, StoreAway | StoreBack)]

        client = await hello(server)
        token = base64.b64encode(f"\0{ANN}\0{password}".encode()).decode()
        assert (await client.say(f"AUTH PLAIN {token}")).startswith("235")
        for number, raw in enumerate((b"<html>No</html>", b'{"account": null}'), 1):
            service.raw = raw
            for login, text in ((ANN, "wrong"), ("nobody@example.org", password)):
                assert (await plain(server, login, text)).startswith("454 4.7.0 "), raw
            assert told() == [StoreAway, StoreBack] * (number - 1) + [StoreAway]
            service.raw = None
            await until(lambda number=number: told() == [StoreAway, StoreBack] * number)  # type: ignore[misc]
            assert (await plain(server, ANN, "wrong")).startswith("535 5.7.8 "), raw
        # Who was logged in was asked about meanwhile, and is nobody's to send away.
        assert (await client.say("NOOP")).startswith("250")
        await client.close()
        assert not server.troubles


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ('url = "http://login.example.org/"', "store.url: would send passwords in clear; write https://"),
        ('url = "https://tim:secret@login.example.org/"', "store.url: holds a login"),
        ('url = "https:///x"', "store.url: names no host"),
        ('url = "https://login.example.org/"\nkey = "key.pem"', "store.key: has no certificate"),
        ('url = "https://login.example.org/"\nca_file = "nothing.pem"', "store.ca_file: cannot be used (No such file"),
        (
            'url = "https://login.example.org/"\ncertificate = "key.pem"',
            "store.certificate: cannot be used (no good PEM",
        ),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(tmp_path: Path, lines: str, problem: str) -> None:
    make_pems(tmp_path)
    path = tmp_path / "gatepost.toml"
    path.write_text(
        'hostname = "mail.example.org"\nstate_dir = "state"\n[tls]\ncertificate = "cert.pem"\nkey = "key.pem"\n'
        f'[[route]]\nname = "box"\ntransport = "sandbox"\npath = "box"\n[[store]]\ntype = "http"\n{lines}\n'
    )
    found = check(load(path, {}))
    assert any(problem in each for each in found.problems), found.problems
    assert not any("secret" in each for each in found.problems)
