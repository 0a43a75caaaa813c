"""``gatepost account`` and ``gatepost credential``, as an operator and a script see them."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gatepost.cli.main import gatepost
from gatepost.identity.store import Account
from gatepost.identity.stores.postgres import PostgresStore
from gatepost.identity.stores.postgres_server import PostgresServer
from gatepost.identity.stores.sqlite import SqliteStore
from gatepost.identity.verifiers import check_of, matching
from gatepost.model.identity import Secret
from private_postgres import PASSWORD

_CONFIG = """
hostname = "mail.example.org"
state_dir = "state"

[auth]
mechanisms = ["SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5"]

[[listener]]
name = "submission"
port = 2587
tls = "starttls"

[[listener]]
name = "devices"
port = 2465
tls = "implicit"
mechanisms = ["PLAIN", "LOGIN"]

[[route]]
name = "sandbox"
transport = "sandbox"
path = "sandbox"
"""

_LOGIN = "tim@example.org"


class Desk:
    """Where the operator sits."""

    def __init__(self, folder: Path, server: PostgresServer | None = None) -> None:
        self.config = folder / "gatepost.toml"
        self.config.write_text(_CONFIG)
        self.server = server
        if server is not None:
            secret = folder / "postgres.password"
            secret.touch(0o600)
            secret.write_text(PASSWORD)
            with self.config.open("a") as file:
                file.write(
                    f"""
