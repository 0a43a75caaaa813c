"""The grammar of MAIL and RCPT: a value, or Malformed, never anything else."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import Malformed
from gatepost.model.envelope import Body
from gatepost.session.extensions import MAIL_PARAMETERS
from gatepost.session.params import MailParameters, parse_parameters, split_path


@pytest.mark.rfc("5321 §4.1.1.2")
@pytest.mark.parametrize(
    ("argument", "path", "parameters"),
    [
        ("FROM:<tim@example.org>", "tim@example.org", ""),
        ("from:<tim@example.org>", "tim@example.org", ""),
        ("FROM: <tim@example.org>", "tim@example.org", ""),
        ("FROM:<tim@example.org> SIZE=1", "tim@example.org", "SIZE=1"),
        ("FROM:<tim@example.org>  SIZE=1  BODY=7BIT ", "tim@example.org", "SIZE=1  BODY=7BIT"),
        ("FROM:<>", "", ""),
        ("FROM:<> SIZE=1", "", "SIZE=1"),
        ("FROM:tim@example.org", "tim@example.org", ""),
        ("FROM:tim@example.org SIZE=1", "tim@example.org", "SIZE=1"),
        ('FROM:<"a>b c"@example.org> X', '"a>b c"@example.org', "X"),
        ("FROM:<@a.example:tim@example.org>", "@a.example:tim@example.org", ""),
        ("FROM:<tím@example.org>", "tím@example.org", ""),
        ("FROM:\t<tim@example.org>\tSIZE=1\t", "tim@example.org", "SIZE=1"),
        ("FROM:<t\xa0m@example.org>", "t\xa0m@example.org", ""),
    ],
)
def test_a_path_and_its_parameters_come_apart(argument, path, parameters):
    assert split_path(argument, "FROM:") == (path, parameters)


@pytest.mark.rfc("5321 §4.1.1.2")
@pytest.mark.parametrize("argument", ["", "FROM", "FROM:", "TO:<a@b.c>", "FROM :<a@b.c>", "FRO"])
def test_a_command_without_a_path_is_told_the_syntax(argument):
    with pytest.raises(Malformed) as raised:
        split_path(argument, "FROM:")
    assert (raised.value.code, raised.value.enhanced) == (501, "5.5.4")
    assert raised.value.text == "Syntax: MAIL FROM:<address>"


@pytest.mark.rfc("5321 §4.1.2")
@pytest.mark.parametrize("keyword", ["FROM:", "TO:"])
@pytest.mark.parametrize(
    "path",
    [
        " ",
        "<a@b.c",
        "<a@b.c>>",
        "<a@b.c>X",
        "<a b@c.d>",
        "a<b@c.d>",
        "<a@b.c>\x0bX",
        "<a@b.c>\xa0X",
        '<"a@b.c>',
        "<<>>",
    ],
)
def test_what_is_no_path_is_a_bad_address(path, keyword):
    with pytest.raises(Malformed) as raised:
        split_path(keyword + path, keyword)
    assert (raised.value.code, raised.value.enhanced) == (501, "5.1.7" if keyword == "FROM:" else "5.1.3")


@pytest.mark.rfc("5321 §4.1.1.11")
def test_keywords_are_upper_cased_and_values_keep_their_case():
    assert parse_parameters("size=1 ENVID=aBc MT-Priority=3 SMTPUTF8") == {
        "SIZE": "1",
        "ENVID": "aBc",
        "MT-PRIORITY": "3",
        "SMTPUTF8": None,
    }


@pytest.mark.parametrize(
    "text", ["SIZE=1 size=2", "=1", "SIZE=", "-X", "A=b=c", "ü=1", "A=\x01", "A=\x85", "A=\u2028", "A\xa0B", "A\x1cB"]
)
def test_bad_or_repeated_parameters_are_malformed(text):
    with pytest.raises(Malformed) as raised:
        parse_parameters(text)
    assert (raised.value.code, raised.value.enhanced) == (501, "5.5.4")


@given(st.text())
def test_any_text_is_a_path_or_malformed(text):
    for argument in (text, "FROM:" + text, "FROM:<" + text + ">"):
        with contextlib.suppress(Malformed):
            split_path(argument, "FROM:")


@given(st.text())
def test_any_text_is_parameters_or_malformed(text):
    with contextlib.suppress(Malformed):
        parse_parameters(text)


@pytest.mark.parametrize("argument", ["FROM:<a@b> x{}y", "FROM:<a@b>{}x", "FROM:a{}x", "FROM:{}", 'FROM:<"{}'])
@pytest.mark.parametrize("unit", [" ", '"', "\\", '" ', "a "])
def test_no_line_takes_longer_than_its_length(argument, unit):
    began = time.process_time()
    for _ in range(10):
        with contextlib.suppress(Malformed):
            split_path(argument.format(unit * (16_000 // len(unit))), "FROM:")
    assert time.process_time() - began < 2


def read(text: str) -> MailParameters:
    wanted = MailParameters()
    for keyword, value in parse_parameters(text).items():
        MAIL_PARAMETERS[keyword](value, wanted)
    return wanted


@pytest.mark.rfc("1870 §3")
@pytest.mark.rfc("6152 §2")
@pytest.mark.rfc("6531 §3.4")
@pytest.mark.rfc("4954 §5")
def test_parameters_of_mail_are_read():
    assert read("SIZE=12345678901234567890") == MailParameters(size=12345678901234567890)
    assert read("BODY=8bitmime SMTPUTF8 AUTH=<>") == MailParameters(body=Body.EIGHT_BIT, smtputf8=True)
    assert read("AUTH=e+2Bmc2@example.com") == read("AUTH=nobody") == MailParameters()


@pytest.mark.rfc("1870 §3")
@pytest.mark.rfc("6152 §2")
@pytest.mark.rfc("6531 §3.4")
@pytest.mark.rfc("4954 §5")
@pytest.mark.parametrize(
    "text",
    [
        "SIZE",
        "SIZE=x",
        "SIZE=-1",
        "SIZE=123456789012345678901",
        "SIZE=\u0661",
        "BODY",
        "BODY=9BIT",
        "SMTPUTF8=1",
        "AUTH",
        "AUTH=",
        "AUTH=+zz",
        "AUTH=+2b",
        "AUTH=a+",
        "AUTH=tím@example.org",
    ],
)
def test_bad_values_are_malformed(text):
    with pytest.raises(Malformed) as raised:
        read(text)
    assert (raised.value.code, raised.value.enhanced) == (501, "5.5.4")
