"""What EHLO says of sizes and recipients is what holds: the server's limits, and after login those of the account."""

from __future__ import annotations

import pytest

from gatepost.identity.database import Database
from integration.client import Client, connect

LOGIN = "AUTH PLAIN AHRpbUBleGFtcGxlLm9yZwBzZWNyZXQtcGFzcy0x"


async def announced(client: Client) -> list[str]:
    """Return what EHLO says of SIZE and LIMITS."""
    lines = (await client.say("EHLO client.example")).replace("250 ", "250-").split("250-")
    return [line.strip() for line in lines if line.startswith(("SIZE", "LIMITS"))]


@pytest.mark.rfc("9422 §3")
@pytest.mark.rfc("1870 §3")
@pytest.mark.parametrize(
    ("own_size", "own_recipients", "size", "recipients"),
    [("NULL", "NULL", 100_000, 5), (70_000, 2, 70_000, 2), (10**9, 10**6, 100_000, 5), (1, 1, 1, 1)],
)
async def test_ehlo_says_what_holds_for_the_account(start, own_size, own_recipients, size, recipients):
    async with start(limits={"message_bytes": 100_000, "recipients": 5}) as server:
        database = Database(server.worker.config.state_dir / "accounts.db")
        with database.writing() as connection:
            connection.exec_driver_sql(
                f"UPDATE accounts SET max_message_bytes = {own_size}, max_recipients = {own_recipients}"
            )
        client = await connect(server)
        await client.reply()
        assert await announced(client) == ["SIZE 100000", "LIMITS RCPTMAX=5"]
        assert (await client.say(LOGIN)).startswith("235 ")
        assert await announced(client) == [f"SIZE {size}", f"LIMITS RCPTMAX={recipients}"]

        assert (await client.say(f"MAIL FROM:<tim@example.org> SIZE={size + 1}")).startswith("552 5.3.4 ")
        assert (await client.say(f"MAIL FROM:<tim@example.org> SIZE={size}")).startswith("250 ")
        for _ in range(recipients):
            assert (await client.say("RCPT TO:<bob@example.net>")).startswith("250 ")
        assert (await client.say("RCPT TO:<bob@example.net>")).startswith("452 4.5.3 ")
        assert (await client.say("RSET")).startswith("250 ")

        for way in ("DATA", "BDAT"):
            assert (await client.say("MAIL FROM:<tim@example.org>")).startswith("250 ")
            assert (await client.say("RCPT TO:<bob@example.net>")).startswith("250 ")
            if way == "DATA":
                assert (await client.say("DATA")).startswith("354 ")
                client.writer.write(b"x" * size + b"\r\n.\r\n")
            else:
                client.writer.write(b"BDAT %d LAST\r\n" % (size + 1) + b"x" * (size + 1))
            assert (await client.reply()).startswith("552 5.3.4 ")
        await client.close()
