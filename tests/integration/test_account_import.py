"""``gatepost account import``: files of htpasswd and of Dovecot, made by those programs, and taken over."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gatepost.cli.main import gatepost
from gatepost.observe.events import CredentialRenewed
from integration.conftest import LOGIN, MECHANISMS, SECRET, Start
from integration.test_session import until
from integration.test_several_stores import plain
from servers import Authority

_CONFIG = """
hostname = "mail.example.org"
state_dir = "state"

[auth]
mechanisms = {mechanisms}

[[listener]]
name = "submission"
port = 2587
tls = "starttls"

[[route]]
name = "sandbox"
transport = "sandbox"
path = "sandbox"
"""
_BCRYPT = "$2y$04$abcdefghijklmnopqrstuuMQJhvcOe.kF2p0Gz7a5w5xEjvTr/1Sm"
_SSHA = "{SSHA}ajOsMgKvbwSUuoSXl3bnb28GnFRzYWx0"
_SCRAM = "{SCRAM-SHA-256}4096,MDEyMzQ1Njc4OWFiY2RlZg==,2QbTgVMhkBGeCNVWTqN5bTHkmOQSp1LGwAyj6bDCIOo=,2QbTgVMhkBGeCNVWTqN5bTHkmOQSp1LGwAyj6bDCIOo="  # noqa: E501


class Desk:
    """Where the operator sits."""

    def __init__(self, folder: Path, mechanisms: tuple[str, ...] = ("PLAIN", "LOGIN")) -> None:
        self.config = folder / "gatepost.toml"
        self.config.write_text(_CONFIG.format(mechanisms=json.dumps(mechanisms)))
        self.state = folder / "state"
        self.file = folder / "users"

    def run(self, *words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(gatepost, [*words, "--config", str(self.config)])
        assert result.exit_code == code, (result.output, result.exception)
        return result

    def take(self, text: str | bytes, *words: str, code: int = 0, kind: str = "passwd-file") -> Any:
        """Import *text*; return the report."""
        self.file.write_bytes(text if isinstance(text, bytes) else text.encode())
        result = self.run("account", "import", str(self.file), "--format", kind, "--json", *words, code=code)
        return json.loads(result.stdout)

    def rows(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json").stdout)

    def dump(self) -> list[str]:
        with contextlib.closing(sqlite3.connect(self.state / "accounts.db")) as connection:
            return list(connection.iterdump())


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def reasons(report: Any) -> dict[int, str]:
    return {each["line"]: each["reason"] for each in report["lines"] if each["outcome"] == "skipped"}


def test_what_is_taken_is_told_with_what_is_not_and_why(desk: Desk) -> None:
    text = "\n".join(
        [
            "# users",
            f"tim@example.org:{_SSHA}",
            "",
            "ann@example.org:{PLAIN}sesame",
            f"bob@example.org:{_BCRYPT}:1:1::/home::allow_nets=192.0.2.0/24 gatepost_senders=*@example.org",
            "old:aaXJBYuLbs8lg",
            f"Tim@Example.Org:{_BCRYPT}",
            "locked:!{SSHA}x",
            "empty:",
            "no colon",
            f"odd:{_SSHA}::::::gatepost_color=red",
            f"elsewhere:{_SSHA}::::::gatepost_listeners=nowhere",
            f"over:{_SSHA}::::::gatepost_expires=2001-01-01",
            f"gone:{_SSHA}::::::gatepost_revoked=2001-01-01",
            f"\u202e:{_SSHA}",
            "sha:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=",
        ]
    )
    report = desk.take(text, code=1)
    assert (report["taken"], report["unchanged"], report["skipped"], report["weak"]) == (4, 0, 10, 1)
    told = reasons(report)
    for line, reason in {
        4: "in clear",
        6: "eight characters only",
        7: "stands in line 2 already",
        9: "has no password",
        10: "has no colon",
        11: "gatepost_color",
        12: "nowhere: no such listener",
        13: "over already",
        14: "revoked in the file",
        15: "login cannot be used",
    }.items():
        assert reason in told.pop(line)
    assert not told
    assert "sesame" not in json.dumps(report["lines"])
    accounts = {each["login"]: each for each in desk.rows("account", "list")}
    assert set(accounts) == {"tim@example.org", "bob@example.org", "locked", "sha"}
    assert accounts["tim@example.org"]["senders"] == ["tim@example.org"]
    assert accounts["bob@example.org"]["senders"] == ["*@example.org"]
    assert (accounts["locked"]["state"], accounts["locked"]["reason"]) == ("disabled", "locked in the file")
    credentials = {each["login"]: each for each in desk.rows("credential", "list")}
    assert credentials["bob@example.org"]["networks"] == ["192.0.2.0/24"]
    assert credentials["sha"]["verifiers"] == ["HASH"]
    assert credentials["sha"]["origin"] == "chosen"


def test_it_may_be_done_again_and_again(desk: Desk) -> None:
    text = f"tim@example.org:{_SSHA}\nann:{_SCRAM}\nlocked:!\n"
    assert desk.take(text)["taken"] == 3
    before = desk.dump()
    assert [each["outcome"] for each in desk.take(text)["lines"]] == ["unchanged"] * 3
    assert desk.dump() == before
    # What somebody did here stands.
    [tims] = [each for each in desk.rows("credential", "list") if each["login"] == "tim@example.org"]
    desk.run("credential", "revoke", tims["id"])
    desk.run("account", "enable", "locked")
    assert reasons(desk.take(text, code=1)) == {
        1: "was imported before, and revoked",
        3: "is disabled in the file, and not here; see: gatepost account disable locked",
    }
    # A new password there is a new credential, if the old one does not stand.
    assert desk.take(f"tim@example.org:{_BCRYPT}\n")["taken"] == 1
    assert "has a chosen secret already" in reasons(desk.take(f"ann:{_BCRYPT}\n", code=1))[1]


def test_a_dry_run_changes_nothing_and_says_the_same(desk: Desk) -> None:
    text = f"tim@example.org:{_SSHA}\nann:x\n"
    planned = desk.take(text, "--dry-run", code=1)
    assert not desk.state.exists()
    done = desk.take(text, code=1)
    assert (planned.pop("dry_run"), done.pop("dry_run")) == (True, False)
    assert planned == done
    before = desk.dump()
    desk.take(f"bob:{_SSHA}\n", "--dry-run")
    assert desk.dump() == before


def test_an_account_that_is_there_gets_the_credential_and_keeps_the_rest(desk: Desk) -> None:
    desk.run("account", "add", "tim", "--sender", "*@example.net")
    desk.run("credential", "add", "tim")
    report = desk.take(f"tim:{_SCRAM}::::::gatepost_senders=*\n")
    assert report["taken"] == 1
    [account] = desk.rows("account", "list")
    assert (account["senders"], account["credentials"]) == (["*@example.net"], 2)
    # Its salt is that of a record that stands, so the other is kept as a hash.
    assert sorted(map(tuple, (each["verifiers"] for each in desk.rows("credential", "list")))) == [
        ("HASH",),
        ("SCRAM-SHA-256",),
    ]
    desk.run("account", "add", "ann")
    desk.take(f"ann:{_SCRAM}\n")
    assert [each["verifiers"] for each in desk.rows("credential", "list", "ann")] == [["SCRAM-SHA-256"]]


@pytest.mark.parametrize("field", ["nologin", "gatepost_disabled=left"])
def test_who_is_disabled_in_the_file_gets_no_credential_for_an_account_that_may_log_in(desk: Desk, field: str) -> None:
    desk.run("account", "add", "tim")
    report = desk.take(f"tim:{_SSHA}::::::{field}\n", code=1)
    assert "account disable tim" in reasons(report)[1]
    assert desk.rows("credential", "list") == []
    # It may be taken once the account is disabled here, too.
    desk.run("account", "disable", "tim")
    assert desk.take(f"tim:{_SSHA}::::::{field}\n")["taken"] == 1


def test_a_mechanism_that_would_be_withdrawn_is_named_first(tmp_path: Path) -> None:
    desk = Desk(tmp_path, ("SCRAM-SHA-256", "PLAIN", "LOGIN"))
    desk.take(f"ann:{_SCRAM}\n")
    before = desk.dump()
    desk.file.write_text(f"tim:{_SSHA}\n")
    words = ("account", "import", str(desk.file), "--format", "htpasswd")
    for more in ["--dry-run"], []:
        result = desk.run(*words, *more, code=1)
        assert "SCRAM-SHA-256 on submission (tim in line 1)" in result.output
        assert desk.dump() == before
    assert "SCRAM" not in desk.run(*words, "--dry-run", "--force").output
    result = desk.run(*words, "--force")
    assert "1 taken, 0 there already, 0 skipped" in result.stderr
    assert "SCRAM-SHA-256 is not offered on submission" in result.stderr
    # Nothing more is withdrawn by what is there.
    desk.run(*words)


def test_a_record_that_cannot_stand_beside_those_of_its_account_is_named_first(tmp_path: Path) -> None:
    desk = Desk(tmp_path, ("SCRAM-SHA-256", "PLAIN", "LOGIN"))
    desk.file.write_text(f"tim:{_SSHA}\nann:{_SCRAM}\n")
    words = ("account", "import", str(desk.file), "--format", "passwd-file")
    # Nobody is there yet, and no database either.
    assert "(tim in line 1)" in desk.run(*words, "--dry-run", code=1).output
    assert not desk.state.exists()
    desk.run("account", "add", "ann")
    desk.run("credential", "add", "ann")
    desk.file.write_text(f"ann:{_SCRAM}\n")
    assert "SCRAM-SHA-256 on submission (ann in line 1)" in desk.run(*words, code=1).output
    assert len(desk.rows("credential", "list")) == 1


def test_logins_of_htpasswd_may_be_given_a_domain_to_write_from(desk: Desk) -> None:
    desk.take(f"tim:{_SSHA}\nann@example.net:{_SSHA}\n", "--domain", "example.org", kind="htpasswd")
    senders = {each["login"]: each["senders"] for each in desk.rows("account", "list")}
    assert senders == {"tim": ["tim@example.org"], "ann@example.net": ["ann@example.net"]}
    report = desk.take(f"bob:{_SSHA}:1:2\n", code=1, kind="htpasswd")
    assert "no line of htpasswd" in reasons(report)[1]
    desk.run("account", "import", str(desk.file), "--format", "htpasswd", "--domain", "a b", code=2)


def test_what_is_no_text_is_skipped_and_a_file_that_is_not_there_is_told(desk: Desk) -> None:
    report = desk.take(
        b"tim:\xff\r\n\r\nann:" + _SSHA.encode() + b"\r\n" + b"\0:x\n" + b"x" * 100_000 + b":y\n", code=1
    )
    assert [each["outcome"] for each in report["lines"]] == ["skipped", "taken", "skipped", "skipped"]
    desk.file.unlink()
    assert "No such file" in desk.run("account", "import", str(desk.file), "--format", "htpasswd", code=1).output


def test_long_files_are_taken_in_parts(desk: Desk) -> None:
    report = desk.take("".join(f"user{number}:{_SSHA}\n" for number in range(450)))
    assert report["taken"] == 450
    assert len(desk.rows("account", "list")) == 450


def made_by_htpasswd(login: str, option: str) -> str:
    if shutil.which("htpasswd") is None:
        pytest.skip("needs htpasswd (apt-get install apache2-utils)")
    words = ["htpasswd", "-nb", option, *(["-C", "5"] if option == "-B" else []), login, SECRET]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def made_by_doveadm(scheme: str) -> str:
    if shutil.which("doveadm") is None:
        pytest.skip("needs doveadm (apt-get install dovecot-core)")
    words = ["doveadm", "pw", "-s", scheme, "-p", SECRET]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


async def import_and_log_in(start: Start, folder: Path, authority: Authority, kind: str, lines: dict[str, str]) -> None:
    """Import *lines*; log in with each, twice; see that ours is there then, and what it makes possible."""
    async with start() as server:
        assert "SCRAM-SHA-256" in [each.name for each in server.worker.authority.offered("submissions")]
        config, file = folder / "import.toml", folder / "import"
        config.write_text(_CONFIG.format(mechanisms=json.dumps(MECHANISMS)))
        file.write_text("".join(f"{line}\n" for line in lines.values()))
        words = ["account", "import", str(file), "--format", kind, "--force", "--config", str(config)]
        result = CliRunner().invoke(gatepost, words)
        assert result.exit_code == 0, result.output
        await until(lambda: len(server.worker.authority.offered("submissions")) == 2, 60)
        for login in lines:
            assert (await plain(server, login, "wrong")).startswith("535 5.7.8"), login
            assert (await plain(server, login, SECRET)).startswith("235"), login
        renewed = {login for login, line in lines.items() if "SCRAM-SHA-256}" not in line}
        await until(
            lambda: len([each for each in server.events if isinstance(each, CredentialRenewed)]) == len(renewed), 60
        )
        assert {each.login for each in server.events if isinstance(each, CredentialRenewed)} == renewed
        for login in (*lines, LOGIN):
            assert (await plain(server, login, SECRET)).startswith("235"), login
            assert (await plain(server, login, "wrong")).startswith("535 5.7.8"), login
        assert not server.troubles
        text = "".join(map(repr, server.events))
        assert SECRET not in text
        assert "$2y$" not in text


async def test_what_htpasswd_made_opens_as_before_and_becomes_ours(
    start: Start, tmp_path: Path, authority: Authority
) -> None:
    lines = {
        f"user{option}".lower(): made_by_htpasswd(f"user{option}", option) for option in ("-B", "-m", "-s", "-2", "-5")
    }
    await import_and_log_in(start, tmp_path, authority, "htpasswd", lines)


async def test_what_doveadm_made_opens_as_before_and_becomes_ours(
    start: Start, tmp_path: Path, authority: Authority
) -> None:
    schemes = ("SHA512-CRYPT", "SSHA", "SSHA256", "SSHA512", "PBKDF2", "ARGON2ID", "ARGON2I", "SMD5", "LDAP-MD5")
    schemes += ("CRAM-MD5", "SCRAM-SHA-1", "MD5-CRYPT")
    lines = {f"{each.lower()}@example.org": f"{each.lower()}@example.org:{made_by_doveadm(each)}" for each in schemes}
    await import_and_log_in(start, tmp_path, authority, "passwd-file", lines)


def test_a_hash_of_des_is_not_taken(desk: Desk) -> None:
    report = desk.take(made_by_htpasswd("tim", "-d") + "\n", code=1, kind="htpasswd")
    assert "eight characters" in reasons(report)[1]
