"""Known replies: whom they concern, and what nobody can make them do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.config.providers import PROVIDERS
from gatepost.model.delivery import Cause, Deferred, Delivered, Failed, RemoteReply, Result
from gatepost.relay.known_replies import Concerns, KnownReplies, KnownReply

GENERAL = KnownReplies()


def of(provider: str) -> KnownReplies:
    return KnownReplies(PROVIDERS[provider].replies)


def heard(said: str) -> Result:
    """Return what the client makes of a reply, before anything is known."""
    reply = RemoteReply.parse(int(said[:3]), said[4:])
    if reply.code in (530, 534, 535, 538):
        return Deferred(reply, "mx", Cause.ROUTE)
    if reply.code in (421, 432):
        return Deferred(reply, "mx", Cause.NEXT_HOP)
    return Failed(reply, "mx") if reply.code >= 500 else Deferred(reply, "mx")


ROUTE = [
    ("gmail", "534 5.7.9 Application-specific password required. For more information, go to x", "app password"),
    ("gmail", "535 5.7.8 Username and Password not accepted. For more information, go to x", "app password"),
    ("gmail", "550 5.4.5 Daily user sending limit exceeded. For more information on limits go to x", "24 hours"),
    ("google-relay", "550 5.7.1 Invalid credentials for relay [192.0.2.1]. The IP address you've", "Admin console"),
    (
        "microsoft365",
        "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. Visit x",
        "Set-TransportConfig",
    ),
    (
        "microsoft365",
        "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox. Visit x",
        "Set-CASMailbox",
    ),
    (
        "microsoft365",
        "535 5.7.139 Authentication unsuccessful, the user credentials were incorrect or security defaults policy",
        "security defaults",
    ),
    ("outlook", "535 5.7.139 Authentication unsuccessful, basic authentication is disabled. [x]", "OAuth"),
    ("microsoft365", "550 5.1.8 Access denied, bad outbound sender AS(42004)", "spam"),
    ("microsoft365", "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed", "24 hours"),
    ("ses", "454 Throttling failure: Daily message quota exceeded.", "quota"),
    ("ses", "535 Authentication Credentials Invalid", "secret_access_key_file"),
    ("sendgrid", "451 Authentication failed: Maximum credits exceeded", "Billing"),
    ("sendgrid", "550 Maximum credits exceeded", "Billing"),
    ("mailgun", "421 Domain mg.example.org is not allowed to send: Please activate your Mailgun account", "activate"),
    ("mailtrap", "535 5.7.0 The email limit is reached. Please upgrade your plan", "Billing"),
    ("mailtrap-sandbox", "535 5.7.0 Monthly messages limit reached", "Billing"),
    (
        "microsoft365",
        "554 5.2.2 mailbox full; STOREDRV.Submission.Exception:QuotaExceededException.MapiExceptionQuotaExceeded",
        "Sent Items",
    ),
    ("postmark", "535 5.7.8 Unable to authenticate", "API token"),
    ("mailjet", "535 5.7.8 Error: authentication failed:", "secret key"),
    ("brevo", "525 5.7.1 Unauthorized IP address", "Authorised IPs"),
    ("brevo", "502 5.7.0 Your SMTP account is not yet activated", "support"),
    ("mta", "535 5.7.8 no", "password_file"),
]


@pytest.mark.parametrize(("provider", "said", "remedy"), ROUTE)
def test_what_concerns_the_route_bounces_nothing(provider: str, said: str, remedy: str) -> None:
    result = of(provider).judge(heard(said))
    assert isinstance(result, Deferred)
    assert result.cause is Cause.ROUTE
    assert remedy in result.reply.remedy
    assert str(result.reply) == said


PACE = [
    ("microsoft365", "432 4.3.2 Concurrent connections limit exceeded. Visit x"),
    ("microsoft365", "451 4.7.500 Server busy. Please try again later from [192.0.2.1]."),
    ("gmail", "421 4.7.0 Try again later, closing connection."),
    ("gmail", "421 4.7.28 Our system has detected an unusual rate of unsolicited mail"),
    ("google-relay", "450 4.2.1 Peak SMTP relay limit exceeded for customer."),
    ("ses", "454 Throttling failure: Maximum sending rate exceeded."),
    ("microsoft365", "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded"),
    ("mailtrap", "535 5.7.8 Too many connections per account"),
    ("mailtrap-sandbox", "550 5.7.0 Requested action not taken: too many emails per second"),
    ("mta", "450 4.7.1 Too many messages from you"),
    ("mta", "452 4.4.5 Messages per second limit exceeded"),
    ("mta", "421 4.7.0 Too many SMTP connections"),
]


@pytest.mark.parametrize(("provider", "said"), PACE)
def test_too_fast_is_nobodys_failure(provider: str, said: str) -> None:
    result = of(provider).judge(heard(said))
    assert isinstance(result, Deferred)
    assert result.cause is Cause.PACE
    assert result.reply.remedy


MESSAGE = [
    ("microsoft365", "550 5.7.60 SMTP; Client does not have permissions to send as this sender", "Send As"),
    ("microsoft365", "554 5.2.252 SendAsDenied; tim@example.org not allowed to send as ann@example.org", "Send As"),
    ("ses", "554 Message rejected: Email address is not verified. The following identities failed", "verify"),
    ("sendgrid", "550 The from address does not match a verified Sender Identity. Mail cannot be sent", "verify"),
    ("mailgun", "550 Free accounts are for test purposes only. Please add address to authorized recipients", "sandbox"),
    ("postmark", "550 5.1.1 You tried to send to a recipient that has been marked as inactive.", "suppression"),
    (
        "gmail",
        "552 5.7.0 This message was blocked because its content presents a potential security issue",
        "attachment",
    ),
]


@pytest.mark.parametrize(("provider", "said", "remedy"), MESSAGE)
def test_what_concerns_the_message_stays_as_it_is_but_with_a_remedy(provider: str, said: str, remedy: str) -> None:
    result = of(provider).judge(heard(said))
    assert isinstance(result, Failed)
    assert remedy in result.reply.remedy


@pytest.mark.parametrize(
    "said",
    [
        "550 5.1.1 no such user",
        "421 4.3.2 shutting down",
        "451 4.7.1 Greylisted, please try again later",
        "454 4.7.0 TLS not available due to temporary reason",
        "550 5.7.1 too many messages",
        "452 4.5.3 Too many recipients",
    ],
)
def test_what_is_not_known_is_left_alone(said: str) -> None:
    before = heard(said)
    assert GENERAL.judge(before) is before


def test_a_recipient_who_gets_too_much_slows_nobody_else_down() -> None:
    said = "450 4.2.1 The user you are trying to contact is receiving mail too quickly. Please resend"
    result = of("gmail").judge(heard(said))
    assert isinstance(result, Deferred)
    assert result.cause is Cause.MESSAGE
    other = "451 4.5.1 The recipient <ann@example.net> has exceeded their message rate limit. Try again later."
    assert GENERAL.judge(heard(other)) == Deferred(
        RemoteReply(451, other[4:], "4.5.1", remedy=GENERAL.remedy(other)), "mx"
    )


def test_a_users_limit_at_the_relay_makes_that_message_wait_and_no_other() -> None:
    said = "550 5.4.5 Daily SMTP relay sending limit exceeded for user. For more information"
    result = of("google-relay").judge(heard(said))
    assert isinstance(result, Deferred)
    assert result.cause is Cause.MESSAGE


@pytest.mark.parametrize(
    "address",
    [
        '<"daily user sending"@example.net>',
        '"daily user sending"@example.net',
        r'"a\" daily user sending"@example.net',
        "<daily user sending",
        '"daily user sending',
    ],
)
def test_an_address_cannot_stop_a_route(address: str) -> None:
    said = f"550 5.1.1 {address} does not exist"
    result = of("gmail").judge(heard(said))
    assert isinstance(result, Failed)
    assert not result.reply.remedy


def test_our_own_words_are_not_judged() -> None:
    ours = Deferred(RemoteReply.ours(421, "4.7.0", "throttled, says this test"), cause=Cause.NEXT_HOP)
    assert GENERAL.judge(ours) is ours


def test_success_is_not_judged() -> None:
    delivered = Delivered(RemoteReply.parse(250, "2.0.0 throttled"))
    assert GENERAL.judge(delivered) is delivered


def test_the_first_that_fits_counts_and_the_general_ones_come_last() -> None:
    one = KnownReply((550,), "", ("full",), Concerns.ROUTE, "one")
    two = KnownReply((550,), "5.2.2", (), Concerns.MESSAGE, "two")
    known = KnownReplies((one, two), ())
    assert known.remedy("550 5.2.2 mailbox FULL") == "one"
    assert known.remedy("550-5.2.2 mailbox closed") == "two"
    assert known.remedy("550 5.1.1 mailbox closed") == ""
    assert known.remedy("451 4.4.1 full") == ""
    assert known.remedy("") == known.remedy("full") == ""


@given(st.text(max_size=2000))
def test_no_text_can_break_it(text: str) -> None:
    for provider in PROVIDERS:
        of(provider).remedy(f"550 {text}")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_remedies_are_one_short_line_and_words_are_as_they_are_compared(provider: str) -> None:
    for each in PROVIDERS[provider].replies:
        assert 0 < len(each.remedy) <= 170
        assert "\n" not in each.remedy
        assert all(words == " ".join(words.lower().split()) and len(words) >= 6 for words in each.words)
        # A code alone says too little to stop a route for; at AUTH it says enough.
        assert each.words or each.enhanced or each.codes == (535,)
