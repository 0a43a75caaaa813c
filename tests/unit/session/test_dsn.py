"""What a client asks of reports is read strictly, and kept as it was written."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import Malformed
from gatepost.model.envelope import Notify, Ret
from gatepost.session.extensions.dsn import DSN
from gatepost.session.params import MailParameters, RecipientParameters, parse_parameters


def on_mail(text: str) -> MailParameters:
    wanted = MailParameters()
    for keyword, value in parse_parameters(text).items():
        if keyword not in DSN.mail_parameters:
            raise Malformed(f"unknown parameter {keyword}")
        DSN.mail_parameters[keyword](value, wanted)
    return wanted


def on_rcpt(text: str, *, smtputf8: bool = False) -> RecipientParameters:
    wanted = RecipientParameters(smtputf8)
    for keyword, value in parse_parameters(text).items():
        if keyword not in DSN.recipient_parameters:
            raise Malformed(f"unknown parameter {keyword}")
        DSN.recipient_parameters[keyword](value, wanted)
    return wanted


@pytest.mark.rfc("3461 §4.3")
@pytest.mark.rfc("3461 §4.4")
def test_ret_and_envid_are_read_and_envid_keeps_its_xtext():
    assert on_mail("RET=FULL ENVID=QQ314159") == MailParameters(ret=Ret.FULL, envid="QQ314159")
    assert on_mail("ret=hdrs envid=a+2BB+20c+3D") == MailParameters(ret=Ret.HEADERS, envid="a+2BB+20c+3D")
    assert on_mail("ENVID=" + "+20" * 100).envid == "+20" * 100


@pytest.mark.rfc("3461 §4.3")
@pytest.mark.rfc("3461 §4.4")
@pytest.mark.parametrize(
    "text",
    [
        "RET",
        "RET=",
        "RET=BOTH",
        "RET=FULL RET=HDRS",
        "RET=FULL,HDRS",
        "ENVID",
        "ENVID=",
        "ENVID=a ENVID=a",
        "ENVID=a+2b",
        "ENVID=a+",
        "ENVID=a+0D+0Ab",
        "ENVID=+7F",
        "ENVID=+09",
        "ENVID=+E9",
        "ENVID=\xe9",
        "ENVID=" + "x" * 101,
        "ENVID=" + "+41" * 101,
    ],
)
def test_bad_values_on_mail_are_malformed(text):
    with pytest.raises(Malformed) as raised:
        on_mail(text)
    assert (raised.value.code, raised.value.enhanced) == (501, "5.5.4")


@pytest.mark.rfc("3461 §4.1")
@pytest.mark.parametrize(
    ("value", "notify"),
    [
        ("NEVER", Notify.NEVER),
        ("success", Notify.SUCCESS),
        ("FAILURE,DELAY", Notify.FAILURE | Notify.DELAY),
        ("Delay,Success,Failure", Notify.SUCCESS | Notify.FAILURE | Notify.DELAY),
    ],
)
def test_notify_is_never_or_a_list(value, notify):
    assert on_rcpt(f"NOTIFY={value}") == RecipientParameters(False, notify)


@pytest.mark.rfc("3461 §4.2")
@pytest.mark.parametrize(
    "value",
    [
        "rfc822;Bob@Example.NET",
        "RFC822;bob+2Bnews+3Dx@example.net",
        "rfc822;+22a+20b+22@example.net",
        "x400;/G+3Dx/S+3Dy/",
        "rfc822;" + "x" * 500,
        r"utf-8;b\x{F6}b@example.net",
        r"UTF-8;\x{5C}\x{20}\x{1F4A9}",
        "utf-8;bob@example.net",
    ],
)
def test_orcpt_is_kept_as_it_was_written(value):
    assert on_rcpt(f"ORCPT={value}") == RecipientParameters(False, None, value)


@pytest.mark.rfc("6533 §3")
def test_orcpt_may_be_utf_8_only_after_smtputf8():
    value = "utf-8;bób@bücher.example"
    assert on_rcpt(f"ORCPT={value}", smtputf8=True).orcpt == value
    with pytest.raises(Malformed):
        on_rcpt(f"ORCPT={value}")


@pytest.mark.rfc("3461 §4.1")
@pytest.mark.rfc("3461 §4.2")
@pytest.mark.parametrize(
    "text",
    [
        "NOTIFY",
        "NOTIFY=",
        "NOTIFY=NEVER,SUCCESS",
        "NOTIFY=SUCCESS,NEVER",
        "NOTIFY=NEVER,NEVER",
        "NOTIFY=FAILURE,FAILURE",
        "NOTIFY=FAILURE,failure",
        "NOTIFY=FAILURE,",
        "NOTIFY=,FAILURE",
        "NOTIFY=ALWAYS",
        "NOTIFY=__class__",
        "NOTIFY=FAILURE;DELAY",
        "NOTIFY=FAILURE NOTIFY=DELAY",
        "ORCPT",
        "ORCPT=",
        "ORCPT=bob@example.net",
        "ORCPT=rfc822;",
        "ORCPT=;bob@example.net",
        "ORCPT=rfc(822);bob@example.net",
        "ORCPT=rfc822;b+6fb@example.net",
        "ORCPT=rfc822;b+@example.net",
        "ORCPT=rfc822;bob+0D+0AX-Evil:1",
        "ORCPT=rfc822;b\xf6b@example.net",
        "ORCPT=rfc822;+C3+B6",
        "ORCPT=rfc822;a ORCPT=rfc822;a",
        "ORCPT=rfc822;" + "x" * 501,
        "ORCPT=rfc822;" + "+41" * 167,
        r"ORCPT=utf-8;\x{A}",
        r"ORCPT=utf-8;\x{0D}",
        r"ORCPT=utf-8;\x{85}",
        r"ORCPT=utf-8;\x{41}",
        r"ORCPT=utf-8;\x{7F}",
        r"ORCPT=utf-8;\x{D800}",
        r"ORCPT=utf-8;\x{2028}",
        r"ORCPT=utf-8;\x{f6}",
        r"ORCPT=utf-8;\x{110000}",
        r"ORCPT=utf-8;\F6",
        "ORCPT=utf-8;a+2Bb",
    ],
)
@pytest.mark.parametrize("smtputf8", [False, True])
def test_bad_values_on_rcpt_are_malformed(text, smtputf8):
    with pytest.raises(Malformed) as raised:
        on_rcpt(text, smtputf8=smtputf8)
    assert (raised.value.code, raised.value.enhanced) == (501, "5.5.4")


@given(st.text(), st.sampled_from(["RET=", "ENVID=", "NOTIFY=", "ORCPT=utf-8;", "ORCPT=rfc822;"]), st.booleans())
def test_any_value_is_taken_or_malformed_and_never_ends_a_line(value, keyword, smtputf8):
    with contextlib.suppress(Malformed):
        if keyword[0] in "RE":
            assert on_mail(keyword + value).envid.isprintable()
        else:
            assert on_rcpt(keyword + value, smtputf8=smtputf8).orcpt.isprintable()
