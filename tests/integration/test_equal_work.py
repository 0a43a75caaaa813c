"""Every no costs the same hashing, whoever the name is and whatever is wrong: on a real database."""

from __future__ import annotations

import asyncio
import base64
import collections
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gatepost.identity import verifiers
from gatepost.identity.accounts import set_state
from gatepost.identity.authority import Authority
from gatepost.identity.credentials import revoke_credential
from gatepost.identity.stores.http import HttpStore
from gatepost.model.identity import Secret
from gatepost.model.peer import Peer
from gatepost.sasl import client as clients
from gatepost.sasl.client import Credentials
from gatepost.session.service import LEAST_DELAY
from identities import KEYS, PEER, Book
from integration.client import connect
from login_service import LoginService

_CHOSEN = "correct horse battery"
_ONCE = {"stored_key": 1, "_verify_argon2id": 1}

MECHANISMS = {each.name: each for each in clients.MECHANISMS}

Done = collections.Counter[str]


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> Done:
    """What was computed."""
    count: Done = collections.Counter()

    def watch(where: object, name: str) -> None:
        real: Callable[..., object] = getattr(where, name)

        def counting(*arguments: object) -> object:
            count[name] += 1
            return real(*arguments)

        monkeypatch.setattr(where, name, counting)

    watch(verifiers.scram, "stored_key")
    watch(verifiers, "_verify_argon2id")
    return count


async def _try(authority: Authority, login: str, password: bytes, peer: Peer = PEER) -> tuple[bool, str]:
    attempt = authority.begin(peer, "PLAIN")
    found = await attempt.check_password(login, Secret(password))
    identity = None if found is None else await attempt.admit(found, "")
    return identity is not None, attempt.reason


def _generated(book: Book, login: str, **only: Any) -> bytes:
    book.account(login)
    return book.credential(login, force=True, **only)[1].reveal()


def _refused(book: Book) -> dict[str, tuple[str, bytes]]:
    """Make accounts of every kind; return name, secret and true reason of what must be a no."""
    cases = {
        "unknown": ("unknown login", b"wrong one"),
        "expired": ("credential expired", _generated(book, "expired", expires=book.clock.now() + 60)),
        "future": ("credential not valid yet", _generated(book, "future", not_before=9e9)),
        "network": ("credential not for network of 192.0.2.7", _generated(book, "network", networks=["192.0.2.0/30"])),
        "listener": ("credential not for listener submission", _generated(book, "listener", listeners=["devices"])),
        "mechanism": ("credential not for mechanism PLAIN", _generated(book, "mechanism", mechanisms=["LOGIN"])),
        "canary": ("canary credential", _generated(book, "canary", canary=True)),
        "disabled": ("account disabled", _generated(book, "disabled")),
        "wrong": ("wrong secret", b"wrong one" if _generated(book, "wrong") else b""),
    }
    set_state(book.database, "disabled", active=False)
    for login in ("revoked", "both"):
        book.account(login)
        row, password = book.credential(login)
        revoke_credential(book.database, row.id, now=book.clock.now())
        cases[login] = ("credential revoked", password.reveal())
    for login in ("both", "chosen"):
        if login == "chosen":
            book.account(login)
            cases[login] = ("wrong secret", b"wrong one")
        book.credential(login, chosen=_CHOSEN)
    book.account("empty")
    cases["empty"] = ("wrong secret", b"wrong one")
    book.clock.time += 600
    return cases


async def test_every_no_is_hashed_in_full_the_first_time_and_each_time_after(tmp_path: Path, done: Done) -> None:
    book = Book(tmp_path)
    cases = _refused(book)
    authority = book.authority()
    await authority.refresh()
    for _ in range(2):
        for login, (reason, password) in cases.items():
            done.clear()
            assert await _try(authority, login, password) == (False, reason)
            assert done == _ONCE, (login, reason)
    authority.close()


