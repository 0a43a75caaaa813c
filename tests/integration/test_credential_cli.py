"""Rotating, ending and restricting credentials, canaries, suspended accounts: as operators and scripts see them."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gatepost.state.database import Database
from gatepost.state.last_used import LastUsed
from identities import Clock
from integration.test_accounts_cli import _LOGIN, Desk
from integration.test_last_used import login


@pytest.fixture(params=["sqlite", "postgres"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Desk:
    made = Desk(tmp_path, request.getfixturevalue("accounts_server") if request.param == "postgres" else None)
    made.run("account", "add", _LOGIN, "--contact", "owner@example.org")
    return made


def days(text: str) -> float:
    return (datetime.fromisoformat(text) - datetime.now(UTC)) / timedelta(days=1)


async def used(desk: Desk, credential: str, moment: float) -> None:
    database = Database(desk.state / "state.db")
    database.open()
    uses = LastUsed(database, Clock(moment))
    uses(login(credential=credential))
    await uses.write()
    database.close()


def test_rotating_prints_the_new_secret_alone_and_says_when_the_old_one_ends(desk: Desk) -> None:
    old = desk.rows("credential", "add", _LOGIN, "--label", "fax", "--network", "192.0.2.0/24")
    result = desk.run("credential", "rotate", old["id"], "--overlap", "14d", "--retire-unused", "3d")
    secret = result.stdout.removesuffix("\n")
    new = desk.opens(secret.encode())
    assert new not in (None, old["id"])
    assert desk.opens(old["secret"].encode()) == old["id"]
    assert f"It takes the place of {old['id']}, which works until " in result.stderr
    rows = {each["id"]: each for each in desk.rows("credential", "list", _LOGIN)}
    assert (rows[old["id"]]["state"], rows[old["id"]]["successor"]) == ("retiring", new)
    assert 13.9 < days(rows[old["id"]]["expires"]) <= 14
    assert (rows[new]["state"], rows[new]["label"], rows[new]["networks"]) == ("active", "fax", ["192.0.2.0/24"])
    again = desk.run("credential", "rotate", old["id"], code=1)
    assert f"is being rotated already; {new} takes its place" in again.stderr


def test_the_list_says_who_still_uses_the_old_secret(desk: Desk) -> None:
    old = desk.rows("credential", "add", _LOGIN)
    row = desk.rows("credential", "rotate", old["id"])
    assert (row["replaces"], desk.opens(row["secret"].encode())) == (old["id"], row["id"])
    assert 29.9 < days(row["replaced_ends"]) <= 30
    said = desk.run("credential", "list", _LOGIN).stderr
    assert f"nobody has used it since {row['id']} took its place" in said
    asyncio.run(used(desk, old["id"], time.time() + 1))
    said = desk.run("credential", "list", _LOGIN).stderr
    assert f"{row['id']} takes its place; still used by:" in said
    assert "  192.0.2.1 as laptop with PLAIN, last " in said
    by_id = {each["id"]: each for each in desk.rows("credential", "list")}
    [user] = by_id[old["id"]]["used_by"]
    assert (user["address"], user["client"], user["mechanism"]) == ("192.0.2.1", "laptop", "PLAIN")
    assert by_id[row["id"]]["used_by"] == []
    assert desk.run("credential", "list", _LOGIN, "--json").stderr == ""


def test_an_end_is_set_moved_and_taken_away(desk: Desk) -> None:
    row = desk.rows("credential", "add", _LOGIN)
    assert desk.run("credential", "expire", row["id"], "30d").stdout == f"{row['id']}\n"
    assert 29.9 < days(desk.rows("credential", "show", row["id"])["expires"]) <= 30
    assert desk.rows("credential", "expire", row["id"], "--never")["expires"] is None
    assert desk.rows("credential", "expire", row["id"], "--now")["state"] == "expired"
    assert "is expired; add a new one" in desk.run("credential", "expire", row["id"], "9d", code=1).stderr
    for words in ((), ("9d", "--now"), ("--now", "--never"), ("2001-01-01",), ("soon",)):
        desk.run("credential", "expire", row["id"], *words, code=2)


def test_restrictions_are_changed_and_lifted(desk: Desk) -> None:
    row = desk.rows("credential", "add", _LOGIN, "--recipient", "*@example.net", "--rate", "30", "--not-before", "2d")
    assert (row["recipients"], row["messages_per_minute"], row["state"]) == (["*@example.net"], 30, "pending")
    changed = desk.rows(
        "credential", "restrict", row["id"], "--rate", "5", "--mechanism", "plain", "--lift", "not-before"
    )
    assert (changed["messages_per_minute"], changed["mechanisms"], changed["state"]) == (5, ["PLAIN"], "active")
    assert changed["recipients"] == ["*@example.net"]
    lifted = desk.rows("credential", "restrict", row["id"], "--lift", "recipients", "--lift", "rate", "--sandbox")
    assert (lifted["recipients"], lifted["messages_per_minute"], lifted["sandbox"]) == ([], None, True)
    for words in ((), ("--lift", "rate", "--rate", "5"), ("--lift", "everything"), ("--rate", "0")):
        desk.run("credential", "restrict", row["id"], *words, code=2)
    assert "cannot be a recipient" in desk.run("credential", "restrict", row["id"], "--recipient", "x", code=1).stderr
    assert (
        "end before it begins"
        in desk.run("credential", "add", _LOGIN, "--not-before", "9d", "--expires", "2d", code=1).stderr
    )


def test_a_canary_is_shown_as_one_and_not_rotated(desk: Desk) -> None:
    row = desk.rows("credential", "add", _LOGIN, "--canary", "--mechanism", "PLAIN")
    assert (row["state"], row["secret"][:3]) == ("canary", "gp_")
    assert "is a canary" in desk.run("credential", "rotate", row["id"], code=1).stderr
    assert "not offered" not in desk.run("account", "disable", _LOGIN).stderr


def test_an_account_is_suspended_and_comes_back(desk: Desk) -> None:
    desk.run("account", "suspend", _LOGIN, "--until", "3d", "--reason", "on holiday")
    shown = desk.rows("account", "show", _LOGIN)
    assert (shown["state"], shown["reason"], shown["contact"]) == ("suspended", "on holiday", "owner@example.org")
    assert 2.9 < days(shown["suspended_until"]) <= 3
    desk.run("account", "enable", _LOGIN)
    shown = desk.rows("account", "show", _LOGIN)
    assert (shown["state"], shown["reason"], shown["suspended_until"]) == ("active", "", None)
    desk.run("account", "suspend", _LOGIN, code=2)
    desk.run("account", "suspend", _LOGIN, "--until", "2001-01-01", code=2)
    desk.run("account", "suspend", "nobody", "--until", "3d", code=1)


def test_the_contact_of_an_account_is_changed_and_taken_away(desk: Desk) -> None:
    desk.run("account", "contact", _LOGIN, "ops@example.net")
    assert desk.rows("account", "show", _LOGIN)["contact"] == "ops@example.net"
    assert "cannot be a contact" in desk.run("account", "contact", _LOGIN, "nonsense", code=1).stderr
    desk.run("account", "contact", _LOGIN)
    assert desk.rows("account", "show", _LOGIN)["contact"] == ""
    desk.run("account", "contact", "nobody", code=1)
