"""The LDAP store with a directory that misbehaves: whatever comes, it is never a wrong yes, nor a wrong no."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from gatepost.errors import StoreUnavailable
from gatepost.identity.ldap.ber import element
from gatepost.identity.ldap.filter import parse_filter
from gatepost.identity.ldap.server import parse_server
from gatepost.identity.stores.http_context import client_context
from gatepost.identity.stores.ldap import LdapStore, Where
from gatepost.model.identity import Secret
from gatepost.observe.events import Event, StoreAmbiguous
from identities import KEYS, Clock, closing
from integration.test_ldap_store import opened
from raw_directory import BIND, EXTENDED, SEARCH, RawDirectory, done, entry, message, result
from servers import Authority

TIM, TIMS = "tim@example.org", Secret(b"marked-pass-1")
SERVICE = ("cn=service,o=x", Secret(b"marked-pass-2"))
POLICY, NETSCAPE = b"1.3.6.1.4.1.42.2.27.8.5.1", b"2.16.840.1.113730.3.4.4"


@pytest.fixture
async def directory() -> AsyncIterator[RawDirectory]:
    made = RawDirectory()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def make() -> AsyncIterator[Callable[..., LdapStore]]:
    """Return what makes a store that asks in clear, on this machine."""
    made: list[LdapStore] = []

    def make(*directories: RawDirectory | str, **options: Any) -> LdapStore:
        urls = [each if isinstance(each, str) else each.url for each in directories]
        facts = {"service": SERVICE, "starts_tls": False, "timeout": 60.0, "cache_seconds": 0.0, **options}
        where = facts.pop("where", Where("o=x", "sub", parse_filter("(uid={login})")))
        store = LdapStore([parse_server(each) for each in urls], where, KEYS, facts.pop("clock", Clock()), **facts)
        made.append(store)
        return store

    yield make
    for store in made:
        store.close()
    await closing()


Make = Callable[..., LdapStore]


def controls(kind: bytes, value: bytes = b"") -> bytes:
    return element(0xA0, element(0x30, element(0x04, kind), element(0x04, value)))


def answers_bind(code: int, *more: bytes) -> Callable[[int, bytes], bytes]:
    """Return what answers the service account with a yes, and everybody else with *code*."""

    def answer(number: int, content: bytes) -> bytes:
        if b"cn=service" in content:
            return message(number, result(0x61, 0))
        return message(number, result(0x61, code), *more)

    return answer


@pytest.mark.rfc("4513 §5.1.1")
@pytest.mark.rfc("4513 §5.1.2")
async def test_no_bind_is_without_name_or_password(directory: RawDirectory, make: Make) -> None:
    store = make(directory)
    assert not opened(await store.check(TIM, Secret(b"")))
    directory.answers[SEARCH] = lambda number, _: entry(number, b"") + done(number)
    assert not opened(await store.check(TIM, TIMS))
    assert all(name and password for name, password in directory.binds)
    assert not any(name == b"uid=tim,o=x" for name, _ in directory.binds)


async def test_an_unknown_name_takes_the_steps_of_a_wrong_password(directory: RawDirectory, make: Make) -> None:
    store = make(directory)
    directory.answers[BIND] = answers_bind(49)
    assert not opened(await store.check(TIM, TIMS))
    known = [tag for tag, _ in directory.requests]
    directory.requests.clear()
    directory.answers[SEARCH] = lambda number, _: done(number)
    assert await store.check("nobody", TIMS) is None
    # The service account is logged in already.
    assert known == [BIND, *[tag for tag, _ in directory.requests]]
    [(name, password)] = directory.binds
    # Of a name that nobody has, and with what nobody sent.
    assert name.endswith(b",o=x")
    assert password not in (b"", TIMS.reveal(), SERVICE[1].reveal())
    # Even a directory that takes everything does not let it in.
    directory.answers.pop(BIND)
    assert await store.check("nobody", TIMS) is None


@pytest.mark.parametrize("code", [19, 32, 34, 48, 49, 50, 53])
async def test_what_a_directory_says_of_a_password_is_a_no(directory: RawDirectory, make: Make, code: int) -> None:
    directory.answers[BIND] = answers_bind(code)
    store = make(directory)
    assert not opened(await store.check(TIM, TIMS))
    assert await store.find(TIM) is not None


@pytest.mark.parametrize("code", [1, 2, 3, 7, 8, 10, 11, 13, 14, 51, 52, 80, 123])
async def test_what_a_directory_says_of_itself_is_no_answer(directory: RawDirectory, make: Make, code: int) -> None:
    directory.answers[BIND] = answers_bind(code)
    with pytest.raises(StoreUnavailable, match=f"result {code}"):
        await make(directory).check(TIM, TIMS)
    directory.answers = {SEARCH: lambda number, _: done(number, code)}
    with pytest.raises(StoreUnavailable, match=f"result {code}"):
        await make(directory).check(TIM, TIMS)


@pytest.mark.parametrize(
    "more",
    [
        controls(POLICY, element(0x30, element(0x81, b"\0"))),
        controls(POLICY, element(0x30, element(0x81, b"\2"))),
        controls(POLICY, element(0x30, element(0xA0, element(0x80, b"\1")), element(0x81, b"\1"))),
        controls(NETSCAPE, b"0"),
    ],
)
async def test_a_password_that_can_only_be_changed_is_a_no(directory: RawDirectory, make: Make, more: bytes) -> None:
    directory.answers[BIND] = answers_bind(0, more)
    assert not opened(await make(directory).check(TIM, TIMS))


@pytest.mark.parametrize(
    "more",
    [
        controls(POLICY, element(0x30)),
        controls(POLICY, element(0x30, element(0xA0, element(0x80, b"\1")))),
        controls(b"1.2.3"),
    ],
)
async def test_a_warning_is_none(directory: RawDirectory, make: Make, more: bytes) -> None:
    directory.answers[BIND] = answers_bind(0, more)
    assert opened(await make(directory).check(TIM, TIMS))


@pytest.mark.rfc("4511 §4.5.3")
async def test_referrals_are_not_followed(directory: RawDirectory, make: Make) -> None:
    elsewhere = RawDirectory()
    await elsewhere.start()
    url = element(0x04, elsewhere.url.encode() + b"/o=x")
    # Continuation references come beside what was found; Active Directory sends some with every search.
    directory.answers[SEARCH] = lambda number, _: (
        message(number, element(0x73, url)) + entry(number) + message(number, element(0x73, url)) + done(number)
    )
    store = make(directory)
    assert opened(await store.check(TIM, TIMS))
    directory.answers[SEARCH] = lambda number, _: done(number, 10, element(0xA3, url))
    with pytest.raises(StoreUnavailable, match="result 10"):
        await store.check(TIM, TIMS)
    assert elsewhere.connections == 0
    await elsewhere.stop()


@pytest.mark.parametrize("shown", [0, 1, 2])
async def test_more_than_a_directory_shows_is_more_than_one(directory: RawDirectory, make: Make, shown: int) -> None:
    told: list[Event] = []
    directory.answers[SEARCH] = lambda number, _: entry(number) * shown + done(number, 4)
    store = make(directory, emit=told.append)
    assert not opened(await store.check(TIM, TIMS))
    assert told == [StoreAmbiguous("ldap", TIM)]
    assert not any(name == b"uid=tim,o=x" for name, _ in directory.binds)


BAD: dict[str, Callable[[int, bytes], bytes]] = {
    "HTTP": lambda number, _: b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "zeros": lambda number, _: bytes(100),
    "indefinite length": lambda number, _: b"\x30\x80" + done(number)[2:] + b"\0\0",
    "a huge length": lambda number, _: b"\x30\x84\x7f\xff\xff\xff",
    "a length of five octets": lambda number, _: b"\x30\x85\0\0\0\0\1\0",
    "a tag of several octets": lambda number, _: b"\x3f\x81\x00\x00",
    "another number": lambda number, _: done(number + 1),
    "the end of another request": lambda number, _: message(number, result(0x78, 0)) * 70,
    "an entry without end": lambda number, _: entry(number) * 100,
    "too much": lambda number, _: entry(number, mail=bytes(70_000)) * 20,
    "a notice": lambda number, _: message(0, result(0x78, 52, b"going down", element(0x8A, b"1.3.6.1.4.1.1466.20036"))),
    "no code": lambda number, _: message(number, element(0x65)),
    "text for the code": lambda number, _: message(number, element(0x65, element(0x04, b"0"), element(0x04) * 2)),
    "an entry cut short": lambda number, _: message(number, element(0x64, b"\x04\x7fuid")) + done(number),
    "a name that is no ASCII": lambda number, _: entry(number, ä=b"") + done(number),
    "values that are no set": lambda number, _: (
        message(number, element(0x64, element(0x04, b"uid=tim"), element(0x30, element(0x30, element(0x04, b"mail")))))
        + done(number)
    ),
}


@pytest.mark.parametrize("kind", BAD)
async def test_an_answer_that_is_none_is_trouble_of_the_store(directory: RawDirectory, make: Make, kind: str) -> None:
    store = make(directory)
    directory.answers[SEARCH] = BAD[kind]
    with pytest.raises(StoreUnavailable) as caught:
        await store.check(TIM, TIMS)
    assert "marked" not in str(caught.value)
    directory.answers.clear()
    assert opened(await store.check(TIM, TIMS))


@pytest.mark.parametrize("kind", ["HTTP", "zeros", "a huge length", "another number", "a notice"])
async def test_an_answer_to_a_bind_that_is_none_is_trouble_of_the_store(
    directory: RawDirectory, make: Make, kind: str
) -> None:
    store = make(directory)
    directory.answers[BIND] = lambda number, content: (
        message(number, result(0x61, 0)) if b"cn=service" in content else BAD[kind](number, content)
    )
    with pytest.raises(StoreUnavailable):
        await store.check(TIM, TIMS)


async def test_a_bind_has_one_answer(directory: RawDirectory, make: Make) -> None:
    store = make(directory)
    directory.answers[BIND] = lambda number, content: (
        (entry(number) if b"uid=tim" in content else b"") + message(number, result(0x61, 0))
    )
    with pytest.raises(StoreUnavailable, match="more than it was asked for"):
        await store.check(TIM, TIMS)


async def test_a_yes_that_nobody_asked_for_lets_nobody_in(directory: RawDirectory, make: Make) -> None:
    store = make(directory)
    directory.answers[BIND] = lambda number, content: (
        message(number, result(0x61, 49)) + message(number + 1, result(0x61, 0))
        if b"uid=tim" in content
        else message(number, result(0x61, 0))
    )
    for _ in range(3):
        assert not opened(await store.check(TIM, TIMS))


async def test_a_directory_that_says_nothing_stops_nobody_else(directory: RawDirectory, make: Make) -> None:
    mute = RawDirectory(is_mute=True)
    await mute.start()
    context = ssl.create_default_context()
    stores = [
        make(mute),
        make(mute.url.replace("ldap:", "ldaps:"), context=context),
        make(mute, context=context, starts_tls=True),
    ]
    waiting = [asyncio.create_task(each.check(TIM, TIMS)) for each in stores]
    try:
        while mute.connections < 3:
            await asyncio.sleep(0.01)
        assert opened(await make(directory).check(TIM, TIMS))
        assert not any(each.done() for each in waiting)
    finally:
        await mute.stop()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(each, StoreUnavailable) for each in answers)


async def test_silence_ends_in_time(directory: RawDirectory, make: Make) -> None:
    directory.is_mute = True
    store = make(directory, timeout=0.2)
    with pytest.raises(StoreUnavailable, match="no answer within"):
        await store.check(TIM, TIMS)
    directory.is_mute = False
    assert opened(await make(directory).check(TIM, TIMS))


async def test_of_several_servers_a_mute_one_is_asked_once(directory: RawDirectory, make: Make) -> None:
    mute = RawDirectory(is_mute=True)
    await mute.start()
    store = make(mute, directory, timeout=10.0)
    # The mute one has its half of the time, and nobody asks it again while the other answers.
    for _ in range(3):
        assert opened(await store.check(TIM, TIMS))
    assert mute.connections == 1
    await directory.stop()
    mute.is_mute = False
    assert opened(await store.check(TIM, TIMS))
    await mute.stop()
    await directory.start()


@pytest.mark.parametrize("answers", [1, 2])
async def test_a_connection_that_was_closed_meanwhile_is_made_anew(
    directory: RawDirectory, make: Make, answers: int
) -> None:
    directory.closes_after = answers
    store = make(directory, service=None)
    for _ in range(4):
        assert opened(await store.check(TIM, TIMS))


async def test_connections_are_kept_and_bounded(directory: RawDirectory, make: Make) -> None:
    directory.pause = 0.01
    store = make(directory, connections=3)
    assert all(opened(each) for each in await asyncio.gather(*[store.check(TIM, TIMS) for _ in range(24)]))
    # So many for searches, and for passwords.
    assert directory.most_at_once <= 6
    before = directory.connections
    assert before <= 6
    assert opened(await store.check(TIM, TIMS))
    assert directory.connections == before
    # The service account logs in once on each connection, and its name is never that of a password.
    names = [name for name, _ in directory.binds]
    assert names.count(b"cn=service,o=x") <= 3
    assert names.count(b"uid=tim,o=x") == 25


async def test_a_store_that_is_closed_keeps_no_connection(directory: RawDirectory, make: Make) -> None:
    directory.pause = 0.05
    store = make(directory)
    assert opened(await store.check(TIM, TIMS))
    waiting = asyncio.create_task(store.check(TIM, TIMS))
    while len(directory.requests) < 4:
        await asyncio.sleep(0.001)
    store.close()
    assert opened(await waiting)
    async with asyncio.timeout(60):
        while directory.is_connected:
            await asyncio.sleep(0.01)


async def test_too_many_questions_do_not_wait(directory: RawDirectory, make: Make) -> None:
    directory.is_mute = True
    store = make(directory, connections=1, timeout=1.0)
    answers = await asyncio.gather(*[store.check(f"user{n}", TIMS) for n in range(12)], return_exceptions=True)
    assert all(isinstance(each, StoreUnavailable) for each in answers)
    assert sum("too many questions" in str(each) for each in answers) == 4


async def test_a_yes_is_remembered_without_the_password(directory: RawDirectory, make: Make) -> None:
    clock = Clock()
    store = make(directory, clock=clock, cache_seconds=60.0)
    for _ in range(3):
        assert opened(await store.check(TIM, TIMS))
        assert await store.find(TIM) is not None
    assert [tag for tag, _ in directory.requests] == [BIND, SEARCH, BIND]
    assert not any(TIMS.reveal() in tag for tag in store._opened)
    clock.time += 61
    directory.answers[BIND] = answers_bind(49)
    assert not opened(await store.check(TIM, TIMS))


async def test_a_directory_that_was_away_is_tried_without_anybody_logging_in(
    directory: RawDirectory, make: Make
) -> None:
    clock = Clock()
    store = make(directory, clock=clock)
    await store.survey(0.0)
    assert not await store.has_changed()
    await directory.stop()
    with pytest.raises(StoreUnavailable):
        await store.check(TIM, TIMS)
    await directory.start()
    clock.time += 2
    with pytest.raises(StoreUnavailable):
        await store.has_changed()
    async with asyncio.timeout(60):
        while store._problem:
            await asyncio.sleep(0.01)
    assert not await store.has_changed()


@pytest.mark.rfc("4511 §4.14.1")
async def test_tls_that_is_refused_or_broken_into_ends_it(directory: RawDirectory, make: Make) -> None:
    store = make(directory, context=ssl.create_default_context(), starts_tls=True)
    for code in (1, 2, 52):
        directory.answers[EXTENDED] = lambda number, _, code=code: message(number, result(0x78, code))
        with pytest.raises(StoreUnavailable, match=f"does not begin TLS: result {code}"):
            await store.check(TIM, TIMS)
    directory.answers[EXTENDED] = lambda number, _: (
        message(number, result(0x78, 0)) + message(number + 1, result(0x61, 0))
    )
    with pytest.raises(StoreUnavailable):
        await store.check(TIM, TIMS)
    directory.answers.clear()
    with pytest.raises(StoreUnavailable):
        await store.check(TIM, TIMS)
    # Nothing went out in clear.
    assert {tag for tag, _ in directory.requests} == {EXTENDED}


@pytest.mark.parametrize("said", ["refused", "more in clear", "nonsense"])
@pytest.mark.rfc("4511 §4.14.1")
async def test_a_connection_without_its_tls_is_not_left_open(directory: RawDirectory, make: Make, said: str) -> None:
    more = b"\x30\x05\x02" if said == "more in clear" else b""
    content = b"" if said == "nonsense" else result(0x78, 0 if more else 52)
    directory.answers[EXTENDED] = lambda number, _: message(number, content or element(0x78)) + more
    store = make(directory, context=ssl.create_default_context(), starts_tls=True)
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await store.check(TIM, TIMS)
    assert directory.connections == 3
    async with asyncio.timeout(60):
        while directory.is_connected:
            await asyncio.sleep(0.01)


async def test_the_certificate_must_be_for_the_host(make: Make, tmp_path: Path, authority: Authority) -> None:
    maker = trustme.CA()
    maker.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    maker.issue_cert("elsewhere.example.org").configure_cert(server)
    directory = RawDirectory()
    await directory.start(server)
    store = make(directory.url.replace("ldap:", "ldaps:"), context=client_context(tmp_path / "ca.pem"))
    with pytest.raises(StoreUnavailable, match="mismatch"):
        await store.check(TIM, TIMS)
    assert directory.requests == []
    await directory.stop()
