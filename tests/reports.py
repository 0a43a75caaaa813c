"""Read notifications: with Python's email package, and with parsers of Perl's that have nothing to do with it."""

from __future__ import annotations

import email
import email.policy
import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

__all__ = ["Notification", "needs_perl", "read", "read_with_perl"]

_SCRIPT = Path(__file__).with_name("read_reports.pl")
_MODULES = ("Mail::DeliveryStatus::BounceParser", "MIME::Parser")


@dataclass(frozen=True)
class Notification:
    """What a notification says; names of fields in lower case.

    Attributes:
        to: whom it is for, as its header says.
        subject: of the notification.
        types: content types of its three parts.
        words: what people read, lines joined by spaces.
        about: the fields about the message.
        recipients: the fields about each recipient, in their order.
        returned: what came back of the message.
    """

    to: str
    subject: str
    types: tuple[str, str, str]
    words: str
    about: dict[str, str]
    recipients: list[dict[str, str]]
    returned: bytes

    @property
    def actions(self) -> dict[str, str]:
        """Return what became of whom."""
        return {each["final-recipient"].partition("; ")[2]: each["action"] for each in self.recipients}


def read(content: bytes) -> Notification:
    """Read one, and see that it is made as RFC 3464 has it."""
    message = email.message_from_bytes(content, policy=email.policy.SMTPUTF8)
    assert not [part.defects for part in message.walk() if part.defects]
    assert message.get_content_type() == "multipart/report"
    assert message["Content-Type"].params["report-type"] == "delivery-status"
    assert message["Auto-Submitted"] == "auto-replied"
    text, status, returned = message.get_payload()
    # Python parses the global form as octets, and the other as messages.
    octets = content.split(b"\r\n" + f"Content-Type: {status.get_content_type()}\r\n".encode(), 1)[1]
    octets = octets.split(b"\r\n\r\n", 1)[1].split(b"\r\n\r\n--" + message.get_boundary().encode(), 1)[0]
    groups = [_fields(group) for group in octets.decode().split("\r\n\r\n")]
    if status.get_content_type() == "message/delivery-status":
        assert groups == [{name.lower(): value for name, value in each.items()} for each in status.get_payload()]
    about, *recipients = groups
    return Notification(
        str(message["To"]),
        str(message["Subject"]),
        (text.get_content_type(), status.get_content_type(), returned.get_content_type()),
        " ".join(text.get_content().split()),
        about,
        recipients,
        returned.as_bytes().partition(b"\r\n\r\n")[2],
    )


def _fields(group: str) -> dict[str, str]:
    unfolded = group.replace("\r\n ", " ").split("\r\n")
    fields = [line.split(": ", 1) for line in unfolded if line]
    assert len({name.lower() for name, _ in fields}) == len(fields)
    return {name.lower(): value for name, value in fields}


def _has_perl() -> bool:
    perl = shutil.which("perl")
    uses = [f"-M{each}" for each in _MODULES]
    return perl is not None and subprocess.run([perl, *uses, "-e1"], check=False, capture_output=True).returncode == 0


needs_perl = pytest.mark.skipif(
    not _has_perl(), reason="needs the Debian package libmail-deliverystatus-bounceparser-perl"
)


def read_with_perl(folder: Path, contents: Sequence[bytes]) -> list[dict[str, Any]]:
    """Read all of them with Perl's parsers; files are made in *folder*."""
    paths = []
    for number, content in enumerate(contents):
        paths.append(folder / f"report-{number}.eml")
        paths[-1].write_bytes(content.replace(b"\r\n", b"\n"))
    done = subprocess.run(["perl", _SCRIPT, *paths], check=True, capture_output=True, timeout=60)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found
