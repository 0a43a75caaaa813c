"""Credentials that are client certificates, as operators and scripts see them."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path

import pytest

from client_certificates import ClientAuthority
from gatepost.identity.stores.postgres import PostgresStore
from gatepost.identity.stores.sqlite import SqliteStore
from integration.test_accounts_cli import _LOGIN, Desk


@pytest.fixture
def clients(tmp_path: Path) -> ClientAuthority:
    return ClientAuthority(tmp_path / "clients")


@pytest.fixture(params=["sqlite", "postgres"])
def desk(request: pytest.FixtureRequest, tmp_path: Path, clients: ClientAuthority) -> Desk:
    made = Desk(tmp_path, request.getfixturevalue("accounts_server") if request.param == "postgres" else None)
    made.config.write_text(
        made.config.read_text()
        .replace('["SCRAM-SHA-256"', '["EXTERNAL", "SCRAM-SHA-256"')
        .replace('mechanisms = ["PLAIN", "LOGIN"]', f'mechanisms = ["EXTERNAL", "PLAIN"]\nclient_ca = "{clients.path}"')
    )
    made.run("account", "add", _LOGIN)
    return made


def holder(desk: Desk, fingerprint: str) -> str | None:
    store = SqliteStore(desk.state / "accounts.db") if desk.server is None else PostgresStore(desk.server)

    async def ask() -> str | None:
        try:
            return await store.holder(fingerprint)
        finally:
            store.close()

    return asyncio.run(ask())


def test_a_certificate_is_added_shown_and_revoked(desk: Desk, clients: ClientAuthority) -> None:
    laptop = clients.issue("laptop", days=30)
    result = desk.run(
        "credential", "add", _LOGIN, "--certificate", str(laptop.certificate_path), "--network", "192.0.2.0/24"
    )
    assert result.stdout == f"{laptop.fingerprint[:12]}\n"
    assert "is the certificate; it ends" in result.stderr
    (row,) = desk.rows("credential", "list", _LOGIN)
    assert (row["id"], row["label"], row["origin"]) == (laptop.fingerprint[:12], "laptop", "certificate")
    assert (row["mechanisms"], row["verifiers"], row["networks"]) == (["EXTERNAL"], ["CERTIFICATE"], ["192.0.2.0/24"])
    end = laptop.certificate.not_valid_after_utc
    assert abs((datetime.fromisoformat(row["expires"]) - end).total_seconds()) < 1
    assert holder(desk, laptop.fingerprint) == _LOGIN
    assert holder(desk, laptop.fingerprint[:-1] + "x") is None
    assert holder(desk, "00" * 32) is None
    desk.run("credential", "revoke", row["id"])
    assert holder(desk, laptop.fingerprint) == _LOGIN, "what was revoked is known as that"


def test_it_stands_in_the_way_of_no_mechanism(desk: Desk, clients: ClientAuthority) -> None:
    desk.run("credential", "add", _LOGIN)
    result = desk.run(
        "credential", "add", _LOGIN, "--certificate", str(clients.issue("laptop").certificate_path), "--force"
    )
    assert "is not offered" not in result.stderr
    said = desk.run("check", code=1).output  # there is no certificate of the server
    assert "client_ca" not in said
    assert "is not offered" not in said


def test_it_ends_when_told_if_that_is_before_its_own_end(desk: Desk, clients: ClientAuthority) -> None:
    for name, asked, days in (("soon", "10d", 10), ("late", "90d", 30)):
        path = str(clients.issue(name, days=30).certificate_path)
        row = desk.rows("credential", "add", _LOGIN, "--certificate", path, "--expires", asked, "--label", "fax")
        left = datetime.fromisoformat(row["expires"]) - datetime.fromisoformat(row["created"])
        assert abs(left.total_seconds() / 86400 - days) < 0.1
        assert row["label"] == "fax"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--mechanism", "PLAIN"), "a certificate is for EXTERNAL alone"),
        (("--listener", "nowhere"), "no such listener"),
        (("--secret-stdin",), "takes the place of a secret"),
        (("--short",), "takes the place of a secret"),
    ],
)
def test_what_makes_no_sense_is_refused(
    desk: Desk, clients: ClientAuthority, words: tuple[str, ...], problem: str
) -> None:
    path = str(clients.issue("laptop").certificate_path)
    code = 2 if "place of a secret" in problem else 1
    assert problem in desk.run("credential", "add", _LOGIN, "--certificate", path, *words, code=code).stderr
    assert desk.rows("credential", "list", _LOGIN) == []


def test_a_file_without_a_good_certificate_is_refused(desk: Desk, clients: ClientAuthority, tmp_path: Path) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    over = clients.issue("over", begins=-20, days=-1)
    for path, problem in (
        (junk, "holds no certificate in PEM form"),
        (over.key_path, "holds no certificate in PEM form"),
        (over.certificate_path, "the certificate has expired"),
    ):
        assert problem in desk.run("credential", "add", _LOGIN, "--certificate", str(path), code=1).stderr


def test_a_certificate_is_one_account_s_for_good(desk: Desk, clients: ClientAuthority) -> None:
    laptop = str(clients.issue("laptop").certificate_path)
    desk.run("account", "add", "bob@example.org")
    identifier = desk.run("credential", "add", _LOGIN, "--certificate", laptop).stdout.strip()
    for login in (_LOGIN, "bob@example.org"):
        said = desk.run("credential", "add", login, "--certificate", laptop, code=1).stderr
        assert f"{identifier}: is this certificate, of {_LOGIN}, for good" in said
    assert "no such account" in desk.run("credential", "add", "x@example.org", "--certificate", laptop, code=1).stderr


def test_it_is_not_rotated_nor_made_for_other_mechanisms_but_restricted(desk: Desk, clients: ClientAuthority) -> None:
    laptop = str(clients.issue("laptop").certificate_path)
    identifier = desk.run("credential", "add", _LOGIN, "--certificate", laptop).stdout.strip()
    assert "is a certificate; add the next one" in desk.run("credential", "rotate", identifier, code=1).stderr
    for words in (("--mechanism", "EXTERNAL"), ("--mechanism", "PLAIN"), ("--lift", "mechanisms")):
        assert "EXTERNAL alone" in desk.run("credential", "restrict", identifier, *words, code=1).stderr
    row = desk.rows("credential", "restrict", identifier, "--listener", "submission")
    assert (row["listeners"], row["mechanisms"]) == (["submission"], ["EXTERNAL"])


def test_a_secret_is_not_for_external(desk: Desk) -> None:
    said = desk.run("credential", "add", _LOGIN, "--mechanism", "external", code=1).stderr
    assert "EXTERNAL: takes no secret; add a credential with --certificate" in said
    identifier = desk.rows("credential", "add", _LOGIN)["id"]
    said = desk.run("credential", "restrict", identifier, "--mechanism", "EXTERNAL", code=1).stderr
    assert "EXTERNAL: takes no secret" in said


def test_external_must_be_on(desk: Desk, clients: ClientAuthority) -> None:
    desk.config.write_text(desk.config.read_text().replace('"EXTERNAL", ', "").replace("client_ca", "#"))
    laptop = str(clients.issue("laptop").certificate_path)
    said = desk.run("credential", "add", _LOGIN, "--certificate", laptop, code=1).stderr
    assert "EXTERNAL: is not switched on; add it to mechanisms in [auth] first" in said


def test_an_account_has_room_for_so_many_only(desk: Desk, clients: ClientAuthority) -> None:
    for number in range(50):
        desk.run("credential", "add", _LOGIN, "--certificate", str(clients.issue(f"c{number}").certificate_path))
    last = str(clients.issue("last").certificate_path)
    assert "has 50 credentials" in desk.run("credential", "add", _LOGIN, "--certificate", last, code=1).stderr
