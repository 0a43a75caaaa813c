"""Compose the mail that warns an owner: a credential of theirs ends soon (RFC 5322, RFC 3834).

What a client calls itself, and what a label says, are strangers' texts: they are cleaned and cut.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from gatepost.message.date import format_date
from gatepost.model.address import Mailbox

__all__ = ["ExpiryWarning", "compose_warning"]

_TEXT_LIMIT = 100


@dataclass(frozen=True, slots=True)
class ExpiryWarning:
    """What is told about one credential.

    Args:
        hostname: our own name.
        to: its owner.
        now: the time of the mail, seconds since the epoch.
        unique: text for Message-ID: letters, digits, dots and hyphens, never the same twice.
        login: name of the account.
        credential: its id.
        label: what its owner calls it.
        expires: when it ends, seconds since the epoch.
        is_replaced: whether another secret is there that takes its place.
        last_used: when it was used last; 0 for never.
        used_with: mechanism, address and name of the client that used it then.
    """

    hostname: str
    to: Mailbox
    now: float
    unique: str
    login: str
    credential: str
    label: str
    expires: float
    is_replaced: bool
    last_used: float = 0.0
    used_with: tuple[str, str, str] = ("", "", "")


def compose_warning(warning: ExpiryWarning) -> bytes:
    """Write the mail."""
    body = _body(warning)
    lines = [
        f"From: Mail Delivery System <postmaster@{warning.hostname}>",
        f"To: <{warning.to.in_ascii()}>",
        f"Subject: A secret for sending mail ends on {_day(warning.expires)}",
        f"Date: {format_date(warning.now)}",
        f"Message-ID: <{warning.unique}@{warning.hostname}>",
        # RFC 3834 §5: nobody answers what no person wrote.
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        f"Content-Type: text/plain; charset={'us-ascii' if body.isascii() else 'utf-8'}",
        f"Content-Transfer-Encoding: {'7bit' if body.isascii() else '8bit'}",
        "",
        *body.splitlines(),
    ]
    return "".join([f"{line}\r\n" for line in lines]).encode()


def _body(warning: ExpiryWarning) -> str:
    label = f" ({_clean(warning.label)})" if warning.label else ""
    if warning.last_used:
        mechanism, address, client = map(_clean, warning.used_with)
        named = f', by a client that calls itself "{client}"' if client else ""
        used = f"{format_date(warning.last_used)}, with {mechanism} from {address}{named}"
    else:
        used = "never, as far as is known"
    if warning.is_replaced:
        next_ = (
            "Another secret has taken its place already.  Whatever still uses this one must be given the new one before"
            " then, or it can send no mail any more."
        )
    else:
        next_ = (
            "Whatever uses it can send no mail after that.  If it should, ask whoever runs this server for a new one."
        )
    return "\n\n".join(
        [
            _wrap(f"A secret with which mail is sent through {warning.hostname} ends soon."),
            "\n".join(
                [
                    f"  login:       {_clean(warning.login)}",
                    f"  credential:  {_clean(warning.credential)}{label}",
                    f"  ends:        {format_date(warning.expires)}",
                    f"  last used:   {used}",
                ]
            ),
            _wrap(next_),
            _wrap("This mail was written by the server itself, once for this end; no secret stands in it."),
        ]
    )


def _wrap(text: str) -> str:
    return textwrap.fill(text, 78, break_long_words=False, break_on_hyphens=False)


def _day(moment: float) -> str:
    # RFC 5322 §3.3: day name, comma, day, month, year, and then the time.
    return " ".join(format_date(moment).split()[1:4])


def _clean(text: str) -> str:
    return "".join([char if char.isprintable() else "?" for char in text[:_TEXT_LIMIT]])
