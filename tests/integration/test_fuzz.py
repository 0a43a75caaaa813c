"""Nonsense of all kinds is answered as it should be (`make fuzz` goes on for as long as asked)."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.dialogs import STATES, Dialog
from fuzz.fuzzing import LOOPS, Failure, Fuzz
from fuzz.reference import Kept, differences
from fuzz.replies import Broken, Replies
from fuzz.shrink import shrink

# So many dialogs, in any case: with them all that is looked for comes about.
LEAST = 600


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("loop", "seed"), [("uvloop", 1), ("asyncio", 2)])
def test_no_dialog_gets_a_wrong_answer_or_leaves_anything_behind(
    tmp_path: Path, loop: str, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Fuzz(tmp_path, seed).run(loop, seconds=30, least=LEAST)
    with capsys.disabled():
        print(f"\n{loop}, {report}")
    assert set(report.states) == set(STATES)
    assert report.plays > 1000
    assert report.messages > 100
    assert {220, 221, 235, 250, 334, 354, 421, 500, 501, 503, 530, 538, 554} <= set(report.codes)


@pytest.mark.sources
@pytest.mark.timeout(600)
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("end", [b"\n.\r\n", b"\r\n.\n", b"\r.\r"])
def test_a_server_that_ends_a_message_where_there_is_no_end_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loop: str, end: bytes
) -> None:
    monkeypatch.setattr("gatepost.session.data.DataReader.feed", _also_ends_at(end))
    with pytest.raises(Failure, match=r"make fuzz SEED=3 DIALOG=[0-9]+\nthe shortest: .*\nstate "):
        Fuzz(tmp_path, 3).run(loop, seconds=60)


def _also_ends_at(end: bytes):  # type: ignore[no-untyped-def]
    from gatepost.session.data import DataReader

    usual = DataReader.feed

    def feed(self, data: bytes) -> bytes | None:  # type: ignore[no-untyped-def]
        before, found, after = data.partition(end)
        return usual(self, before + b"\r\n.\r\n" + after if found else data)

    return feed


@pytest.mark.parametrize(
    ("octets", "found"),
    [
        (b"250 2.0.0 OK\n", "no line of a reply"),
        (b"250 2.0.0 a\rb\r\n", "no line of a reply"),
        (b"650 2.0.0 OK\r\n", "no line of a reply"),
        (b"250-2.0.0 OK\r\n251 2.0.0 OK\r\n", "two codes"),
        (b"250 2.0.0 " + b"x" * 600 + b"\r\n", "a line of 612 octets"),
        (b"451 4.3.0 ValueError: x\r\n", "innards"),
        (b"334 not base64\r\n", "no base64"),
    ],
)
def test_what_is_no_reply_is_not_taken_for_one(octets: bytes, found: str) -> None:
    replies = Replies()
    replies.feed(octets)
    with pytest.raises(Broken, match=found):
        list(iter(replies.next, None))


def _stored(header: bytes, body: bytes) -> bytes:
    mended = b"Date: Sat, 21 Nov 2026 11:00:00 +0000\r\nMessage-ID: <a@b>\r\n"
    return b"Received: by us\r\n\tand so on\r\n" + header + mended + b"\r\n" + body


@pytest.mark.parametrize(
    ("sent", "stored", "found"),
    [
        (b"From: x\r\nBcc: y\r\n\r\nbody\r\n", _stored(b"From: x\r\n", b"body\r\n"), ""),
        (b"From: x\r\n\r\nbody\r\n", _stored(b"From: x\r\n", b"body\r\n\r\n"), "its body"),
        (b"From: x\r\n\r\n.body\r\n", _stored(b"From: x\r\n", b"body\r\n"), "its body"),
        (b"From: x\r\n\r\n", _stored(b"From: y\r\n", b""), "its header"),
        (b"From: x\r\nDate: y\r\n\r\n", _stored(b"Date: y\r\nFrom: x\r\n", b""), "2 fields"),
        (b"From: x\r\n\r\n", b"From: x\r\n\r\n", "no Received"),
    ],
)
def test_a_message_that_was_changed_on_its_way_is_seen(sent: bytes, stored: bytes, found: str) -> None:
    difference = differences(Kept("x", sent, b"", ()), stored)
    assert difference.startswith(found) if found else not difference


async def test_a_dialog_is_made_as_short_as_what_it_shows() -> None:
    async def shows(tried: Dialog) -> bool:
        return b"\0" in tried.hostile

    made = Dialog("data", b"From: x\r\n\r\nhello\0world\r\n.\r\nNOOP\r\n", cuts=(3, 9))
    assert await shrink(made, shows, seconds=600) == Dialog("data", b"\0")
