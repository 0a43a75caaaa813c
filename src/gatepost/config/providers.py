"""Providers that a route can name: what `provider` sets on it, the limits they publish, and replies of theirs.

Everything here is data.  `keys` are keys of the route, and hold where the route does not write its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from gatepost.config import mailbox_replies as mailboxes
from gatepost.config import provider_replies as replies
from gatepost.relay.known_replies import KnownReply

__all__ = ["EVERY_REGION", "PROVIDERS", "Provider"]

_MIB: Final = 1 << 20
_ANY_PASSWORD: Final = ("SCRAM-SHA-256", "PLAIN", "LOGIN")
_PASSWORD: Final = ("PLAIN", "LOGIN")
_TOKEN: Final = ("OAUTHBEARER", "XOAUTH2")

EVERY_REGION: Final = "*"


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider, or one of its services.

    Args:
        title: its name, for messages.
        keys: keys of a route that it sets.
        hosts: its hosts by region; under `EVERY_REGION` one that is made with the region's name.
        region: the region where none is written; empty if one must be.
        tls: the ways to begin TLS that it knows; all, if empty.
        counts_recipients: whether its limits count recipients rather than messages.
        stream_field: the header field that `message_stream` sets; empty if it has no streams.
        has_login_in_password: whether its login is the same as its password where none is written.
        needs_login: whether it takes mail only from who logs in.
        replies: what is known of its replies.
    """

    title: str
    keys: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    hosts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    region: str = ""
    tls: tuple[str, ...] = ()
    counts_recipients: bool = False
    stream_field: str = ""
    has_login_in_password: bool = False
    needs_login: bool = True
    replies: tuple[KnownReply, ...] = ()


