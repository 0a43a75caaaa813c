"""Why a message takes one way and not another, in words."""

from __future__ import annotations

from pathlib import Path

from gatepost.cli.explain_way import ways
from gatepost.config.load import load
from gatepost.model.address import parse_mailbox
from gatepost.model.envelope import Envelope, Recipient
from gatepost.relay.router import Router
from gatepost.route_parts import routes

CONFIG = """
hostname = "mail.example.org"

[[route]]
name = "usual"
transport = "sandbox"
path = "usual"

[[route]]
name = "other"
transport = "sandbox"
path = "other"
match = { recipient_domains = ["example.net"] }
"""


def test_a_route_that_matches_gives_way_to_the_one_that_somebody_chose(tmp_path: Path) -> None:
    config = load(tmp_path / "gatepost.toml", {}, text=CONFIG)
    chosen = Envelope(None, (Recipient(parse_mailbox("a@example.net")),), route="other")
    [row] = ways(config, Router(routes(config).values()), chosen, {})
    assert row["route"] == "other"
    assert row["passed_over"] == [
        {"route": "usual", "why": "it matches, but somebody chose another for this message"},
    ]
