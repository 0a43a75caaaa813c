"""What mail services answer when something is wrong on our side, and what to do about it; data for `config.providers`.

Words are in lower case, as `relay.known_replies` compares them.  A reply that a single sender can bring about concerns
the message and never the route: nobody must be able to stop the mail of all others.
"""

from __future__ import annotations

from gatepost.relay.known_replies import Concerns, KnownReply

__all__ = [
    "BREVO",
    "MAILGUN",
    "MAILJET",
    "MAILSLURP",
    "MAILTRAP",
    "POSTMARK",
    "SENDGRID",
    "SES",
]

_MESSAGE, _PACE, _ROUTE = Concerns.MESSAGE, Concerns.PACE, Concerns.ROUTE

SES = (
    KnownReply(
        (454,),
        "",
        ("daily message quota exceeded",),
        _ROUTE,
        "as much as this account may send in 24 hours; ask for a higher quota in the SES console",
    ),
    KnownReply(
        (454,),
        "",
        ("maximum sending rate exceeded",),
        _PACE,
        "faster than this account may send: write its rate as messages_per_second (SES console, Account dashboard)",
    ),
    KnownReply(
        (535,),
        "",
        (),
        _ROUTE,
        "SES refuses the login: SMTP credentials are of one region, and a secret access key belongs "
        "into secret_access_key_file, not password_file",
    ),
    KnownReply(
        (554,),
        "",
        ("is not verified",),
        _MESSAGE,
        "SES sends only for verified senders, and in its sandbox only to verified recipients: "
        "verify the address or domain, ask for production access",
    ),
    KnownReply(
        (554,),
        "",
        ("sending paused for this account", "sending is paused for this account", "account has been shut down"),
        _ROUTE,
        "SES has paused sending for this account: see Reputation metrics in its console",
    ),
    KnownReply(
        (554,),
        "",
        ("is not authorized to perform",),
        _MESSAGE,
        "the IAM user may not send as this sender: ses:SendRawEmail",
    ),
    KnownReply(
        (554,),
        "",
        ("configuration set",),
        _MESSAGE,
        "X-SES-CONFIGURATION-SET names a set that this region does not have",
    ),
)

SENDGRID = (
    KnownReply(
        (421, 450, 451, 452, 535, 550, 554),
        "",
        ("credits exceeded", "exceeded your messaging limits"),
        _ROUTE,
        "the plan's mail is used up: see Billing at SendGrid; goes on by itself when there is more",
    ),
    KnownReply(
        (535,),
        "",
        (),
        _ROUTE,
        "SendGrid refuses the login: it is the word apikey, and the password a key that may send mail",
    ),
    KnownReply(
        (403, 550, 554),
        "",
        ("verified sender identity", "not authorized to send from that email address"),
        _MESSAGE,
        "From is no verified sender: verify it, or its domain, under Sender Authentication",
    ),
    KnownReply(
        (550, 554), "", ("unauthenticated senders not allowed",), _ROUTE, "SendGrid wants a login: give password_file"
    ),
)

MAILGUN = (
    KnownReply(
        (421, 450, 550, 554),
        "",
        ("authorized recipients",),
        _MESSAGE,
        "a sandbox domain of Mailgun's reaches authorised recipients only: add the address, or a domain of your own",
    ),
    KnownReply(
        (421, 450, 550, 554),
        "",
        ("is not allowed to send",),
        _ROUTE,
        "Mailgun does not let this domain send: activate the account, or finish the domain's DNS records",
    ),
    KnownReply(
        (420, 421, 450, 451, 452, 550, 554),
        "",
        ("limit exceeded", "message limit reached", "sending limit", "exceeded the allowed"),
        _ROUTE,
        "as much as this domain or plan may send; see Sending limits at Mailgun",
    ),
    KnownReply(
        (421, 550, 554), "", ("account disabled", "account is disabled"), _ROUTE, "Mailgun has disabled the account"
    ),
    KnownReply(
        (535,),
        "",
        (),
        _ROUTE,
        "Mailgun refuses the login: SMTP credentials belong to one domain and region; the API key is not one",
    ),
)

