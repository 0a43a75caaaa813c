"""Signatures of ours before opendkim and Mail::DKIM, whatever the message."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from signatures import MESSAGES, make_signer, opendkim, perl

PATH = f"{os.environ['PATH']}:/usr/sbin"


@pytest.fixture(scope="module")
def signed() -> dict[str, bytes]:
    signer = make_signer()
    return {name: signer.sign_whole(section + body)[0] for name, (section, body) in MESSAGES.items()}


def broken(message: bytes) -> bytes:
    return message.replace(b"Subject: hello", b"Subject: hallo", 1)


@pytest.mark.skipif(shutil.which("opendkim", path=PATH) is None, reason="opendkim is missing: apt-get install opendkim")
def test_opendkim_verifies_both_signatures_and_not_those_that_were_broken(
    tmp_path: Path, signed: dict[str, bytes]
) -> None:
    found = opendkim(tmp_path, {**signed, "broken": broken(signed["plain"])})
    verdicts = {name: dict(each.split() for each in rows) for name, rows in found.items()}
    assert verdicts.pop("broken") == {"rsa-sha256": "fail", "ed25519-sha256": "fail"}
    assert verdicts == {name: {"rsa-sha256": "pass", "ed25519-sha256": "pass"} for name in MESSAGES}


def has_mail_dkim() -> bool:
    words = ["perl", "-MMail::DKIM::Verifier", "-e", "1"]
    return shutil.which("perl") is not None and subprocess.run(words, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not has_mail_dkim(), reason="Mail::DKIM is missing: apt-get install libmail-dkim-perl")
def test_mail_dkim_verifies_what_it_knows_and_not_what_was_broken(tmp_path: Path, signed: dict[str, bytes]) -> None:
    found = perl(tmp_path, {**signed, "broken": broken(signed["plain"])})
    verdicts = {name: dict(each.split(" ", 1) for each in rows) for name, rows in found.items()}
    assert verdicts.pop("broken")["rsa-sha256"].startswith("fail")
    for name, of_each in verdicts.items():
        assert of_each["rsa-sha256"] == "pass", name
        # Debian 12 has it without Ed25519; then it passes over that signature, as RFC 6376 §6.1 wants.
        assert of_each["ed25519-sha256"] in ("pass", "invalid (unsupported algorithm ed25519-sha256)"), name
    assert verdicts.keys() == MESSAGES.keys()