[[store]]
type = "postgres"
host = "{server.host}"
port = {server.port}
database = "{server.database}"
password_file = "postgres.password"
timeout = "30s"
"""
                )
        self.state = folder / "state"

    def run(self, *words: str, stdin: bytes | None = None, code: int = 0) -> Result:
        result = CliRunner().invoke(gatepost, [*words, "--config", str(self.config)], input=stdin)
        assert result.exit_code == code, (result.output, result.exception)
        return result

    def rows(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json").stdout)

    def opens(self, secret: bytes) -> str | None:
        """Return the credential of tim that *secret* opens."""
        store = SqliteStore(self.state / "accounts.db") if self.server is None else PostgresStore(self.server)

        async def find() -> Account | None:
            try:
                return await store.find(_LOGIN)
            finally:
                store.close()

        account = asyncio.run(find())
        assert account is not None
        check = check_of(account)
        found = matching(check, Secret(secret))
        return None if found is None else check.all[found].credential.id


@pytest.fixture(params=["sqlite", "postgres"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Desk:
    if request.param == "sqlite":
        return Desk(tmp_path)
    return Desk(tmp_path, request.getfixturevalue("accounts_server"))


@pytest.fixture
def staffed(desk: Desk) -> Desk:
    desk.run("account", "add", _LOGIN)
    return desk


def test_before_the_first_account_there_is_nothing_and_looking_makes_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert desk.rows("account", "list") == []
    assert desk.rows("credential", "list") == []
    assert desk.run("account", "list").output == ""
    assert "gatepost account add LOGIN" in desk.run("account", "show", _LOGIN, code=1).stderr
    assert "no accounts yet" in desk.run("credential", "list", _LOGIN, code=1).stderr
    assert not desk.state.exists()


def test_an_account_is_added_and_the_next_step_is_told(desk: Desk) -> None:
    result = desk.run("account", "add", "Tim@Example.ORG")
    assert result.stdout == f"{_LOGIN}\n"
    assert f"gatepost credential add {_LOGIN}" in result.stderr
    if desk.server is None:
        assert (desk.state / "accounts.db").stat().st_mode & 0o777 == 0o600
    assert (desk.state / "secret.key").stat().st_mode & 0o777 == 0o600
    again = desk.run("account", "add", _LOGIN, code=1)
    assert (again.stdout, "already" in again.stderr) == ("", True)


def test_an_account_has_what_it_was_given(desk: Desk) -> None:
    desk.run(
        "account", "add", _LOGIN, "--sender", "*@example.org", "--sender", "tim@example.net", "--max-message-bytes",
        "1000", "--max-recipients", "7", "--null-sender",
    )  # fmt: skip
    row = desk.rows("account", "show", _LOGIN)
    assert row["senders"] == ["*@example.org", "tim@example.net"]
    assert (row["max_message_bytes"], row["max_recipients"], row["null_sender"]) == (1000, 7, True)
    assert datetime.now(UTC) - datetime.fromisoformat(row["created"]) < timedelta(minutes=5)
    assert desk.rows("account", "list") == [row]
    assert "LOGIN" in desk.run("account", "list").stdout


def test_a_login_that_is_no_address_is_told_that_it_may_not_write(desk: Desk) -> None:
    assert "--sender" in desk.run("account", "add", "printer").stderr
    assert desk.rows("account", "show", "printer")["senders"] == []


def test_an_account_is_changed_and_what_is_not_named_stays(desk: Desk) -> None:
    desk.run("account", "add", _LOGIN, "--max-recipients", "7", "--contact", "boss@example.org")
    before = desk.rows("account", "show", _LOGIN)
    assert desk.run("account", "change", "TIM@example.org", "--sender", "*@example.net", "--null-sender").stdout == (
        f"{_LOGIN}\n"
    )
    after = desk.rows("account", "show", _LOGIN)
    assert after == before | {"senders": ["*@example.net"], "null_sender": True}
    desk.run(
        "account", "change", _LOGIN, "--no-null-sender", "--max-message-bytes", "70000", "--lift", "max-recipients"
    )
    last = desk.rows("account", "show", _LOGIN)
    assert last == after | {"null_sender": False, "max_message_bytes": 70000, "max_recipients": None}
    desk.run("account", "change", _LOGIN, "--lift", "senders", "--lift", "null-sender", "--lift", "max-message-bytes")
    assert desk.rows("account", "show", _LOGIN) == before | {"max_recipients": None}


def test_a_change_that_cannot_be_is_told_and_changes_nothing(staffed: Desk) -> None:
    before = staffed.rows("account", "list")
    assert "gatepost account list" in staffed.run("account", "change", "nobody", "--lift", "senders", code=1).stderr
    said = staffed.run("account", "change", _LOGIN, "--sender", "nonsense", "--null-sender", code=1).stderr
    assert said == "nonsense: cannot be a sender: 'nonsense' is no address; write name@domain, *@domain or *\n"
    for words in ((), ("--lift", "senders", "--sender", "*"), ("--lift", "contact"), ("--max-recipients", "0")):
        staffed.run("account", "change", _LOGIN, *words, code=2)
    assert staffed.rows("account", "list") == before


def test_a_login_that_is_no_address_gets_its_senders_later(desk: Desk) -> None:
    said = desk.run("account", "add", "printer").stderr
    assert "gatepost account change printer --sender" in said
    desk.run("account", "change", "printer", "--sender", "scans@example.org")
    assert desk.rows("account", "show", "printer")["senders"] == ["scans@example.org"]
    assert "--sender" in desk.run("account", "change", "printer", "--lift", "senders").stderr
    assert desk.rows("account", "show", "printer")["senders"] == []


@pytest.mark.parametrize(
    "words",
    [
        ("account", "add"),
        ("account", "add", _LOGIN, "--max-recipients", "0"),
        ("account", "add", _LOGIN, "--max-message-bytes", "many"),
        ("account", "frobnicate"),
        ("credential", "add"),
        ("credential", "add", _LOGIN, "--short", "--secret-stdin"),
        ("credential", "add", _LOGIN, "--expires", "soon"),
        ("credential", "add", _LOGIN, "--expires", "2001-01-01"),
        ("credential", "add", _LOGIN, "--expires", "999999w"),
        ("credential", "add", _LOGIN, "--secret", "on the command line"),
        ("credential", "revoke"),
    ],
)
def test_wrong_use_is_2(desk: Desk, words: tuple[str, ...]) -> None:
    result = desk.run(*words, code=2)
    assert result.stdout == ""
    assert result.stderr


def test_disabling_and_enabling(staffed: Desk) -> None:
    assert staffed.run("account", "disable", _LOGIN, "--reason", "left us").stdout == f"{_LOGIN}\n"
    row = staffed.rows("account", "show", _LOGIN)
    assert (row["state"], row["reason"]) == ("disabled", "left us")
    staffed.run("account", "disable", _LOGIN, "--reason", "left us", code=1)
    staffed.run("account", "enable", _LOGIN)
    assert staffed.rows("account", "show", _LOGIN)["state"] == "active"
    staffed.run("account", "enable", _LOGIN, code=1)
    staffed.run("account", "enable", "nobody", code=1)


def test_removing_takes_the_credentials_along(staffed: Desk) -> None:
    staffed.run("credential", "add", _LOGIN)
    result = staffed.run("account", "remove", _LOGIN)
    assert (result.stdout, "1 credential" in result.stderr) == (f"{_LOGIN}\n", True)
    assert staffed.rows("credential", "list") == []
    staffed.run("account", "remove", _LOGIN, code=1)


@pytest.mark.parametrize("short", [False, True])
def test_a_made_secret_is_printed_once_alone_on_standard_output(staffed: Desk, short: bool) -> None:
    result = staffed.run("credential", "add", _LOGIN, "--label", "laptop", *(["--short"] if short else []))
    secret = result.stdout.removesuffix("\n")
    assert len(secret) == (30 if short else 36)
    assert secret.startswith("gp_")
    (row,) = staffed.rows("credential", "list", _LOGIN)
    assert row["id"] in result.stderr
    assert staffed.opens(secret.encode()) == row["id"]
    for words in (("credential", "list"), ("credential", "show", row["id"])):
        assert secret not in staffed.run(*words).output
        assert secret not in staffed.run(*words, "--json").output


def test_with_json_the_secret_is_part_of_the_row(staffed: Desk) -> None:
    row = staffed.rows("credential", "add", _LOGIN)
    assert staffed.opens(row.pop("secret").encode()) == row["id"]
    assert staffed.rows("credential", "show", row["id"]) == {**row, "last_used": None, "last_use": None}


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
def test_a_chosen_secret_is_read_and_never_printed(staffed: Desk, ending: bytes) -> None:
    result = staffed.run("credential", "add", _LOGIN, "--secret-stdin", stdin=b"correct horse battery" + ending)
    assert "correct" not in result.output
    assert staffed.opens(b"correct horse battery") == result.stdout.strip()
    (row,) = staffed.rows("credential", "list")
    assert (row["origin"], row["verifiers"]) == ("chosen", ["ARGON2ID", "HMAC-MD5", "SCRAM-SHA-256"])
    more = staffed.run("credential", "add", _LOGIN, "--secret-stdin", stdin=b"another good secret", code=1)
    assert row["id"] in more.stderr


@pytest.mark.parametrize("secret", [b"", b"short\n", b"two lines\nof a secret\n", b"\xff" * 20, b"x" * 5000])
def test_a_weak_or_broken_secret_is_refused(staffed: Desk, secret: bytes) -> None:
    result = staffed.run("credential", "add", _LOGIN, "--secret-stdin", stdin=secret, code=1)
    assert (result.stdout, "choose another" in result.stderr) == ("", True)


def test_chosen_secrets_go_in_by_json_too(staffed: Desk) -> None:
    result = staffed.run("credential", "add", _LOGIN, "--secret-stdin", "--json", stdin=b"correct horse battery")
    assert "secret" not in json.loads(result.stdout)


def test_a_credential_has_the_restrictions_it_was_given(staffed: Desk) -> None:
    row = staffed.rows(
        "credential", "add", _LOGIN, "--label", "fax", "--mechanism", "plain", "--mechanism", "LOGIN", "--listener",
        "devices", "--network", "192.0.2.0/24", "--network", "2001:db8::7", "--sender", "fax@example.org",
        "--expires", "90d", "--sandbox",
    )  # fmt: skip
    assert (row["label"], row["mechanisms"], row["listeners"]) == ("fax", ["LOGIN", "PLAIN"], ["devices"])
    assert row["networks"] == ["192.0.2.0/24", "2001:db8::7/128"]
    assert (row["senders"], row["sandbox"], row["state"]) == (["fax@example.org"], True, "active")
    left = datetime.fromisoformat(row["expires"]) - datetime.now(UTC)
    assert timedelta(days=89) < left <= timedelta(days=90)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2099-01-31", "2099-01-31T00:00:00+00:00"),
        ("2099-01-31T12:30", "2099-01-31T12:30:00+00:00"),
        ("2099-01-31T12:30+02:00", "2099-01-31T10:30:00+00:00"),
    ],
)
def test_dates_are_utc_unless_they_say_otherwise(staffed: Desk, text: str, moment: str) -> None:
    assert staffed.rows("credential", "add", _LOGIN, "--expires", text)["expires"] == moment


def test_what_would_withdraw_a_mechanism_needs_force_and_is_named(staffed: Desk) -> None:
    refused = staffed.run("credential", "add", _LOGIN, "--mechanism", "PLAIN", code=1)
    assert (refused.stdout, "CRAM-MD5 on submission" in refused.stderr) == ("", True)
    staffed.run("credential", "add", _LOGIN, "--mechanism", "PLAIN", "--listener", "devices")
    forced = staffed.run("credential", "add", _LOGIN, "--mechanism", "PLAIN", "--force")
    assert f"CRAM-MD5 is not offered on submission, for want of a verifier: {_LOGIN}" in forced.stderr
    staffed.run("account", "disable", _LOGIN)
    assert "CRAM-MD5" in staffed.run("account", "enable", _LOGIN).stderr


def test_revoking(staffed: Desk) -> None:
    row = staffed.rows("credential", "add", _LOGIN)
    result = staffed.run("credential", "revoke", row["id"])
    assert (result.stdout, _LOGIN in result.stderr) == (f"{row['id']}\n", True)
    shown = staffed.rows("credential", "show", row["id"])
    assert (shown["state"], shown["revoked"] is not None) == ("revoked", True)
    staffed.run("credential", "revoke", row["id"], code=1)
    staffed.run("credential", "revoke", "nothing", code=1)
    staffed.run("credential", "show", "nothing", code=1)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("credential", "add", "nobody"), "gatepost account add nobody"),
        (("credential", "add", _LOGIN, "--mechanism", "NTLM"), "[auth]"),
        (("credential", "add", _LOGIN, "--listener", "nowhere"), "submission, devices"),
        (("credential", "add", _LOGIN, "--network", "10.0.0.1/8"), "10.0.0.1/8"),
        (("account", "add", "x", "--sender", "nonsense"), "name@domain"),
    ],
)
def test_trouble_names_what_is_wrong_and_what_to_do(staffed: Desk, words: tuple[str, ...], problem: str) -> None:
    result = staffed.run(*words, code=1)
    assert (result.stdout, problem in result.stderr) == ("", True)
    assert "Traceback" not in result.output


def test_a_broken_database_is_told_without_a_traceback(tmp_path: Path) -> None:
    staffed = Desk(tmp_path)
    staffed.state.mkdir()
    (staffed.state / "accounts.db").write_bytes(b"no database at all, " * 300)
    result = staffed.run("account", "list", code=1)
    assert "accounts.db" in result.stderr
    assert "Traceback" not in result.output
