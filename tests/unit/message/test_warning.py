"""The mail that warns an owner: what it says, and that strangers' texts cannot say anything else."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.message.warning import ExpiryWarning, compose_warning
from gatepost.model.address import parse_mailbox

_NOW = 1_800_000_000.0


def _warning(**facts: Any) -> ExpiryWarning:
    values: dict[str, Any] = {
        "hostname": "mail.example.org",
        "to": parse_mailbox("owner@example.org"),
        "now": _NOW,
        "unique": "c1.18f.1",
        "login": "tim@example.org",
        "credential": "c1",
        "label": "printer",
        "expires": _NOW + 5 * 86_400,
        "is_replaced": False,
        **facts,
    }
    return ExpiryWarning(**values)


def _parsed(content: bytes) -> EmailMessage:
    assert b"\n" not in content.replace(b"\r\n", b"")
    assert content.endswith(b"\r\n")
    message = email.message_from_bytes(content, policy=email.policy.SMTP)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


@pytest.mark.rfc("3834 §5")
def test_it_is_a_mail_that_nobody_answers() -> None:
    message = _parsed(compose_warning(_warning()))
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["From"] == "Mail Delivery System <postmaster@mail.example.org>"
    assert message["To"] == "owner@example.org"
    assert message["Message-ID"] == "<c1.18f.1@mail.example.org>"
    assert message["Subject"] == "A secret for sending mail ends on 20 Jan 2027"
    assert message["Date"].startswith("Fri, 15 Jan 2027")
    assert message.get_content_type() == "text/plain"
    assert message["Content-Transfer-Encoding"] == "7bit"


def test_it_says_whose_secret_ends_when_and_who_used_it_last() -> None:
    text = _parsed(compose_warning(_warning())).get_content().replace("\r\n", "\n")
    assert "  login:       tim@example.org\n" in text
    assert "  credential:  c1 (printer)\n" in text
    assert "  ends:        Wed, 20 Jan 2027" in text
    assert "  last used:   never, as far as is known\n" in text
    assert "can send no mail after that" in text
    used = _warning(label="", is_replaced=True, last_used=_NOW - 60, used_with=("PLAIN", "192.0.2.7", "printer.lan"))
    text = _parsed(compose_warning(used)).get_content().replace("\r\n", "\n")
    assert "  credential:  c1\n" in text
    assert 'with PLAIN from 192.0.2.7, by a client that calls itself "printer.lan"' in text
    assert "Another secret has taken its place already." in text
    nameless = _warning(last_used=_NOW, used_with=("PLAIN", "192.0.2.7", ""))
    assert "calls itself" not in _parsed(compose_warning(nameless)).get_content()


def test_names_beyond_ascii_make_it_eight_bit() -> None:
    message = _parsed(compose_warning(_warning(label="Büro")))
    assert message["Content-Transfer-Encoding"] == "8bit"
    assert "c1 (Büro)" in message.get_content()


@given(label=st.text(), client=st.text(), login=st.text())
def test_strangers_texts_add_no_line_and_no_field(label: str, client: str, login: str) -> None:
    brought = _warning(label=label, login=login, last_used=_NOW, used_with=("PLAIN", "192.0.2.7", client))
    content = compose_warning(brought)
    plain = compose_warning(_warning(label="x", login="x", last_used=_NOW, used_with=("PLAIN", "192.0.2.7", "x")))
    assert content.count(b"\r\n") == plain.count(b"\r\n")
    assert _parsed(content).keys() == _parsed(plain).keys()
    assert all(len(line) <= 998 for line in content.split(b"\r\n"))
