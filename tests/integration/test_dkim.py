"""Mail that a server signs: as it is accepted, in its own notices, and after it had to be converted."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gatepost.message.headers import parse_header
from gatepost.model.envelope import Envelope
from gatepost.observe.emit import Emitter
from gatepost.observe.events import (
    BounceQueued,
    CredentialExpiring,
    MessageAccepted,
    RecipientDelivered,
    SignatureLost,
)
from gatepost.parts import key_pairs
from gatepost.queue.owner import OwnerMail
from gatepost.state.signing_keys import KEYS_FOLDER, StoredKey, change_keys, write_keys
from gatepost.testing import RunningServer
from integration.client import Client, log_in
from memory_spool import MemorySpool
from next_hop import FakeNextHop, say
from queue_world import JumpingClock
from signatures import MESSAGES, make_signer, private_keys, records, verified

DOMAINS = ("example.org", "mail.example.org")
ALL = records(*DOMAINS)
HEAD = b"From: Tim <tim@example.org>\r\nTo: bob@example.net\r\nSubject: hello\r\n"


def give_keys(state_dir: Path, *domains: str) -> None:
    for domain in domains:
        with change_keys(state_dir):
            keys = [StoredKey(name, kind, 0.0, 0.0, key) for name, kind, key in private_keys(domain)]
            write_keys(state_dir, domain, keys)


@pytest.fixture
def signing(start: Any, server_state: Path, tmp_path: Path) -> Callable[..., Any]:
    """Return what starts a server that has keys of *domains*, with the settings that are given."""

    def made(*domains: str, hop: FakeNextHop | None = None, **settings: Any) -> Any:
        shutil.copytree(server_state, tmp_path / "state", dirs_exist_ok=True)
        give_keys(tmp_path / "state", *domains)
        if hop is not None:
            settings["route"] = [
                {"name": "next", "transport": "smarthost", "host": "127.0.0.1", "port": hop.port, "tls": "none"}
            ]
        return start(**settings)

    return made


async def send(client: Client, content: bytes, *, chunks: int = 0) -> None:
    """Send a message with DATA, or in so many chunks, which are cut anywhere."""
    assert (await client.say("MAIL FROM:<tim@example.org>")).startswith("250")
    assert (await client.say("RCPT TO:<bob@example.net>")).startswith("250")
    if not chunks:
        assert (await client.say("DATA")).startswith("354")
        stuffed = (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:]
        client.writer.write(stuffed + b".\r\n")
        assert (await client.reply()).startswith("250")
        return
    size = len(content) // chunks + 1
    for start in range(0, len(content), size):
        piece = content[start : start + size]
        client.writer.write(b"BDAT %d%s\r\n" % (len(piece), b" LAST" if start + size >= len(content) else b"") + piece)
        assert (await client.reply()).startswith("250")


async def kept(server: RunningServer) -> list[tuple[Envelope, bytes]]:
    """Return what lies in the spool."""
    found = []
    for entry in server.worker.spool.list():
        async with server.worker.spool.content(entry) as content:
            found.append((entry.envelope, b"".join([piece async for piece in content.chunks()])))
    return found


def paused(server: RunningServer) -> None:
    server.worker.pause_routes({"sandbox": 1.0, "next": 1.0})


@pytest.mark.rfc("6376 §5.4.2")
@pytest.mark.parametrize("chunks", [0, 3])
async def test_every_message_is_kept_with_good_signatures(signing: Any, chunks: int) -> None:
    async with signing("example.org", limits={"message_bytes": "32MiB"}) as server:
        paused(server)
        client = await log_in(server)
        names = [name for name in MESSAGES if not chunks or name != "10 MB"]
        for name in names:
            await send(client, b"".join(MESSAGES[name]), chunks=chunks)
        found = await kept(server)
        for (envelope, content), name in zip(found, names, strict=True):
            assert envelope.signatures == 2, name
            assert envelope.size_bytes == len(content)
            assert content[: envelope.header_bytes].endswith(b"\r\n\r\n")
            fields = parse_header(content[: envelope.header_bytes]).fields
            assert [each.name for each in fields[:3]] == [b"received", b"dkim-signature", b"dkim-signature"]
            if name != "spaces around a colon":  # which dkimpy does not read
                assert verified(content) == [True, True], name
        await client.close()
        assert server.troubles == []


async def test_what_we_mend_is_mended_before_it_is_signed(signing: Any) -> None:
    async with signing("example.org") as server:
        paused(server)
        client = await log_in(server)
        await send(
            client,
            b"From: tim@example.org\r\nBcc: eve@example.net\r\nDate: never\r\nReturn-Path: <x@y.org>\r\n\r\n\r\n",
        )
        [(_, content)] = await kept(server)
        assert b"Bcc" not in content
        assert b"Message-ID: <" in content
        assert verified(content) == [True, True]
        await client.close()


async def test_a_header_without_anything_after_it_is_signed(signing: Any) -> None:
    async with signing("example.org") as server:
        paused(server)
        client = await log_in(server)
        await send(client, HEAD)
        [(envelope, content)] = await kept(server)
        assert envelope.signatures == 2
        assert verified(content) == [True, True]
        await client.close()


async def test_mail_of_a_domain_without_a_key_is_not_touched(signing: Any) -> None:
    async with signing("elsewhere.example") as server:
        paused(server)
        client = await log_in(server)
        await send(client, HEAD + b"\r\nhello\r\n")
        [(envelope, content)] = await kept(server)
        assert envelope.signatures == 0
        assert b"DKIM-Signature" not in content
        await client.close()


async def test_a_message_that_is_refused_is_refused_as_without_keys(signing: Any) -> None:
    async with signing("example.org") as server:
        client = await log_in(server)
        await client.open_data()
        client.writer.write(b"Subject: no author\r\n\r\nhello\r\n.\r\n")
        assert (await client.reply()).startswith("554 5.6.0 No From field")
        await send(client, HEAD + b"\r\nhello\r\n")
        await client.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_next_hop_without_8bitmime_gets_signatures_of_what_it_gets(signing: Any) -> None:
    async with FakeNextHop(extensions=("PIPELINING",)) as hop, signing("example.org", hop=hop) as server:
        client = await log_in(server)
        section, body = MESSAGES["8-bit"]
        await send(client, b"DKIM-Signature: v=1; d=elsewhere.example; b=x\r\n" + section + body)
        await until(lambda: bool(hop.mails))
        content = hop.mails[0].content
        assert content.isascii()
        assert b"quoted-printable" in content
        assert verified(content) == [True, True]
        assert not any(isinstance(each, SignatureLost) for each in server.events)
        fields = parse_header(content.partition(b"\r\n\r\n")[0] + b"\r\n\r\n").fields
        assert [each.name for each in fields].count(b"dkim-signature") == 3
        await client.close()


async def test_one_whose_key_is_gone_when_it_is_converted_goes_without_and_that_is_told(
    signing: Any,
) -> None:
    async with FakeNextHop(extensions=("PIPELINING",)) as hop, signing("example.org", hop=hop) as server:
        paused(server)
        client = await log_in(server)
        await send(client, b"".join(MESSAGES["8-bit"]))
        server.worker.signer.adapt({}, frozenset())
        server.worker.pause_routes({})
        await until(lambda: any(isinstance(each, RecipientDelivered) for each in server.events))
        assert b"DKIM-Signature" not in hop.mails[0].content
        [accepted] = [each for each in server.events if isinstance(each, MessageAccepted)]
        assert accepted.dkim == "signed"
        [lost] = [each for each in server.events if isinstance(each, SignatureLost)]
        assert lost == SignatureLost(accepted.message, "next")
        await client.close()


@pytest.mark.parametrize(("domains", "why"), [((), "off"), (("elsewhere.example",), "no key")])
async def test_it_is_told_why_a_message_is_not_signed(signing: Any, domains: tuple[str, ...], why: str) -> None:
    async with signing(*domains) as server:
        client = await log_in(server)
        await send(client, HEAD + b"\r\nhello\r\n")
        [accepted] = [each for each in server.events if isinstance(each, MessageAccepted)]
        assert accepted.dkim == why
        await client.close()


async def test_a_next_hop_gets_what_lies_in_the_spool(signing: Any) -> None:
    async with FakeNextHop() as hop, signing("example.org", hop=hop) as server:
        client = await log_in(server)
        for name in ("dots", "8-bit", "trailing empty lines"):
            await send(client, b"".join(MESSAGES[name]))
        await until(lambda: len(hop.mails) == 3)
        assert [verified(each.content) for each in hop.mails] == [[True, True]] * 3
        await client.close()


async def test_a_bounce_is_signed_for_our_own_name(signing: Any) -> None:
    async with FakeNextHop() as hop, signing(*DOMAINS, hop=hop) as server:
        hop.on("RCPT", say("550 5.1.1 nobody"), times=1)
        client = await log_in(server)
        await send(client, HEAD + b"\r\nhello\r\n")
        await until(lambda: any(isinstance(each, BounceQueued) for each in server.events))
        await until(lambda: bool(hop.mails))
        bounce = hop.mails[-1].content
        assert b"From: " in bounce
        assert b"d=mail.example.org" in bounce.partition(b"\r\n\r\n")[0]
        assert verified(bounce, ALL) == [True, True]
        await client.close()


async def test_keys_are_taken_up_by_a_reload_and_a_bad_file_changes_nothing(signing: Any, tmp_path: Path) -> None:
    async with signing() as server:
        worker = server.worker
        assert worker.signer.keys == {}
        give_keys(tmp_path / "state", "example.org")
        await worker.reload(worker.config, key_pairs(worker.config))
        assert list(worker.signer.keys) == ["example.org"]
        (tmp_path / "state" / KEYS_FOLDER / "example.org.json").write_text("{")
        with pytest.raises(Exception, match="is not as gatepost wrote it"):
            await worker.reload(worker.config, key_pairs(worker.config))
        assert list(worker.signer.keys) == ["example.org"]


async def test_a_warning_to_an_owner_is_signed_for_our_own_name() -> None:
    spool, clock = MemorySpool(JumpingClock()), JumpingClock()
    mail = OwnerMail("mail.example.org", spool, lambda _: None, clock, Emitter(), make_signer("mail.example.org"))
    await mail.warn(CredentialExpiring("tim", "c1", "", "tim@example.net", 1.8e9, "", 0.0, "", "", ""))
    [entry] = spool.list()
    async with spool.content(entry) as content:
        assert content.inline is not None
        assert verified(content.inline, ALL) == [True, True]
    assert entry.envelope.signatures == 2