POSTMARK = (
    KnownReply(
        (535,),
        "",
        (),
        _ROUTE,
        "Postmark refuses the login: a server's API token, or access and secret key of an SMTP token "
        "(SMTP must be enabled for the stream)",
    ),
    KnownReply(
        (422, 450, 550, 554),
        "",
        ("pending approval",),
        _MESSAGE,
        "until Postmark approves the account it reaches its own domain only",
    ),
    KnownReply(
        (422, 450, 550, 554),
        "",
        ("sender signature",),
        _MESSAGE,
        "From is no confirmed sender signature or domain of the account",
    ),
    KnownReply(
        (406, 450, 550, 554),
        "",
        ("inactive",),
        _MESSAGE,
        "Postmark has the recipient on its suppression list (bounce or complaint): reactivate it there",
    ),
    KnownReply(
        (405, 450, 550, 554),
        "",
        ("not allowed to send", "run out of credits"),
        _ROUTE,
        "the plan's mail is used up: see Billing",
    ),
    KnownReply(
        (450, 550, 554), "", ("message stream", "messagestream"), _MESSAGE, "the server has no such message stream"
    ),
)

MAILTRAP = (
    KnownReply(
        (535, 421, 450, 451, 550),
        "",
        ("too many connections",),
        _PACE,
        "Mailtrap takes ten connections of an account at once, from everywhere: something else sends with it, too",
    ),
    KnownReply(
        (421, 450, 451, 452, 550, 554),
        "",
        ("too many emails per second",),
        _PACE,
        "faster than the plan's sandbox takes: write its rate as messages_per_second",
    ),
    KnownReply(
        (450, 535, 550, 554),
        "",
        ("limit is reached", "limit reached", "upgrade your plan"),
        _ROUTE,
        "the plan's mail is used up: see Billing at Mailtrap",
    ),
    KnownReply(
        (535,),
        "",
        (),
        _ROUTE,
        "Mailtrap refuses the login: the word api and an API token, or in the sandbox the inbox's own pair",
    ),
    KnownReply(
        (450, 550, 554), "", ("sending from domain",), _MESSAGE, "From is of a domain that is not verified at Mailtrap"
    ),
)

MAILSLURP = (
    KnownReply(
        (535,), "", (), _ROUTE, "MailSlurp refuses the login: take user and password from the inbox's SMTP access"
    ),
)

MAILJET = (
    KnownReply((535,), "", (), _ROUTE, "Mailjet refuses the login: it is the API key, and the password the secret key"),
    KnownReply(
        (450, 550, 554),
        "",
        ("not an authorized sender", "sender address has not been validated", "sender not validated"),
        _MESSAGE,
        "From is no validated sender or domain of the account",
    ),
    KnownReply(
        (421, 450, 550, 554),
        "",
        ("account has been temporarily blocked", "account is temporarily blocked", "account is blocked"),
        _ROUTE,
        "Mailjet has blocked the account: ask its support",
    ),
)

BREVO = (
    KnownReply(
        (525, 535, 550),
        "",
        ("unauthorized ip",),
        _ROUTE,
        "Brevo does not know this server's address: add it under Security, Authorised IPs",
    ),
    KnownReply(
        (535,), "", (), _ROUTE, "Brevo refuses the login: it stands under SMTP & API, with an SMTP key as its password"
    ),
    KnownReply(
        (502, 550, 554),
        "",
        ("not yet activated",),
        _ROUTE,
        "Brevo has not activated SMTP for this account: ask its support",
    ),
    KnownReply(
        (421, 450, 452, 550, 554),
        "",
        ("daily limit", "sending limit", "not enough credit"),
        _ROUTE,
        "the plan's mail is used up",
    ),
    KnownReply(
        (450, 550, 554),
        "",
        ("validate your sender", "sender is not valid"),
        _MESSAGE,
        "From is no validated sender or domain",
    ),
)
