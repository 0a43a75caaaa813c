"""A PostgreSQL database has the reasons for a no that one in a file has; clients see one answer, at one moment."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from gatepost.identity.stores.postgres_server import PostgresServer
from gatepost.observe.events import LoginFailed
from gatepost.testing import RunningServer
from integration.attempts import PASSWORDS, attempt, give
from integration.conftest import Start
from integration.test_same_no import DELAY, LIMITS, REFUSALS, check_moments, greeted, name, talk
from private_postgres import PASSWORD


@pytest.fixture
def store(accounts_server: PostgresServer, tmp_path: Path) -> dict[str, object]:
    """Return the settings of a database without accounts."""
    path = tmp_path / "postgres.password"
    path.touch(0o600)
    path.write_text(PASSWORD)
    return {
        "type": "postgres",
        "host": accounts_server.host,
        "port": accounts_server.port,
        "database": accounts_server.database,
        "user": accounts_server.user,
        "password_file": str(path),
        "timeout": "30s",
    }


async def refused(server: RunningServer) -> dict[str, str]:
    """Make accounts that are refused, one for each reason; return their secrets."""
    made = {kind: await asyncio.to_thread(make, server, name(kind)) for kind, (make, _) in REFUSALS.items()}
    await server.worker.authority.refresh()
    return made


def of(mechanism: str) -> list[str]:
    """Return the kinds of no that a mechanism meets."""
    opens = {"PLAIN": "plain-only", "LOGIN": "login-only"}
    return [kind for kind in REFUSALS if kind != opens.get(mechanism)]


@pytest.mark.rfc("4954 §9")
async def test_every_kind_of_no_has_the_steps_and_words_of_every_other(start: Start, store: dict[str, object]) -> None:
    async with start(auth={"mechanisms": PASSWORDS}, limits=LIMITS, store=[store]) as server:
        # The salts as they are while nobody of these exists.
        first = await asyncio.gather(*(talk(server, "SCRAM-SHA-256", name(kind), "a guess") for kind in REFUSALS))
        before = dict(zip(REFUSALS, (salt for _, salt in first), strict=True))
        assert len(set(before.values())) == len(REFUSALS)
        secrets = await refused(server)
        for mechanism in PASSWORDS:
            server.events.clear()
            kinds = of(mechanism)
            talks = await asyncio.gather(*(talk(server, mechanism, name(kind), secrets[kind]) for kind in kinds))
            expected = talks[kinds.index("unknown")][0]
            assert f" {mechanism}" in expected[0]
            assert expected[-1] == "535 5.7.8 Authentication credentials invalid [gp]", mechanism
            for kind, (said, salt) in zip(kinds, talks, strict=True):
                assert said == expected, (mechanism, kind)
                assert salt in {"", before[kind]}, (mechanism, kind)
                told = [
                    each.reason for each in server.events if isinstance(each, LoginFailed) and each.login == name(kind)
                ]
                assert len(told) == 2
                assert all(re.match(REFUSALS[kind][1], each) for each in told), (mechanism, kind, told)
            # The same database lets in whom it should.
            _, secret = await asyncio.to_thread(give, server, name(f"new-{mechanism}"), new=True)
            await server.worker.authority.refresh()
            client, _ = await greeted(server)
            assert (await attempt(client, mechanism, name(f"new-{mechanism}"), secret))[-1].startswith("235 ")
            await client.close()
        assert not server.troubles


async def test_no_no_comes_before_its_moment(start: Start, store: dict[str, object]) -> None:
    auth = {"mechanisms": PASSWORDS, "failure_delay": f"{DELAY}s"}
    async with start(auth=auth, limits=LIMITS, store=[store]) as server:
        secrets = await refused(server)
        for mechanism in ("SCRAM-SHA-256", "PLAIN", "CRAM-MD5"):
            await check_moments(server, mechanism, {name(kind): secrets[kind] for kind in of(mechanism)})
        assert not server.troubles
