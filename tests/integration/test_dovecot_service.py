"""The connection with Dovecot's services: with one that speaks nonsense, is silent, lies or goes away."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatepost.errors import StoreUnavailable
from gatepost.identity.stores.dovecot import DovecotStore
from gatepost.identity.stores.dovecot_service import Answer, DovecotService, escape
from gatepost.model.identity import Secret
from gatepost.model.peer import Peer, TlsFacts
from identities import KEYS, Clock, closing

_GREETING = b"VERSION\t1\t2\nMECH\tLOGIN\tplaintext\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\taa\nDONE\n"
_PATIENCE = 60.0


@dataclass
class Liar:
    """A service on a Unix socket that says *greeting*, and to each line what *answers* returns."""

    greeting: bytes = _GREETING
    answers: Callable[[bytes, int], bytes | None] = lambda line, connection: b""  # None hangs up
    heard: list[bytes] = field(default_factory=list)
    connections: int = 0
    _server: asyncio.Server | None = None
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="gp-liar-"))
        self.path = self.folder / "auth"
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for each in self._writers:
            each.transport.abort()
        await closing()
        shutil.rmtree(self.folder)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        self._writers.append(writer)
        try:
            writer.write(self.greeting)
            while line := await reader.readline():
                self.heard.append(line)
                if line.startswith((b"VERSION", b"CPID", b"CANCEL")):
                    continue
                answer = self.answers(line, number)
                if answer is None:
                    break
                writer.write(answer)
        except ConnectionError:
            pass
        finally:
            writer.close()


@pytest.fixture
async def liar() -> AsyncIterator[Liar]:
    made = Liar()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def service(liar: Liar) -> AsyncIterator[DovecotService]:
    made = DovecotService(liar.path, "VERSION\t1\t1\nCPID\t7\n", "DONE", "MECH\tPLAIN")
    yield made
    made.close()
    await closing()


def number_of(line: bytes) -> bytes:
    return line.split(b"\t")[1].strip()


async def ask(service: DovecotService) -> Answer:
    async with asyncio.timeout(_PATIENCE):
        return await service.ask("AUTH", "PLAIN\tresp=")


@pytest.mark.parametrize(
    ("greeting", "problem"),
    [
        (_GREETING.replace(b"VERSION\t1", b"VERSION\t2"), "another version"),
        (_GREETING.replace(b"VERSION\t1\t2\n", b""), "names no version"),
        (_GREETING.replace(b"MECH\tPLAIN\tplaintext\n", b""), "MECH PLAIN"),
        (_GREETING.replace(b"PLAIN", b"PLAINTIVE"), "MECH PLAIN"),
        (b"VERSION\n" + _GREETING, "another version"),
        (b"VERSION\t1\t2\n" + b"MECH\tX\n" * 1000, "does not come to the end"),
        (b"VERSION\t1\t2\n\xff\n", "no answer"),
        (b"x" * 100_000, "more than 65536 octets"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\nDONE\n", "names no version"),
    ],
)
async def test_a_greeting_that_is_none_is_a_trouble(
    liar: Liar, service: DovecotService, greeting: bytes, problem: str
) -> None:
    liar.greeting = greeting
    with pytest.raises(OSError, match=problem):
        await ask(service)
    assert not any(line.startswith(b"AUTH") for line in liar.heard)


@pytest.mark.parametrize(
    "said",
    [
        b"OK\n",
        b"OK\t\n",
        b"OK\tone\tuser=tim\n",
        b"OK\t-1\tuser=tim\n",
        b"OK\t\xd9\xa1\tuser=tim\n",
        b"OK\t2\tuser=tim\n",
        b"OK\t0\tuser=tim\n",
        b"OK\t99999999999999999999\tuser=tim\n",
        b"\t1\tuser=tim\n",
        b"\n",
        b"OK\t1\tuser=\xff\n",
        b"OK\t1\tuser=a\x01x\n",
        b"OK\t1\tuser=a\x01\n",
        b"OK\t1\tuser=tim" + b"m" * 70_000,
    ],
)
async def test_what_is_no_answer_ends_the_connection_and_is_a_yes_for_nobody(
    liar: Liar, service: DovecotService, said: bytes
) -> None:
    liar.answers = lambda line, connection: said
    with pytest.raises(OSError, match=r"no answer|more than 65536 octets"):
        await ask(service)
    assert liar.connections == 1
    liar.answers = lambda line, connection: b"OK\t" + number_of(line) + b"\tuser=tim\n"
    assert await ask(service) == Answer("OK", ["user=tim"])


async def test_answers_come_in_any_order_and_in_any_pieces(liar: Liar, service: DovecotService) -> None:
    waiting: list[bytes] = []

    def answers(line: bytes, connection: int) -> bytes:
        waiting.append(number_of(line))
        if len(waiting) < 3:
            return b""
        return b"".join(b"OK\t" + each + b"\tuser=u" + each + b"\n" for each in reversed(waiting))

    liar.answers = answers
    found = await asyncio.gather(*[ask(service) for _ in range(3)])
    assert [each.words for each in found] == [["user=u1"], ["user=u2"], ["user=u3"]]
    assert liar.connections == 1


async def test_an_answer_that_comes_too_late_is_nobodys(liar: Liar, service: DovecotService) -> None:
    numbers: list[bytes] = []
    asked = asyncio.Event()

    def answers(line: bytes, connection: int) -> bytes:
        numbers.append(number_of(line))
        asked.set()
        if len(numbers) == 1:
            return b""
        return b"OK\t" + numbers[0] + b"\tuser=first\nFAIL\t" + number_of(line) + b"\tuser=second\n"

    liar.answers = answers
    first = asyncio.create_task(ask(service))
    async with asyncio.timeout(_PATIENCE):
        await asked.wait()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert await ask(service) == Answer("FAIL", ["user=second"])
    assert [line for line in liar.heard if line.startswith(b"CANCEL")] == [b"CANCEL\t1\n"]
    assert liar.connections == 1


async def test_whoever_asks_on_a_connection_that_was_kept_too_long_is_asked_about_once_more(
    liar: Liar, service: DovecotService
) -> None:
    liar.answers = lambda line, connection: (
        None if connection == 1 and number_of(line) == b"2" else b"OK\t" + number_of(line) + b"\n"
    )
    assert (await ask(service)).kind == "OK"
    assert (await ask(service)).kind == "OK"
    assert liar.connections == 2
    # But one that always hangs up is not asked for ever.
    liar.answers = lambda line, connection: None
    with pytest.raises(OSError, match="closed the connection"):
        await ask(service)
    assert liar.connections <= 4


async def test_whoever_waits_for_a_connection_that_is_given_up_hears_of_it(liar: Liar, service: DovecotService) -> None:
    liar.greeting = b"VERSION\t1\t2\n"
    asked = [asyncio.create_task(ask(service)) for _ in range(3)]
    async with asyncio.timeout(_PATIENCE):
        while not liar.connections:
            await asyncio.sleep(0.01)
    # One who stops waiting does not stop it for the others.
    asked[0].cancel()
    await asyncio.gather(asked[0], return_exceptions=True)
    assert not asked[1].done()
    service.close()
    for each in asked[1:]:
        with pytest.raises(OSError, match="closed"):
            await each
    assert liar.connections == 1


async def test_nobody_is_kept_waiting_by_a_service_that_is_not_there(liar: Liar) -> None:
    service = DovecotService(liar.folder / "nothing", "VERSION\t1\t1\n", "SPID")
    with pytest.raises(OSError, match="No such file"):
        await ask(service)
    assert str(service) == str(liar.folder / "nothing")
    assert str(DovecotService(("127.0.0.1", 7), "", "")) == "127.0.0.1:7"


async def test_a_service_that_does_not_read_is_let_go(liar: Liar, service: DovecotService) -> None:
    hold = asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        liar._writers.append(writer)
        writer.write(_GREETING)
        await hold.wait()

    assert liar._server is not None
    liar._server.close()
    liar.path = liar.folder / "mute"
    liar._server = await asyncio.start_unix_server(mute, liar.path, limit=1024)
    other = DovecotService(liar.path, "VERSION\t1\t1\n", "DONE")
    asked = [asyncio.ensure_future(other.ask("AUTH", "PLAIN\tresp=" + "x" * 7000)) for _ in range(600)]
    async with asyncio.timeout(_PATIENCE):
        with pytest.raises(OSError, match="does not read what it is asked"):
            await asyncio.gather(*asked)
    for each in asked:
        each.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    hold.set()
    other.close()
    await closing()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=200))
def test_whatever_is_said_nobody_gets_a_yes_by_it(said: bytes) -> None:
    async def run() -> None:
        liar = Liar(answers=lambda line, connection: said + b"\n\n")
        await liar.start()
        service = DovecotService(liar.path, "VERSION\t1\t1\nCPID\t7\n", "DONE", "MECH\tPLAIN")
        try:
            async with asyncio.timeout(_PATIENCE):
                answer = await service.ask("AUTH", "PLAIN\tresp=")
            # It said just that, then.
            assert said.decode().split("\n")[0].startswith(f"{answer.kind}\t1")
        except OSError:
            pass
        finally:
            service.close()
            await liar.stop()

    asyncio.run(run())


@given(st.text(max_size=30))
def test_what_is_escaped_has_nothing_that_ends_a_word_and_comes_back(text: str) -> None:
    from gatepost.identity.stores.dovecot_service import _unescape

    escaped = escape(text)
    assert not {"\t", "\n", "\r", "\0"} & set(escaped)
    assert _unescape(escaped) == text


async def test_a_store_asks_as_postfix_does_and_hides_nothing_that_it_must_know(liar: Liar) -> None:
    store = DovecotStore(liar.path, KEYS, Clock(), timeout=_PATIENCE)
    liar.answers = lambda line, connection: b"OK\t" + number_of(line) + b"\tuser=tim\n"
    for peer in (
        Peer("::ffff:192.0.2.7", 40000, "submission", TlsFacts("TLSv1.3", "x", 256)),
        Peer("fe80::1%eth0", 7, "x"),
    ):
        checked = await store.check("tim", Secret(b"sesame"), peer)
        assert checked is not None
        assert checked.credential is not None
    assert [line for line in liar.heard if line.startswith(b"AUTH")] == [
        b"AUTH\t1\tPLAIN\tservice=smtp\tnologin\tno-penalty\tsecured\trip=192.0.2.7\trport=40000\tresp=AHRpbQBzZXNhbWU=\n",
        b"AUTH\t2\tPLAIN\tservice=smtp\tnologin\tno-penalty\trip=fe80::1\trport=7\tresp=AHRpbQBzZXNhbWU=\n",
    ]
    store.close()
    await closing()


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (b"CONT\t%s\tabc\n", "answered with 'CONT'"),
        (b"YES\t%s\tuser=tim\n", "answered with 'YES'"),
        (b"FAIL\t%s\tuser=tim\ttemp\n", "a trouble of its own"),
        (b"FAIL\t%s\tuser=tim\tcode=temp_fail\n", "a trouble of its own"),
        (b"OK\t%s\tuser=\n", "which is no name"),
        (b"OK\t%s\tuser=a\x010b\n", "which is no name"),
        (b"OK\t%s\tuser=tim\tgatepost_colour=red\n", "gatepost_colour"),
        (b"OK\t%s\tuser=tim\tgatepost_expires=never\n", "no proper gatepost_expires"),
        (b"OK\t%s\tuser=tim\tgatepost_sandbox=yes\tgatepost_sandbox=no\n", "twice"),
        (b"OK\t%s\tuser=tim\tallow_nets=\n", "allow_nets"),
    ],
)
async def test_an_answer_that_is_no_judgement_is_neither_yes_nor_no(liar: Liar, said: bytes, problem: str) -> None:
    store = DovecotStore(liar.path, KEYS, Clock(), timeout=_PATIENCE)
    liar.answers = lambda line, connection: said.replace(b"%s", number_of(line))
    with pytest.raises(StoreUnavailable, match=problem) as caught:
        await store.check("tim", Secret(b"sesame"))
    assert "sesame" not in str(caught.value)
    store.close()
    await closing()


@pytest.mark.parametrize("fields", [b"", b"\tuser_disabled", b"\tpass_expired", b"\tauthz", b"\treason=why\tcode=x"])
async def test_every_other_fail_is_one_and_the_same_no(liar: Liar, fields: bytes) -> None:
    store = DovecotStore(liar.path, KEYS, Clock(), timeout=_PATIENCE)
    liar.answers = lambda line, connection: b"FAIL\t" + number_of(line) + b"\tuser=tim" + fields + b"\n"
    checked = await store.check("tim", Secret(b"sesame"))
    assert checked is not None
    assert checked.credential is None
    store.close()
    await closing()


async def test_too_many_questions_do_not_wait_and_a_silence_ends_in_time(liar: Liar) -> None:
    store = DovecotStore(liar.path, KEYS, Clock(), timeout=8.0)
    asked = [store.check(f"user{number}", Secret(b"x")) for number in range(600)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(each, StoreUnavailable) for each in answers)
    assert sum("too many questions" in str(each) for each in answers) == 600 - 512
    assert liar.connections == 1
    store.close()
    await closing()


async def test_what_is_remembered_is_bounded(liar: Liar) -> None:
    store = DovecotStore(liar.path, KEYS, Clock(), timeout=_PATIENCE, cache_entries=5)
    liar.answers = lambda line, connection: b"OK\t" + number_of(line) + b"\tuser=u" + number_of(line) + b"\n"
    for number in range(20):
        await store.check(f"user{number}", Secret(b"x"))
    assert len(store._seen) == len(store._opened) == len(store._accounts) == 5
    store.close()
    await closing()
