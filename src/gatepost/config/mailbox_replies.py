"""What Google and Microsoft answer when something is wrong on our side, and what to do; data for `config.providers`.

The same rules hold as for `config.provider_replies`.
"""

from __future__ import annotations

from gatepost.relay.known_replies import Concerns, KnownReply

__all__ = ["GOOGLE", "GOOGLE_RELAY", "MICROSOFT"]

_LATER, _MESSAGE, _PACE, _ROUTE = Concerns.THIS_LATER, Concerns.MESSAGE, Concerns.PACE, Concerns.ROUTE

GOOGLE = (
    KnownReply(
        (534,),
        "",
        ("application-specific password",),
        _ROUTE,
        "Google wants an app password: make one at myaccount.google.com/apppasswords, or use OAuth",
    ),
    KnownReply(
        (534,),
        "",
        ("web browser",),
        _ROUTE,
        "Google wants somebody to log in once in a browser, with this account",
    ),
    KnownReply(
        (535,),
        "",
        (),
        _ROUTE,
        "Google refuses the login: an account's own password does not do, make an app password "
        "(needs 2-step verification), or use OAuth",
    ),
    KnownReply(
        (454,), "", ("too many login attempts",), _ROUTE, "Google wants a pause between logins; tried again later"
    ),
    KnownReply(
        (550, 452, 421),
        "",
        ("daily user sending", "daily sending quota", "sending limit exceeded"),
        _ROUTE,
        "this account has sent as much as Google lets it in a day; goes on by itself within 24 hours",
    ),
    KnownReply(
        (552,),
        "5.7.0",
        ("potential security issue",),
        _MESSAGE,
        "Google takes no such attachment (a program, or an archive that holds one)",
    ),
)

GOOGLE_RELAY = (
    KnownReply(
        (450, 421), "", ("peak smtp relay limit",), _PACE, "more in ten minutes than the relay takes; sent slower"
    ),
    KnownReply(
        (550, 450),
        "",
        ("relay limit exceeded for user", "relay sending limit exceeded for user", "daily smtp relay sending limit"),
        _LATER,
        "this sender has sent as much as the relay lets a user in a day; the message waits",
    ),
    KnownReply(
        (550, 450),
        "",
        ("relay limit exceeded for customer", "relay sending limit exceeded for customer"),
        _ROUTE,
        "the customer has sent as much as the relay lets it in a day; goes on by itself within 24 hours",
    ),
    KnownReply(
        (550, 535),
        "",
        ("invalid credentials for relay", "mail relay denied"),
        _ROUTE,
        "the relay does not know us: add our address in the Admin console (Gmail, Routing, SMTP relay service), "
        "and use a real domain as hostname",
    ),
    *GOOGLE,
)

MICROSOFT = (
    KnownReply(
        (535,),
        "5.7.139",
        ("security defaults",),
        _ROUTE,
        "security defaults of the tenant forbid passwords: use OAuth, or turn them off in Entra",
    ),
    KnownReply(
        (535,),
        "5.7.139",
        ("disabled for the tenant",),
        _ROUTE,
        "SMTP AUTH is off for the tenant: Set-TransportConfig -SmtpClientAuthenticationDisabled $false",
    ),
    KnownReply(
        (535,),
        "5.7.139",
        ("disabled for the mailbox",),
        _ROUTE,
        "SMTP AUTH is off for the mailbox: Set-CASMailbox -SmtpClientAuthenticationDisabled $false",
    ),
    KnownReply(
        (535,),
        "5.7.139",
        ("basic authentication is disabled",),
        _ROUTE,
        "Microsoft takes no password here any more: use OAuth",
    ),
    KnownReply(
        (535,),
        "5.7.139",
        (),
        _ROUTE,
        "SMTP AUTH is off by policy, or the password is wrong: allow SMTP AUTH for the mailbox, or use OAuth",
    ),
    KnownReply(
        (535,),
        "",
        (),
        _ROUTE,
        "Microsoft refuses the login: the token is for another user or scope (https://outlook.office.com/SMTP.Send), "
        "or SMTP AUTH is off for the mailbox",
    ),
    KnownReply(
        (550, 554, 530),
        "",
        ("does not have permissions to send as this sender", "sendasdenied"),
        _MESSAGE,
        "the login's mailbox may not send as this sender: give it Send As for that address",
    ),
    KnownReply((530, 550), "5.7.57", (), _ROUTE, "Microsoft wants a login first: give the route login and a token"),
    KnownReply(
        (432, 421, 451),
        "",
        ("concurrent connections limit", "concurrent connection limit", "sender thread limit"),
        _PACE,
        "more than three connections at once of this mailbox; something else sends with it, too",
    ),
    KnownReply((451,), "4.7.500", (), _PACE, "Microsoft is busy; sent slower"),
    KnownReply((421, 450, 451, 452), "", ("server busy",), _PACE, "Microsoft is busy; sent slower"),
    KnownReply(
        (421, 450, 451, 452, 550, 554), "", ("submission rate", "message rate"), _PACE, "more than 30 messages a minute"
    ),
    KnownReply(
        (450, 452, 550, 554),
        "",
        ("submissionquotaexceeded", "submission quota exceeded", "daily limit for message recipients"),
        _ROUTE,
        "this mailbox has sent to as many recipients as it may in a day; goes on by itself within 24 hours",
    ),
    KnownReply(
        (550, 552, 554),
        "",
        ("submission.exception:quotaexceeded", "mapiexceptionshutoffquotaexceeded"),
        _ROUTE,
        "the mailbox that sends is full, and what it sends is kept there, too: make room in its Sent Items",
    ),
    KnownReply(
        (550, 554),
        "5.1.8",
        (),
        _ROUTE,
        "Microsoft has blocked this mailbox for spam: see Restricted entities in the Defender portal",
    ),
    KnownReply(
        (550, 554),
        "5.7.708",
        (),
        _ROUTE,
        "Microsoft takes no mail from this tenant's addresses yet: ask its support",
    ),
)
