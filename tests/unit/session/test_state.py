"""Which command is allowed when: the whole table."""

from __future__ import annotations

import pytest

from gatepost.session.smtp import SubmissionSession
from gatepost.session.state import State, refusal

ALWAYS = ("EHLO", "HELO", "NOOP", "RSET", "QUIT", "VRFY", "EXPN", "HELP")
ALLOWED = {
    State.CONNECTED: {*ALWAYS, "STARTTLS"},
    State.GREETED: {*ALWAYS, "STARTTLS", "AUTH", "MAIL"},
    State.MAIL: {*ALWAYS, "RCPT", "DATA", "BDAT"},
    State.RCPT: {*ALWAYS, "RCPT", "DATA", "BDAT"},
    State.CHUNKS: {*ALWAYS, "BDAT"},
}


def test_the_table_knows_every_command():
    assert set(SubmissionSession.commands) == set().union(*ALLOWED.values())


@pytest.mark.rfc("5321 §4.1.4")
@pytest.mark.rfc("4954 §4")
@pytest.mark.rfc("3030 §2")
@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("command", sorted(SubmissionSession.commands))
def test_a_command_out_of_order_is_a_503(command, state):
    no = refusal(command, state, needs_tls=False, needs_login=False)
    if command in ALLOWED[state]:
        assert no is None
    else:
        assert no is not None
        assert (no.code, no.enhanced) == (503, "5.5.1")


@pytest.mark.rfc("3207 §4")
@pytest.mark.rfc("4954 §4")
@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("command", [*sorted(SubmissionSession.commands), "XYZZY", ""])
def test_before_tls_only_what_leads_to_tls_is_allowed(command, state):
    no = refusal(command, state, needs_tls=True, needs_login=True)
    if command in {"EHLO", "HELO", "NOOP", "RSET", "QUIT"}:
        assert no is None
    elif command == "STARTTLS":
        assert (no is None) is (state <= State.GREETED)
    else:
        assert no is not None
        assert (no.code, no.enhanced) == ((538, "5.7.11") if command == "AUTH" else (530, "5.7.0"))


@pytest.mark.rfc("4954 §6")
@pytest.mark.parametrize("command", sorted(SubmissionSession.commands))
def test_before_login_the_rest_wants_a_login(command):
    no = refusal(command, State.GREETED, needs_tls=False, needs_login=True)
    if command in {"EHLO", "HELO", "NOOP", "RSET", "QUIT", "STARTTLS", "AUTH"}:
        assert no is None
    else:
        assert no is not None
        assert (no.code, no.enhanced) == (530, "5.7.0")
