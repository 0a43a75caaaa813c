"""What EHLO says at which moment."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from gatepost.session.extensions import EXTENSIONS, MAIL_PARAMETERS, RECIPIENT_PARAMETERS, Moment
from gatepost.session.extensions.dsn import DSN
from gatepost.session.extensions.limits import LIMITS

MOMENT = Moment(True, False, ("PLAIN",), 1000, 100)


@pytest.mark.rfc("9422 §3")
@pytest.mark.parametrize(
    ("recipients", "line"),
    [
        (100, "LIMITS RCPTMAX=100"),
        (1, "LIMITS RCPTMAX=1"),
        (999_999, "LIMITS RCPTMAX=999999"),
        (1_000_000, None),
        (0, None),
        (None, None),
    ],
)
def test_limits_are_numbers_of_six_digits_or_not_said(recipients, line):
    assert LIMITS.announce(replace(MOMENT, recipients=recipients)) == line


@pytest.mark.rfc("5321 §4.1.1.1")
def test_a_line_of_ehlo_is_a_keyword_and_parameters_and_none_comes_twice():
    keywords = []
    for extension in EXTENSIONS:
        line = extension.announce(MOMENT)
        if line is not None:
            assert re.fullmatch(r"[A-Z0-9][A-Z0-9-]*( [\x21-\x7e]+)*", line)
            assert line.split()[0] == extension.keyword
            keywords.append(extension.keyword)
    assert len(keywords) == len(set(keywords))


@pytest.mark.rfc("3461 §3")
def test_dsn_is_offered_without_parameters_unless_a_handler_takes_the_mail():
    assert DSN in EXTENSIONS
    assert DSN.announce(MOMENT) == "DSN"
    assert DSN.announce(replace(MOMENT, reports=False)) is None
    assert {"RET", "ENVID"} <= MAIL_PARAMETERS.keys()
    assert {"NOTIFY", "ORCPT"} <= RECIPIENT_PARAMETERS.keys()
