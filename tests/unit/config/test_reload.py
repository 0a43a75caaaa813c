"""What of a new configuration takes effect in a running server."""

from __future__ import annotations

from pathlib import Path

from gatepost.config.load import load
from gatepost.config.reload import keep_standing, needs_restart
from gatepost.config.schema import Config

TEXT = """\
hostname = "mail.example.org"
state_dir = "state"
workers = 2

[[listener]]
name = "submission"
port = 587
tls = "starttls"

[limits]
recipients = 10

[observe]
log_level = "info"
"""


def config(text: str) -> Config:
    return load(Path("/etc/gatepost.toml"), {}, text=text)


def test_what_can_change_changes() -> None:
    old, new = config(TEXT), config(TEXT.replace("recipients = 10", "recipients = 20"))
    assert keep_standing(old, new) == new
    assert needs_restart(old, new) == []


def test_what_cannot_change_stays_and_is_named_with_its_line() -> None:
    text = (
        TEXT.replace('"state"', '"other"')
        .replace("workers = 2", "workers = 4")
        .replace("port = 587", "port = 2587\nmechanisms = ['PLAIN']")
        .replace('"info"', '"debug"')
        .replace("recipients = 10", "recipients = 20")
    )
    old, new = config(TEXT), config(text)
    kept = keep_standing(old, new)
    assert (kept.state_dir, kept.workers, kept.listener[0].port) == (Path("/etc/state"), 2, 587)
    assert kept.listener[0].mechanisms == ("PLAIN",)
    assert kept.limits.recipients == 20
    assert kept.observe.log_level == "info"
    assert kept.secret_key_file == old.secret_key_file
    assert needs_restart(old, new) == [
        "/etc/gatepost.toml:2: state_dir: changed, and takes effect at the next restart only",
        "/etc/gatepost.toml:1: secret_key_file: changed, and takes effect at the next restart only",
        "/etc/gatepost.toml:3: workers: changed, and takes effect at the next restart only",
        "/etc/gatepost.toml:15: observe.log_level: changed, and takes effect at the next restart only",
        "/etc/gatepost.toml:5: listener: changed, and takes effect at the next restart only",
    ]


def test_a_listener_that_is_no_longer_written_goes_on() -> None:
    old, new = config(TEXT), config(TEXT.replace('"submission"', '"other"'))
    assert keep_standing(old, new).listener == old.listener
    assert len(needs_restart(old, new)) == 1


ASKING = TEXT.replace("port = 587", "port = 587\nclient_ca = 'clients.pem'")


def test_whose_certificates_are_taken_changes_where_certificates_are_asked_for() -> None:
    changed = ASKING.replace("clients.pem'", "others.pem'\nclient_crl = 'revoked.pem'\nclient_identity = 'email'")
    old, new = config(ASKING), config(changed)
    assert keep_standing(old, new) == new
    assert needs_restart(old, new) == []


def test_whether_certificates_are_asked_for_waits_for_a_restart() -> None:
    for before, after in ((TEXT, ASKING), (ASKING, TEXT)):
        old, new = config(before), config(after)
        assert keep_standing(old, new).listener[0].client_ca == old.listener[0].client_ca
        assert needs_restart(old, new) == [
            "/etc/gatepost.toml:5: listener: changed, and takes effect at the next restart only"
        ]
