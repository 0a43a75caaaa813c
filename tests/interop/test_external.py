"""Real mail clients log in with a client certificate, over both kinds of TLS, in each form that they have."""

from __future__ import annotations

import signal
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from client_certificates import ClientAuthority, Issued, self_signed
from interop.clients import Refused
from interop.external_clients import EXTERNAL_CLIENTS, Certified
from servers import Authority, Gatepost, free_ports, wait_for

LOGIN = "tim@sender.example"
OTHER = "bob@sender.example"
# Those that always name somebody.
MUST_NAME = ("msmtp",)


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> ClientAuthority:
    return ClientAuthority(tmp_path_factory.mktemp("clients"))


@pytest.fixture(scope="module")
def laptop(clients: ClientAuthority) -> Issued:
    return clients.issue("laptop")


@pytest.fixture(scope="module")
def server(
    authority: Authority, clients: ClientAuthority, laptop: Issued, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gatepost]:
    """Return a running gatepost with listeners that ask for certificates."""
    folder = tmp_path_factory.mktemp("gatepost")
    crl = clients.revoke()
    gatepost = Gatepost(
        folder=folder,
        authority=authority,
        top="workers = 2",
        auth='mechanisms = ["EXTERNAL", "SCRAM-SHA-256", "PLAIN", "LOGIN"]\nfailure_delay = "100ms"',
        routes=f'[[route]]\nname = "sandbox"\ntransport = "sandbox"\npath = "{folder / "sandbox"}"\n',
        tables="".join(
            f"""\
[[listener]]
name = "devices-{tls}"
address = "127.0.0.1"
port = {port}
tls = "{tls}"
client_ca = "{clients.path}"
client_crl = "{crl}"

"""
            for tls, port in zip(("starttls", "implicit"), free_ports(2), strict=True)
        )
        + "[limits]\nfailed_logins_per_address = 0\nfailed_logins_per_network = 0\nfailed_logins_per_login = 0\n",
    )
    for login in (LOGIN, OTHER):
        gatepost.add_account(login, login)
    gatepost.run("credential", "add", LOGIN, "--certificate", str(laptop.certificate_path))
    with gatepost:
        yield gatepost


def submission(server: Gatepost, issued: Issued, folder: Path, tls: str, login: str, name: str) -> Certified:
    return Certified(
        port=server.port(f"devices-{tls}"),
        tls=tls,
        mechanism="EXTERNAL",
        login=login,
        secret="",
        sender=LOGIN,
        recipient=f"{name}@example.net",
        message=f"From: <{LOGIN}>\r\nTo: <{name}@example.net>\r\nSubject: hello\r\n\r\nhello\r\n".encode(),
        ca=server.authority.ca,
        folder=folder,
        certificate=issued.certificate_path,
        key=issued.key_path,
    )


def events(server: Gatepost, event: str, **facts: Any) -> list[dict[str, Any]]:
    return [line for line in server.lines() if line["event"] == event and facts.items() <= line.items()]


ROWS = [
    pytest.param(client, tls, named, id=f"{client}-{tls}-{'named' if named else 'unnamed'}")
    for client in EXTERNAL_CLIENTS
    for tls in ("starttls", "implicit")
    for named in (True, False)
    if named or client not in MUST_NAME
]


@pytest.mark.rfc("4422 §A.1")
@pytest.mark.parametrize(("client", "tls", "named"), ROWS)
def test_a_client_submits_by_its_certificate(
    client: str, tls: str, named: bool, server: Gatepost, laptop: Issued, tmp_path: Path
) -> None:
    name = f"{client}-{tls}-{named}".lower()
    EXTERNAL_CLIENTS[client](submission(server, laptop, tmp_path, tls, LOGIN if named else "", name))

    def mail() -> list[dict[str, Any]]:
        return [each for each in events(server, "message accepted") if f"{name}@example.net" in each["recipients"]]

    (accepted,) = wait_for("the message", mail)
    (login,) = wait_for("the login", lambda: events(server, "login succeeded", session=accepted["session"]))
    assert (login["login"], login["mechanism"], login["label"]) == (LOGIN, "EXTERNAL", "laptop")
    assert login["credential"] == laptop.fingerprint[:12]


@pytest.mark.parametrize(
    ("client", "tls"), [(client, tls) for client in EXTERNAL_CLIENTS for tls in ("starttls", "implicit")]
)
def test_who_asks_for_another_login_ends_in_the_clients_own_failure(
    client: str, tls: str, server: Gatepost, laptop: Issued, tmp_path: Path
) -> None:
    before = len(events(server, "login failed", reason="may not act as another login"))
    with pytest.raises(Refused):
        EXTERNAL_CLIENTS[client](submission(server, laptop, tmp_path, tls, OTHER, "nobody"))
    wait_for(
        "the failed login", lambda: len(events(server, "login failed", reason="may not act as another login")) > before
    )


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_a_certificate_of_somebody_elses_ends_the_handshake(tls: str, server: Gatepost, tmp_path: Path) -> None:
    stranger = self_signed(tmp_path, "laptop")
    before = len(events(server, "tls handshake failed"))
    with pytest.raises(RuntimeError, match="curl ended with"):
        EXTERNAL_CLIENTS["curl"](submission(server, stranger, tmp_path, tls, LOGIN, "nobody"))
    wait_for("the handshake to fail", lambda: len(events(server, "tls handshake failed")) > before)


def test_a_reload_revokes_in_all_processes(
    server: Gatepost, clients: ClientAuthority, laptop: Issued, tmp_path: Path
) -> None:
    lost = clients.issue("lost")
    identifier = server.run("credential", "add", LOGIN, "--certificate", str(lost.certificate_path)).strip()
    assert identifier == lost.fingerprint[:12]
    (tmp_path / "before").mkdir()
    EXTERNAL_CLIENTS["curl"](submission(server, lost, tmp_path / "before", "implicit", LOGIN, "lost"))

    clients.revoke(lost)
    assert server.process is not None
    server.process.send_signal(signal.SIGHUP)
    wait_for("both workers to reload", lambda: len(events(server, "config reloaded")) == 2)

    it = submission(server, lost, tmp_path, "implicit", LOGIN, "nobody")
    for number in range(6):  # both workers
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(RuntimeError, match="curl ended with"):
            EXTERNAL_CLIENTS["curl"](submission(server, lost, folder, "implicit", LOGIN, "nobody"))
        (tmp_path / f"good-{number}").mkdir()
        EXTERNAL_CLIENTS["curl"](submission(server, laptop, tmp_path / f"good-{number}", "implicit", LOGIN, "good"))
    assert isinstance(it.context, ssl.SSLContext)
    assert "lost" in server.run("credential", "list", LOGIN)
