"""Who failed to log in too often, seen and forgiven from the command line, while the server runs."""

from __future__ import annotations

import json
import smtplib
from pathlib import Path

import pytest

from servers import Authority, Gatepost

LOGIN = "tim@example.org"


def code_of(server: Gatepost, secret: str) -> int:
    client = smtplib.SMTP("localhost", server.starttls_port, timeout=60)
    try:
        client.starttls(context=server.authority.client_context())
        return client.login(LOGIN, secret)[0]
    except smtplib.SMTPAuthenticationError as error:
        return error.smtp_code
    finally:
        client.close()


def test_failures_are_listed_and_forgiven(tmp_path: Path, authority: Authority) -> None:
    server = Gatepost(
        tmp_path / "server",
        authority,
        routes=f'[[route]]\nname = "sandbox"\ntransport = "sandbox"\npath = "{tmp_path / "sandbox"}"\n',
        tables="[limits]\nfailed_logins_per_address = 4\n",
        auth='failure_delay = "0s"\nmechanisms = ["PLAIN"]\n',
        top="workers = 2",
    )
    secret = server.add_account(LOGIN)
    with pytest.raises(RuntimeError, match="there is none"):
        server.run("account", "failures")
    with server:
        for _ in range(4):
            assert code_of(server, "wrong") == 535
        assert code_of(server, secret) == 454
        [locked] = json.loads(server.run("account", "failures", "--locked", "--json"))
        assert (locked["kind"], locked["value"], locked["failures"], locked["limit"]) == ("address", "127.0.0.1", 4, 4)
        assert len(json.loads(server.run("account", "failures", "--json"))) > 1
        assert "127.0.0.1" in server.run("account", "failures")
        with pytest.raises(RuntimeError, match="ended with 1"):
            server.run("account", "unlock", "nobody@example.org")
        with pytest.raises(RuntimeError, match="ended with 2"):
            server.run("account", "unlock")
        with pytest.raises(RuntimeError, match="is no IP address"):
            server.run("account", "unlock", "--address", "localhost")
        server.run("account", "unlock", "--address", "127.0.0.1")
        assert code_of(server, secret) == 235
        server.run("account", "unlock", LOGIN)
        assert json.loads(server.run("account", "failures", "--json")) == []