async def test_a_password_that_came_in_is_not_known_where_it_may_not(tmp_path: Path, done: Done) -> None:
    book = Book(tmp_path)
    book.account("chosen")
    book.credential("chosen", chosen=_CHOSEN)
    password = _generated(book, "tim", networks=["192.0.2.0/24"])
    authority = book.authority()
    await authority.refresh()
    assert await _try(authority, "tim", password) == (True, "")
    assert done == {"stored_key": 1}
    done.clear()
    assert await _try(authority, "tim", password) == (True, "")
    assert not done
    elsewhere = Peer("198.51.100.7", 40000, "submission")
    for _ in range(2):
        done.clear()
        assert await _try(authority, "tim", password, elsewhere) == (
            False,
            "credential not for network of 198.51.100.7",
        )
        assert done == _ONCE
    authority.close()


async def test_a_password_in_two_forms_costs_both_of_them_unless_it_opens(tmp_path: Path, done: Done) -> None:
    book = Book(tmp_path)
    for login, only in (("tim", {}), ("gone", {"expires": book.clock.now() + 60})):
        book.account(login)
        book.credential(login, chosen="correct hörse bättery", **only)
    book.clock.time += 600
    authority = book.authority()
    await authority.refresh()
    brought = "correct ho\u0308rse ba\u0308ttery".encode()
    for login, is_in, hashed in (("tim", True, 1), ("gone", False, 2), ("nobody", False, 2)):
        done.clear()
        assert (await _try(authority, login, brought))[0] is is_in
        assert done["_verify_argon2id"] == hashed
    authority.close()


async def test_a_no_of_a_store_that_checks_itself_costs_the_same(tmp_path: Path, done: Done) -> None:
    book = Book(tmp_path, mechanisms=("PLAIN",))
    book.account("chosen")
    book.credential("chosen", chosen=_CHOSEN)
    facts = {"ann": {}, "gone": {"active": False}, "late": {"credentials": [{"id": "password", "expires": 1.0}]}}
    service = LoginService({login: {"password": "right one", "facts": each} for login, each in facts.items()})
    await service.start()
    store = HttpStore(f"http://127.0.0.1:{service.port}/", KEYS, book.clock, timeout=30.0)
    authority = book.authority(stores=[book.store, store])
    await authority.refresh()
    for login, password, reason in (
        ("ann", b"wrong one", "wrong secret"),
        ("gone", b"right one", "account disabled"),
        ("late", b"right one", "credential expired"),
        ("chosen", b"wrong one", "wrong secret"),
        ("nobody", b"wrong one", "unknown login"),
    ):
        for _ in range(2):
            done.clear()
            assert await _try(authority, login, password) == (False, reason)
            assert done == {"_verify_argon2id": 1}, login
    done.clear()
    assert await _try(authority, "ann", b"right one") == (True, "")
    assert not done
    authority.close()
    await service.stop()


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "CRAM-MD5"])
async def test_no_no_comes_at_once_even_where_there_is_no_delay(start, mechanism):
    """What a no takes besides hashing depends on how much a name has, and is over before it is said."""
    async with start(auth={"failure_delay": "0s"}) as server:
        client = await connect(server)
        assert (await client.reply()).startswith("220")
        assert (await client.say("EHLO client.example.net")).startswith("250")
        talk = MECHANISMS[mechanism].start(Credentials("nobody", password=Secret(b"wrong one")))
        initial = "" if talk.initial is None else " " + base64.b64encode(talk.initial).decode()
        last, loop = f"AUTH {mechanism}{initial}", asyncio.get_running_loop()
        while True:
            began = loop.time()
            answer = await client.say(last)
            if not answer.startswith("334"):
                break
            if mechanism.startswith("SCRAM"):  # what it says is made of what the stores hold
                assert loop.time() - began >= 0.005 - 0.002
            last = base64.b64encode(talk.respond(base64.b64decode(answer[4:]))).decode()
        assert answer.startswith("535")
        # Both clocks have milliseconds.
        assert loop.time() - began >= LEAST_DELAY - 0.002
        await client.close()
