"""An operator at the command line of a server of two workers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gatepost.cli.main import gatepost
from servers import Authority, Gatepost, free_ports, wait_for

__all__ = ["SECRET", "listed", "make", "run", "run_json", "send", "send_to_both", "wait_until_idle"]

SECRET = "one long secret, chosen by nobody"


def make(folder: Path, authority: Authority) -> Gatepost:
    """Return a server with a way that leads nowhere and one into a folder."""
    (nobody,) = free_ports(1)
    return Gatepost(
        folder,
        authority,
        f'[[route]]\nname = "box"\ntransport = "sandbox"\npath = "{folder / "box"}"\n'
        'match = { recipient_domains = ["box.example"] }\n'
        f'[[route]]\nname = "away"\ntransport = "smarthost"\nhost = "127.0.0.1"\nport = {nobody}\ntls = "none"\n',
        top="workers = 2",
    )


def run(server: Gatepost, *words: str, secret: str = "") -> tuple[int, str, str]:
    result = CliRunner().invoke(gatepost, [*words, "--config", str(server.config)], input=secret)
    return result.exit_code, result.stdout, result.stderr


def run_json(server: Gatepost, *words: str) -> Any:
    return json.loads(run(server, *words, "--json")[1])


def listed(server: Gatepost, *words: str) -> list[str]:
    return [row["id"] for row in run_json(server, "queue", "list", *words)]


def send(server: Gatepost, to: str = "ann@example.net") -> str:
    """Send a message; return its name."""
    code, text, trouble = run(
        server,
        *("send", "--login", "tim", "--from", "tim@example.org", "--to", to, "--secret-stdin", "--json"),
        *("--mechanism", "PLAIN"),
        secret=f"{SECRET}\n",
    )
    assert code == 0, (text, trouble)
    reply: str = json.loads(text)[-1]["reply"]
    return reply.rsplit(maxsplit=1)[-1]


def send_to_both(server: Gatepost) -> list[str]:
    """Send messages until each worker has one, and let their first attempts pass; return their names."""
    names = []
    for _ in range(60):
        names.append(send(server))
        if len(names) > 1 and all(row["queued"] for row in run_json(server, "status")["workers"]):
            break
    else:
        pytest.fail("one worker took all mail")
    wait_until_idle(server)
    return names


def wait_until_idle(server: Gatepost) -> None:
    """Wait until no attempt is under way: what is being delivered cannot be dropped."""
    wait_for("no attempts", lambda: not any(row["in_flight"] for row in run_json(server, "status")["workers"]))
