"""The example of docs/mechanisms.md, installed as somebody else's package, in a real server."""

from __future__ import annotations

import base64
import contextlib
import hmac
import os
import re
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from servers import Authority, Gatepost, wait_for

PAGE = Path(__file__).parents[2] / "docs" / "mechanisms.md"
FILE = re.compile(r"^`([^`]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LOGIN, GONE = "tim@example.org", "gone@example.org"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build and install the example; return where its modules are."""
    source, target = tmp_path_factory.mktemp("acme"), tmp_path_factory.mktemp("site")
    for name, text in FILE.findall(PAGE.read_text(encoding="utf-8")):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text(text)
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--no-deps"),
            *("--no-index", "--no-build-isolation", "--root-user-action=ignore", "--target", str(target), str(source)),
        ],
        check=True,
        timeout=300,
    )
    return target


@pytest.fixture(scope="module")
def server(package: Path, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gatepost]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "ticket.key").write_bytes(b"key of all tickets")
    gatepost = Gatepost(
        folder=folder,
        authority=authority,
        routes=f'[[route]]\nname = "sandbox"\ntransport = "sandbox"\npath = "{folder / "sandbox"}"\n',
        auth='mechanisms = ["acme_ticket.mechanism:ACME_TICKET", "PLAIN"]\nfailure_delay = "50ms"\nmax_failures = 5',
        tables="[limits]\nfailed_logins_per_address = 8\nfailed_logins_per_login = 8\n",
        environment={"PYTHONPATH": str(package), "ACME_KEY_FILE": str(folder / "ticket.key")},
    )
    for login in (LOGIN, GONE):
        gatepost.add_account(login, login)
    gatepost.run("account", "disable", GONE)
    with gatepost:
        yield gatepost


@contextlib.contextmanager
def connected(server: Gatepost) -> Iterator[smtplib.SMTP_SSL]:
    context = server.authority.client_context()
    client = smtplib.SMTP_SSL("localhost", server.implicit_port, timeout=60, context=context)
    try:
        client.ehlo("client.example")
        assert client.esmtp_features["auth"].split() == ["ACME-TICKET", "PLAIN"]
        yield client
    finally:
        client.close()


def ticket(
    client: smtplib.SMTP_SSL, login: str, key: bytes = b"key of all tickets", *, at_once: bool = True
) -> tuple[int, bytes]:
    name = base64.b64encode(login.encode()).decode()
    code, said = client.docmd("AUTH", f"ACME-TICKET {name}" if at_once else "ACME-TICKET")
    if not at_once:
        assert (code, said) == (334, b"")
        code, said = client.docmd(name)
    if code != 334:
        return code, said
    proof = hmac.digest(key, base64.b64decode(said) + login.encode(), "sha256")
    return client.docmd(base64.b64encode(proof).decode())


def told(server: Gatepost, event: str) -> list[dict[str, object]]:
    return [line for line in server.lines() if line["event"] == event]


@pytest.mark.parametrize("at_once", [True, False])
def test_a_ticket_lets_in(server: Gatepost, at_once: bool) -> None:
    before = len(told(server, "login succeeded"))
    with connected(server) as client:
        assert ticket(client, "Tim@Example.ORG" if at_once else LOGIN, at_once=at_once)[0] == 235
        refused = client.sendmail(LOGIN, ["bob@example.net"], "From: tim@example.org\n\nhello\n")
        assert refused == {}
    lines = wait_for("the login", lambda: told(server, "login succeeded")[before:])
    assert (lines[0]["login"], lines[0]["mechanism"], lines[0]["credential"]) == (LOGIN, "ACME-TICKET", "vouched")


def test_every_no_is_the_ordinary_one(server: Gatepost) -> None:
    with connected(server) as client:
        for login, key, reason in (
            (LOGIN, b"another key", "wrong ticket"),
            ("nobody@example.org", b"key of all tickets", "unknown login"),
            (GONE, b"key of all tickets", "account disabled"),
        ):
            code, said = ticket(client, login, key)
            assert code == 535
            assert said.startswith(b"5.7.8 Authentication credentials invalid")
            wait_for(reason, lambda reason=reason: reason in [line["reason"] for line in told(server, "login failed")])
        name = base64.b64encode(b"\xff").decode()
        assert client.docmd("AUTH", f"ACME-TICKET {name}")[0] == 501
        assert ticket(client, LOGIN)[0] == 235


def test_who_judges_tickets_and_is_away_is_no_failure(server: Gatepost) -> None:
    key = server.folder / "ticket.key"
    key.rename(server.folder / "elsewhere")
    try:
        for _ in range(10):  # more than may fail
            with connected(server) as client:
                code, said = ticket(client, LOGIN)
                assert (code, said[:5]) == (454, b"4.7.0")
    finally:
        (server.folder / "elsewhere").rename(key)
    with connected(server) as client:
        assert ticket(client, LOGIN)[0] == 235
    assert not told(server, "session failed")


def test_wrong_tickets_are_counted_and_then_nothing_is_judged(server: Gatepost) -> None:
    codes = []
    for _ in range(4):
        with connected(server) as client:
            for _ in range(3):
                codes.append(ticket(client, LOGIN, b"another key")[0])
                if codes[-1] != 535:
                    break
        if codes[-1] != 535:
            break
    assert codes[-1] == 454
    assert codes.count(535) <= 8
    with connected(server) as client:
        assert ticket(client, LOGIN)[0] == 454


def test_without_the_package_nothing_starts_and_the_line_is_named(server: Gatepost) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gatepost", "check", "--config", str(server.config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )
    number = next(
        number for number, line in enumerate(server.config.read_text().splitlines(), 1) if line.startswith("mechanisms")
    )
    assert done.returncode == 1
    assert (
        f'gatepost.toml:{number}: auth.mechanisms: names "acme_ticket.mechanism:ACME_TICKET", but there is no module '
        "acme_ticket; install it beside gatepost, or correct it" in done.stdout + done.stderr
    )


def test_the_test_on_the_page_passes(package: Path) -> None:
    (script,) = re.findall(r"ask for\.\n\n```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    subprocess.run(
        [sys.executable, "-c", script], check=True, timeout=60, env={**os.environ, "PYTHONPATH": str(package)}
    )