PROVIDERS: Final[Mapping[str, Provider]] = MappingProxyType(
    {
        "gmail": Provider(
            "Gmail",
            {
                "host": "smtp.gmail.com",
                "mechanisms": (*_TOKEN, *_PASSWORD),
                "messages_per_day": 500,
                "recipients_per_message": 100,
            },
            replies=mailboxes.GOOGLE,
        ),
        "google-workspace": Provider(
            "Google Workspace",
            {
                "host": "smtp.gmail.com",
                "mechanisms": (*_TOKEN, *_PASSWORD),
                "messages_per_day": 2000,
                "recipients_per_day": 10_000,
                "recipients_per_message": 100,
            },
            replies=mailboxes.GOOGLE,
        ),
        "google-relay": Provider(
            "Google Workspace's SMTP relay",
            {
                "host": "smtp-relay.gmail.com",
                "mechanisms": (*_TOKEN, *_PASSWORD),
                "recipients_per_message": 100,
            },
            needs_login=False,
            replies=mailboxes.GOOGLE_RELAY,
        ),
        "microsoft365": Provider(
            "Microsoft 365",
            {
                "host": "smtp.office365.com",
                "mechanisms": ("XOAUTH2", "LOGIN"),
                "connections": 3,
                "messages_per_minute": 30,
                "recipients_per_day": 10_000,
                "recipients_per_message": 500,
                "message_bytes": 35 * _MIB,
            },
            tls=("starttls",),
            replies=mailboxes.MICROSOFT,
        ),
        "outlook": Provider(
            "Outlook.com",
            {
                "host": "smtp-mail.outlook.com",
                "mechanisms": ("XOAUTH2",),
                "connections": 3,
                "messages_per_minute": 30,
                "recipients_per_day": 5000,
                "recipients_per_message": 500,
                "message_bytes": 25 * _MIB,
            },
            tls=("starttls",),
            replies=mailboxes.MICROSOFT,
        ),
        "ses": Provider(
            "Amazon SES",
            {"mechanisms": _PASSWORD, "recipients_per_message": 50, "message_bytes": 40 * _MIB},
            hosts={EVERY_REGION: "email-smtp.{region}.amazonaws.com"},
            counts_recipients=True,
            replies=replies.SES,
        ),
        "mailgun": Provider(
            "Mailgun",
            {"mechanisms": _ANY_PASSWORD, "recipients_per_message": 1000, "message_bytes": 25 * _MIB},
            hosts={"us": "smtp.mailgun.org", "eu": "smtp.eu.mailgun.org"},
            region="us",
            replies=replies.MAILGUN,
        ),
        "sendgrid": Provider(
            "SendGrid",
            {
                "login": "apikey",
                "mechanisms": _PASSWORD,
                "recipients_per_message": 1000,
                "message_bytes": 30 * _MIB,
            },
            hosts={"global": "smtp.sendgrid.net", "eu": "smtp.eu.sendgrid.net"},
            region="global",
            replies=replies.SENDGRID,
        ),
        "postmark": Provider(
            "Postmark",
            {
                "host": "smtp.postmarkapp.com",
                "mechanisms": _PASSWORD,
                "recipients_per_message": 50,
                "message_bytes": 10 * _MIB,
            },
            tls=("starttls",),
            stream_field="X-PM-Message-Stream",
            has_login_in_password=True,
            replies=replies.POSTMARK,
        ),
        "postmark-broadcasts": Provider(
            "Postmark's broadcasts",
            {
                "host": "smtp-broadcasts.postmarkapp.com",
                "mechanisms": _PASSWORD,
                "recipients_per_message": 50,
                "message_bytes": 10 * _MIB,
            },
            tls=("starttls",),
            stream_field="X-PM-Message-Stream",
            has_login_in_password=True,
            replies=replies.POSTMARK,
        ),
        "mailtrap": Provider(
            "Mailtrap",
            {
                "host": "live.smtp.mailtrap.io",
                "login": "api",
                "mechanisms": _ANY_PASSWORD,
                "connections": 10,
                "messages_per_second": 15,
                "recipients_per_message": 1000,
                "message_bytes": 10 * _MIB,
            },
            replies=replies.MAILTRAP,
        ),
        "mailtrap-bulk": Provider(
            "Mailtrap's bulk stream",
            {
                "host": "bulk.smtp.mailtrap.io",
                "login": "api",
                "mechanisms": _ANY_PASSWORD,
                "connections": 10,
                "messages_per_second": 15,
                "recipients_per_message": 1000,
                "message_bytes": 10 * _MIB,
            },
            replies=replies.MAILTRAP,
        ),
        "mailtrap-sandbox": Provider(
            "Mailtrap's sandbox",
            {
                "host": "sandbox.smtp.mailtrap.io",
                "mechanisms": _ANY_PASSWORD,
                "messages_per_second": 1,
                "connections": 1,
                "message_bytes": 10 * _MIB,
            },
            replies=replies.MAILTRAP,
        ),
        "mailslurp": Provider(
            "MailSlurp",
            {"host": "mailslurp.mx", "mechanisms": _PASSWORD},
            replies=replies.MAILSLURP,
        ),
        "mailjet": Provider(
            "Mailjet",
            {
                "host": "in-v3.mailjet.com",
                "mechanisms": _PASSWORD,
                "recipients_per_message": 50,
                "message_bytes": 15 * _MIB,
            },
            replies=replies.MAILJET,
        ),
        "brevo": Provider(
            "Brevo",
            {
                "host": "smtp-relay.brevo.com",
                "mechanisms": _ANY_PASSWORD,
                "recipients_per_message": 99,
                "message_bytes": 20 * _MIB,
            },
            replies=replies.BREVO,
        ),
        "kumomta": Provider("KumoMTA", {"mechanisms": ("PLAIN",), "connections": 100}, needs_login=False),
        "mta": Provider("A mail server of yours", {"host": "127.0.0.1", "tls": "none"}, needs_login=False),
    }
)
"""By the word that a route writes.  tests/unit/config/test_providers.py holds docs/providers.md to it."""
