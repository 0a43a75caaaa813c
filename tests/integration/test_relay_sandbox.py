"""The sandbox on a real disk: names, envelopes, room, failures."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

import pytest

from contracts.transport_contract import CONTENT, Pieces, Whole, delivery
from gatepost.errors import Misuse, SpoolUnavailable
from gatepost.model.delivery import Cause, Deferred, Delivered, Handover
from gatepost.model.envelope import Body
from gatepost.relay.sandbox import Sandbox, _Part
from gatepost.relay.sandbox_order import SandboxOrder


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_a_message_and_its_envelope_lie_side_by_side(tmp_path: Path) -> None:
    sandbox = Sandbox("kept", tmp_path / "deep" / "sandbox", now=lambda: 1_700_000_000.5)
    (result, _) = await sandbox.deliver(
        delivery("ann@bücher.example", "b@x.net", body=Body.EIGHT_BIT, smtputf8=True, message_id="m1")
    )
    assert isinstance(result, Delivered)
    assert result.handover is Handover.DELIVERED
    folder = tmp_path / "deep" / "sandbox"
    assert files(folder) == ["m1.eml", "m1.json"]
    assert (folder / "m1.eml").read_bytes() == CONTENT
    assert json.loads((folder / "m1.json").read_text(encoding="utf-8")) == {
        "id": "m1",
        "kept_at": "2023-11-14T22:13:20.500+00:00",
        "reverse_path": "tim@example.org",
        "recipients": ["ann@bücher.example", "b@x.net"],
        "account": "tim",
        "credential": "c1",
        "body": "8BITMIME",
        "smtputf8": True,
        "size_bytes": len(CONTENT),
    }


async def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    sandbox = Sandbox("kept", tmp_path / "sandbox")
    await sandbox.deliver(delivery(message_id="m1"))
    assert (tmp_path / "sandbox").stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "sandbox").iterdir())


async def test_a_second_delivery_of_a_message_adds_its_recipients(tmp_path: Path) -> None:
    sandbox = Sandbox("kept", tmp_path)
    await sandbox.deliver(delivery("a@x.net", "b@x.net", message_id="m1"))
    await sandbox.deliver(delivery("b@x.net", "c@x.net", message_id="m1"))
    assert json.loads((tmp_path / "m1.json").read_text())["recipients"] == ["a@x.net", "b@x.net", "c@x.net"]
    assert files(tmp_path) == ["m1.eml", "m1.json"]


@pytest.mark.parametrize("broken", [b"{", b"[]", b"{}"])
async def test_a_broken_envelope_is_written_anew(tmp_path: Path, broken: bytes) -> None:
    (tmp_path / "m1.json").write_bytes(broken)
    await Sandbox("kept", tmp_path).deliver(delivery("a@x.net", message_id="m1"))
    assert json.loads((tmp_path / "m1.json").read_text())["recipients"] == ["a@x.net"]


async def test_only_the_newest_are_kept_across_a_restart(tmp_path: Path) -> None:
    for number in range(4):
        await Sandbox("kept", tmp_path, keep=3).deliver(delivery(message_id=f"m{number}"))
        os.utime(tmp_path / f"m{number}.eml", (number + 1, number + 1))
    sandbox = Sandbox("kept", tmp_path, keep=3)
    await sandbox.deliver(delivery(message_id="m4"))
    await sandbox.deliver(delivery(message_id="m4"))
    await sandbox.deliver(delivery(message_id="m5"))
    assert files(tmp_path) == [f"m{number}.{suffix}" for number in (3, 4, 5) for suffix in ("eml", "json")]


async def test_the_newest_of_all_workers_are_kept(tmp_path: Path) -> None:
    workers = [Sandbox("kept", tmp_path, keep=3) for _ in range(3)]
    for number in range(12):
        await workers[number % 2].deliver(delivery(message_id=f"m{number:02}"))
    assert files(tmp_path) == [f"m{number:02}.{suffix}" for number in (9, 10, 11) for suffix in ("eml", "json")]
    (tmp_path / "m10.eml").unlink()
    (tmp_path / "m10.json").unlink()
    await workers[2].deliver(delivery(message_id="m12"))
    await workers[0].deliver(delivery(message_id="m13"))
    assert files(tmp_path) == [f"m{number:02}.{suffix}" for number in (11, 12, 13) for suffix in ("eml", "json")]


async def test_of_many_that_are_brought_at_once_no_more_stay(tmp_path: Path) -> None:
    workers = [Sandbox("kept", tmp_path, keep=5) for _ in range(3)]
    await asyncio.gather(*(workers[each % 3].deliver(delivery(message_id=f"m{each:02}")) for each in range(30)))
    assert len(list(tmp_path.glob("*.eml"))) == len(list(tmp_path.glob("*.json"))) == 5
    assert len(files(tmp_path)) == 10


def test_a_large_folder_is_looked_at_now_and_then_and_still_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: [looks.append(path), real(path)][1])
    workers = [SandboxOrder(tmp_path) for _ in range(2)]
    for number in range(1500):
        (tmp_path / f"m{number:04}.eml").touch()
        for each in workers[number % 2].bring(f"m{number:04}", 500):
            (tmp_path / f"{each}.eml").unlink(missing_ok=True)
    assert len(looks) == 1500 // 5
    left = sorted(each.stem for each in tmp_path.iterdir())
    assert 500 <= len(left) <= 510
    assert left[-500:] == [f"m{number:04}" for number in range(1000, 1500)]


@pytest.mark.parametrize("name", ["../m1", "m/1", "", ".", "m1.eml", "m\0", "m" * 200])
async def test_an_id_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Misuse):
        await Sandbox("kept", tmp_path).deliver(delivery(message_id=name))
    assert files(tmp_path) == []


async def test_a_folder_that_cannot_be_written_defers(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (result,) = await Sandbox("kept", tmp_path / "file" / "sandbox").deliver(delivery())
    assert isinstance(result, Deferred)
    assert result.cause is Cause.NEXT_HOP
    assert str(tmp_path) not in result.reply.text


@pytest.mark.parametrize(("call", "which"), [("fsync", 0), ("fsync", 1), ("fsync", 2), ("rename", 0), ("rename", 1)])
@pytest.mark.parametrize("content", [Whole(), Pieces()], ids=["in memory", "in pieces"])
async def test_each_sync_and_each_rename_may_fail_and_leaves_the_whole_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, content: Whole | Pieces, which: int
) -> None:
    real = getattr(os, call)
    calls = []

    def fail_once(*arguments: object, **named: object) -> object:
        calls.append(arguments)
        if len(calls) - 1 == which:
            raise OSError(28, "No space left on device")
        return real(*arguments, **named)

    monkeypatch.setattr(os, call, fail_once)
    sandbox = Sandbox("kept", tmp_path)
    (result,) = await sandbox.deliver(delivery(content=content, message_id="m1"))
    assert isinstance(result, Deferred)
    assert result.reply.text == "the sandbox cannot be written: No space left on device"
    for path in tmp_path.iterdir():
        assert path.suffix in (".eml", ".json")
        if path.suffix == ".eml":
            assert path.read_bytes() == CONTENT
            assert path.with_suffix(".json").exists()
        if path.suffix == ".json":
            assert json.loads(path.read_text())["recipients"] == ["ann@example.net"]
    (again,) = await sandbox.deliver(delivery(content=content, message_id="m1"))
    assert isinstance(again, Delivered)
    assert files(tmp_path) == ["m1.eml", "m1.json"]


class Broken:
    size_bytes = 100
    inline = None

    async def chunks(self) -> AsyncIterator[bytes]:
        yield b"half"
        raise SpoolUnavailable("the disk is gone")


async def test_half_a_message_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(SpoolUnavailable):
        await Sandbox("kept", tmp_path).deliver(delivery(content=Broken()))
    assert files(tmp_path) == []
    with pytest.raises(SpoolUnavailable):
        await Sandbox("kept", tmp_path).deliver(delivery(content=Pieces(b"short", size_bytes=6)))
    assert files(tmp_path) == []


async def test_a_delivery_that_is_cancelled_while_its_file_opens_leaves_no_file_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = tmp_path / "m1.eml.part"
    os.mkfifo(part)  # opening it waits for a reader
    opens, really = threading.Event(), _Part._open

    def open_(self: _Part) -> BinaryIO:
        opens.set()
        return really(self)

    monkeypatch.setattr(_Part, "_open", open_)
    sending = asyncio.create_task(Sandbox("kept", tmp_path).deliver(delivery(content=Pieces(b"x"), message_id="m1")))
    async with asyncio.timeout(60):
        while not opens.is_set():  # else nobody would have begun, and there were no file
            await asyncio.sleep(0.01)
    sending.cancel()
    await asyncio.sleep(0)
    reader = os.open(part, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert os.read(reader, 10) in (b"", b"x")  # the other end is closed: else this would block or raise
    finally:
        os.close(reader)
    assert files(tmp_path) == []
