"""Quotas through a whole server: which recipient is refused, and what a message costs that is not kept."""

from __future__ import annotations

import asyncio

import pytest

from gatepost.errors import SpoolFull, SpoolUnavailable
from gatepost.observe.events import CommandRefused, MessageAccepted, MessageRefused
from gatepost.spool.incoming import SqliteIncoming
from integration.client import Client, log_in
from integration.test_session import MESSAGE


async def submit(client: Client, recipients: int = 1) -> list[str]:
    """Send a message to so many; return the replies from RCPT on."""
    assert (await client.say("MAIL FROM:<tim@example.org>")).startswith("250")
    replies = [await client.say(f"RCPT TO:<bob{number}@example.net>") for number in range(recipients)]
    reply = await client.say("DATA")
    replies.append(reply)
    if reply.startswith("354"):
        client.writer.write(MESSAGE + b".\r\n")
        replies.append(await client.reply())
    else:
        await client.say("RSET")
    return [each[:9] for each in replies]


YES, KEPT, DATA, NO = "250 2.1.5", "250 2.0.0", "354 End d", "451 4.7.1"


async def test_a_day_s_recipients_over_sessions_and_restarts(start):
    limits = {"recipients_per_day": 7}
    async with start(limits=limits) as server:
        first, second = await log_in(server), await log_in(server)
        assert await submit(first, 3) == [YES] * 3 + [DATA, KEPT]
        assert await submit(second, 3) == [YES] * 3 + [DATA, KEPT]
        assert await submit(first, 3) == [YES, NO, NO, DATA, KEPT]  # the first of them is sent
        assert await submit(second) == [NO, "554 5.5.1"]
        refused = [event for event in server.events if isinstance(event, CommandRefused)]
        assert {event.reason for event in refused} >= {"tim@example.org may have 7 recipients in a day"}
        await first.close()
        await second.close()
    async with start(limits=limits) as server:
        client = await log_in(server)
        assert await submit(client) == [NO, "554 5.5.1"]
        await client.close()
    async with start(limits={"recipients_per_day": 0}) as server:
        client = await log_in(server)
        assert await submit(client, 5) == [YES] * 5 + [DATA, KEPT]
        await client.close()


async def test_who_comes_second_at_the_end_of_data_is_refused_there(start):
    async with start(limits={"recipients_per_day": 4}) as server:
        first, second = await log_in(server), await log_in(server)
        for client in (first, second):
            assert (await client.say("MAIL FROM:<tim@example.org>")).startswith("250")
            for number in range(3):
                assert (await client.say(f"RCPT TO:<bob{number}@example.net>")).startswith("250")
            assert (await client.say("DATA")).startswith("354")
        for client in (first, second):
            client.writer.write(MESSAGE + b".\r\n")
        replies = sorted([(await first.reply())[:9], (await second.reply())[:9]])
        assert replies == [KEPT, NO]
        [refused] = [event for event in server.events if isinstance(event, MessageRefused)]
        assert refused.reason == "tim@example.org may have 4 recipients in a day"
        assert len([event for event in server.events if isinstance(event, MessageAccepted)]) == 1
        await first.close()
        await second.close()


async def test_messages_in_a_minute(start):
    async with start(limits={"messages_per_minute": 3}) as server:
        client = await log_in(server)
        assert [(await submit(client, 1))[-1] for _ in range(5)] == [KEPT] * 3 + ["554 5.5.1"] * 2
        await client.close()


async def test_half_of_a_day_s_recipients_are_a_minute_s_messages(start):
    async with start(limits={"recipients_per_day": 9}) as server:
        client = await log_in(server)
        assert [(await submit(client, 1))[-1] for _ in range(6)] == [KEPT] * 5 + ["554 5.5.1"]
        await client.close()


@pytest.mark.parametrize(("error", "reply"), [(SpoolUnavailable("no"), "451 4.3.0"), (SpoolFull("no"), "452 4.3.1")])
async def test_what_the_spool_could_not_keep_costs_nothing(start, monkeypatch, error, reply):
    async with start(limits={"recipients_per_day": 4}) as server:
        client = await log_in(server)

        async def fail(*arguments, **names):
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(SqliteIncoming, "commit", fail)
            for _ in range(5):
                assert (await submit(client, 4))[-1] == reply
        assert await submit(client, 4) == [YES] * 4 + [DATA, KEPT]
        assert (await submit(client))[0] == NO
        await client.close()


async def test_a_reload_brings_another_quota(start, tmp_path):
    async with start(limits={"recipients_per_day": 2}) as server:
        worker = server.worker
        client = await log_in(server)
        assert await submit(client, 2) == [YES] * 2 + [DATA, KEPT]
        assert (await submit(client))[0] == NO
        await client.close()
        limits = worker.config.limits.model_copy(update={"recipients_per_day": 3})
        config = worker.config.model_copy(update={"limits": limits})
        from gatepost.parts import key_pairs

        await worker.reload(config, key_pairs(config))
        client = await log_in(server)
        assert await submit(client, 2) == [YES, NO, DATA, KEPT]
        await client.close()


async def test_many_clients_at_once_have_the_quota_and_no_more(start):
    limits = {"recipients_per_day": 150, "messages_per_minute": 0, "connections_per_address": 50}
    async with start(limits=limits) as server:
        clients = await asyncio.gather(*[log_in(server) for _ in range(20)])

        async def send(client: Client) -> int:
            return sum([(await submit(client))[-1] == KEPT for _ in range(10)])

        assert sum(await asyncio.gather(*[send(client) for client in clients])) == 150
        await asyncio.gather(*[client.close() for client in clients])
