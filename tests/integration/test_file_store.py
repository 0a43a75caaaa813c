"""Accounts in files on a real disk: replaced, changed in place, half-written, missing; and in a server that runs."""

from __future__ import annotations

import asyncio
import base64
import hmac
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.identity.store import Account, Credential
from gatepost.identity.stores.file import FileStore
from gatepost.identity.stores.passwd_file import PasswdFile
from gatepost.identity.stores.static import SecretFileReader
from gatepost.model.identity import parse_sender_pattern
from gatepost.observe.events import Event, LoginFailed, SessionRevoked, StoreBack, StoreOutdated
from identities import KEYS, Clock
from integration.conftest import Start
from integration.test_several_stores import hello, plain

SSHA = "{SSHA256}" + "A" * 52
LOGIN, SECRET = "ann@example.org", "correct-horse-7"


class Desk:
    """A passwd-file, and the store that reads it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "users"
        self.clock = Clock()
        self.told: list[Event] = []
        self.store = FileStore(self.path, PasswdFile(KEYS, 4096), self.clock, emit=self.told.append)

    def replace(self, text: str, mode: int = 0o600) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.chmod(mode)
        os.replace(new, self.path)

    async def knows(self, login: str) -> bool:
        return await self.store.find(login) is not None


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    desk.replace(f"tim:{SSHA}\n")
    yield desk
    desk.store.close()


async def test_a_file_that_is_replaced_counts_at_the_next_look_up(desk: Desk) -> None:
    assert await desk.knows("tim")
    for number in range(5):
        desk.replace(f"user{number}:{SSHA}")
        assert await desk.knows(f"user{number}")
        assert not await desk.knows("tim")
    assert desk.told == []


async def test_a_file_changed_in_place_counts_once_it_has_stood_still_and_ends(desk: Desk) -> None:
    assert await desk.knows("tim")
    with desk.path.open("a") as file:
        file.write("ann:{SSHA256}BBBB")
        file.flush()
        assert not await desk.knows("ann")
        desk.clock.time += 0.9
        assert not await desk.knows("ann")
        desk.clock.time += 0.2
        # Half a line has stood still for a second: it is no line, and the old content stays.
        assert not await desk.knows("ann")
        assert await desk.knows("tim")
        [told] = desk.told
        assert isinstance(told, StoreOutdated)
        assert told.reason == f"{desk.path}:2: was changed in place, and does not end with a newline: is it whole?"
        file.write("B" * 48 + "\n")
        file.flush()
        assert not await desk.knows("ann")
        desk.clock.time += 1.1
        assert await desk.knows("ann")
    assert desk.told[1:] == [StoreBack("file")]


async def test_a_file_that_is_cut_to_nothing_in_place_is_waited_for(desk: Desk) -> None:
    assert await desk.knows("tim")
    desk.path.write_text("")
    assert await desk.knows("tim")
    desk.path.write_text(f"ann:{SSHA}\n")
    assert await desk.knows("tim")
    desk.clock.time += 1.1
    assert await desk.knows("ann")
    assert not await desk.knows("tim")


async def test_a_wrong_file_keeps_the_old_and_tells_file_and_line_once(desk: Desk) -> None:
    assert await desk.knows("tim")
    desk.replace(f"ann:{SSHA}\nbob:nonsense\n")
    for _ in range(3):
        assert await desk.knows("tim")
        assert not await desk.knows("ann")
    reason = f"{desk.path}:2: its password is no whole hash of a scheme that is known here"
    assert desk.told == [StoreOutdated("file", reason)]
    desk.replace(f"ann:{SSHA}\n")
    assert await desk.knows("ann")
    assert desk.told[1:] == [StoreBack("file")]


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
async def test_a_file_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    desk = Desk(tmp_path)
    desk.replace(f"tim:{SSHA}\n", mode)
    with pytest.raises(StoreUnavailable, match="can be written by others than its owner; run: chmod go-w"):
        await desk.knows("tim")
    desk.path.chmod(0o600)
    assert await desk.knows("tim")
    desk.path.chmod(mode)
    assert await desk.knows("tim")
    desk.clock.time += 1.1
    assert await desk.knows("tim")
    assert isinstance(desk.told[-1], StoreOutdated)
    desk.store.close()


async def test_a_file_that_was_never_there_is_a_store_that_is_away_and_one_that_goes_keeps_the_old(desk: Desk) -> None:
    aside = desk.path.with_suffix(".aside")
    desk.path.rename(aside)
    for ask in (desk.knows("tim"), desk.store.has_changed(), desk.store.survey(0.0)):
        with pytest.raises(StoreUnavailable, match="No such file"):
            await ask
    aside.rename(desk.path)
    assert await desk.knows("tim")
    desk.path.rename(aside)
    assert await desk.knows("tim")
    assert [type(each) for each in desk.told] == [StoreOutdated]
    aside.rename(desk.path)
    assert await desk.knows("tim")
    desk.clock.time += 1.1
    assert await desk.knows("tim")
    assert [type(each) for each in desk.told] == [StoreOutdated, StoreBack]


async def test_neither_a_folder_nor_a_pipe_nor_a_huge_file_is_read(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    os.mkfifo(desk.path, 0o600)
    with pytest.raises(StoreUnavailable, match="is no file"):
        await desk.knows("tim")
    desk.path.unlink()
    desk.path.mkdir()
    with pytest.raises(StoreUnavailable):
        await desk.knows("tim")
    desk.path.rmdir()
    small = FileStore(desk.path, PasswdFile(KEYS, 4096), desk.clock, size_limit=10)
    desk.replace(f"tim:{SSHA}\n")
    with pytest.raises(StoreUnavailable, match="is larger than"):
        await small.find("tim")


async def test_a_link_that_is_moved_counts_at_once_as_kubernetes_does_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for name, login in (("one", "tim"), ("two", "ann")):
        (tmp_path / name).write_text(f"{login}:{SSHA}")
        (tmp_path / name).chmod(0o600)
    desk.path.symlink_to("one")
    assert await desk.knows("tim")
    (tmp_path / "new").symlink_to("two")
    os.replace(tmp_path / "new", desk.path)
    assert await desk.knows("ann")
    desk.store.close()


async def test_many_look_ups_at_once_read_it_once(desk: Desk) -> None:
    reads = []
    real = PasswdFile(KEYS, 4096)

    def slow(octets: bytes):
        reads.append(len(octets))
        time.sleep(0.1)
        return real(octets)

    store = FileStore(desk.path, slow, desk.clock)
    turns = []

    async def count() -> None:
        while True:
            turns.append(1)
            await asyncio.sleep(0.005)

    counting = asyncio.create_task(count())
    assert all(await asyncio.gather(*[store.find("tim") for _ in range(20)]))
    counting.cancel()
    # The loop went on meanwhile.
    assert len(turns) > 3
    assert len(reads) == 1
    store.close()


@pytest.mark.parametrize(
    "octets", [b"short", b"", b"aaaaaaaaaaaaaaaaaa", b"\xff" * 20, b"ann@example.org-1", b"a\0b" * 9]
)
async def test_a_secret_that_is_weak_or_none_is_refused(tmp_path: Path, octets: bytes) -> None:
    path = tmp_path / "secret"
    path.touch(0o600)
    path.write_bytes(octets)
    reader = SecretFileReader(Account(LOGIN, b"", 4096), Credential(""), KEYS, ["PLAIN"])
    store = FileStore(path, reader, Clock(), size_limit=4096)
    with pytest.raises(StoreUnavailable, match=r"the secret of ann@example.org cannot be used"):
        await store.find(LOGIN)
    store.close()


async def test_a_static_login_has_every_verifier_and_the_salt_it_always_had(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.touch(0o600)
    path.write_text(f"{SECRET}\n")
    account = Account(LOGIN, b"", 4096, senders=(parse_sender_pattern("*@example.org"),))
    reader = SecretFileReader(account, Credential("", "static"), KEYS, ["PLAIN", "SCRAM-SHA-256", "CRAM-MD5"])
    clock = Clock()
    store = FileStore(path, reader, clock)
    found = await store.find(LOGIN)
    assert found is not None
    assert await store.find("nobody") is None
    survey = await store.survey(0.0)
    assert not any(survey.lacking[scheme] for scheme in ("SCRAM-SHA-256", "HMAC-MD5"))
    before = found.credentials[0].id
    path.write_text("another-horse-8\n")
    assert (await store.find(LOGIN)).credentials[0].id == before  # type: ignore[union-attr]
    clock.time += 1.1
    again = await store.find(LOGIN)
    assert again is not None
    assert (again.salt, again.senders) == (found.salt, found.senders)
    assert again.credentials[0].id != before
    store.close()


async def test_a_running_server_takes_a_passwd_file_of_dovecots_and_ends_who_is_removed(
    start: Start, tmp_path: Path
) -> None:
    desk = Desk(tmp_path)
    schemes = ("SHA512-CRYPT", "BLF-CRYPT", "SSHA512", "PBKDF2", "ARGON2ID", "SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5")
    schemes += ("SMD5", "LDAP-MD5", "PLAIN-MD5", "SHA512", "SSHA", "SHA256-CRYPT")
    if shutil.which("doveadm") is None:
        pytest.skip("needs doveadm (apt-get install dovecot-core)")
    lines = {}
    for scheme in schemes:
        done = subprocess.run(["doveadm", "pw", "-s", scheme, "-p", SECRET], capture_output=True, text=True, check=True)
        lines[f"{scheme.lower()}@example.org"] = done.stdout.strip()
    desk.replace("".join(f"{login}:{text}::::::userdb_quota=1\n" for login, text in lines.items()))
    stores = [
        {"type": "sqlite", "path": str(tmp_path / "state/accounts.db")},
        {"type": "passwd-file", "path": str(desk.path)},
    ]
    async with start(store=stores) as server:
        assert [each.name for each in server.worker.authority.offered("submissions")] == ["PLAIN", "LOGIN"]
        for login in lines:
            assert (await plain(server, login, SECRET)).startswith("235"), login
            assert (await plain(server, login, SECRET)).startswith("235"), login
            assert (await plain(server, login, "wrong")).startswith("535 5.7.8"), login
        assert (await plain(server, "nobody@example.org", SECRET)).startswith("535 5.7.8")
        client = await hello(server)
        await client.say("AUTH LOGIN")
        await client.say(base64.b64encode(b"ssha512@example.org").decode())
        assert (await client.say(base64.b64encode(SECRET.encode()).decode())).startswith("235")
        desk.replace(f"ann@example.org:{SSHA}\n")
        async with asyncio.timeout(60):
            assert (await client.reply()).startswith("421 4.7.0")
        assert [each.reason for each in server.events if isinstance(each, SessionRevoked)] == ["account removed"]
        assert (await plain(server, "pbkdf2@example.org", SECRET)).startswith("535 5.7.8")
        desk.replace(f"pbkdf2@example.org:{lines['pbkdf2@example.org']}\nhalf")
        assert (await plain(server, "ann@example.org", "x")).startswith("535")
        assert [type(each) for each in server.events if isinstance(each, StoreOutdated | StoreBack)] == [StoreOutdated]
        assert not server.troubles


async def test_a_running_server_takes_a_static_login_with_every_mechanism(start: Start, tmp_path: Path) -> None:
    secret = tmp_path / "app"
    secret.touch(0o600)
    secret.write_text(SECRET)
    stores = [{"type": "static", "login": LOGIN, "secret_file": str(secret), "networks": ["127.0.0.0/8"]}]
    async with start(store=stores) as server:
        offered = [each.name for each in server.worker.authority.offered("submissions")]
        assert offered == ["SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5"]
        assert (await plain(server, LOGIN, SECRET)).startswith("235")
        assert (await plain(server, LOGIN, "wrong")).startswith("535 5.7.8")
        new = tmp_path / "new"
        new.touch(0o600)
        new.write_text("another-horse-8")
        os.replace(new, secret)
        assert (await plain(server, LOGIN, SECRET)).startswith("535 5.7.8")
        assert (await plain(server, LOGIN, "another-horse-8")).startswith("235")
    reasons = {each.reason for each in server.events if isinstance(each, LoginFailed)}
    assert reasons == {"wrong secret"}


async def test_what_dovecot_keeps_for_cram_md5_is_offered_and_works(start: Start, tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    if shutil.which("doveadm") is None:
        pytest.skip("needs doveadm (apt-get install dovecot-core)")
    done = subprocess.run(["doveadm", "pw", "-s", "CRAM-MD5", "-p", SECRET], capture_output=True, text=True, check=True)
    desk.replace(f"ann@example.org:{done.stdout.strip()}\n")
    async with start(store=[{"type": "passwd-file", "path": str(desk.path)}]) as server:
        assert [each.name for each in server.worker.authority.offered("submissions")] == ["PLAIN", "LOGIN", "CRAM-MD5"]
        for secret, code in ((SECRET, "235"), ("wrong", "535 5.7.8")):
            client = await hello(server)
            challenge = base64.b64decode((await client.say("AUTH CRAM-MD5")).split()[1])
            proof = hmac.new(secret.encode(), challenge, "md5").hexdigest()
            answer = await client.say(base64.b64encode(f"ann@example.org {proof}".encode()).decode())
            assert answer.startswith(code)
            await client.close()
            assert (await plain(server, "ann@example.org", secret)).startswith(code)
