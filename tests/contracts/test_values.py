"""A `value` is frozen for whoever writes code: mypy refuses to change it, though Python would."""

from __future__ import annotations

from pathlib import Path

from mypy import api

CODE = """
from gatepost.model.address import parse_mailbox
from gatepost.model.envelope import Envelope, Recipient

envelope = Envelope(None, (Recipient(parse_mailbox("tim@example.org")),))
envelope.smtputf8 = True
envelope.recipients[0].mailbox = parse_mailbox("eve@example.org")
"""


def test_mypy_refuses_to_change_a_value(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(CODE)
    said, _, _ = api.run(["--strict", "--cache-dir", str(tmp_path / "cache"), str(program)])
    for name in ("smtputf8", "mailbox"):
        assert f'Property "{name}" defined in' in said
        assert "is read-only" in said
    assert "Found 2 errors" in said
