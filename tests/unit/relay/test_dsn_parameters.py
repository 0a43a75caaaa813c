"""What a next hop with DSN is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatepost.model.address import parse_mailbox
from gatepost.model.envelope import Envelope, Notify, Recipient, Ret
from gatepost.relay.dsn_parameters import mail_parameters, rcpt_parameters

ANN = Recipient(parse_mailbox("ann@example.net"))
ENVELOPE = Envelope(None, (ANN,))


@pytest.mark.rfc("3461 §5.2.1")
@pytest.mark.parametrize(
    ("ret", "envid", "said"),
    [
        (None, "", ""),
        (Ret.FULL, "", " RET=FULL"),
        (Ret.HEADERS, "Q+2BqQ", " RET=HDRS ENVID=Q+2BqQ"),
        (None, "a", " ENVID=a"),
    ],
)
def test_ret_and_envid_go_on_as_they_came(ret: Ret | None, envid: str, said: str) -> None:
    assert mail_parameters(replace(ENVELOPE, ret=ret, envid=envid)) == said


@pytest.mark.rfc("3461 §5.2.1")
@pytest.mark.parametrize(
    ("notify", "orcpt", "said"),
    [
        (None, "", ""),
        (Notify.NEVER, "", " NOTIFY=NEVER"),
        (Notify.DELAY | Notify.SUCCESS, "", " NOTIFY=SUCCESS,DELAY"),
        (Notify.SUCCESS | Notify.FAILURE | Notify.DELAY, "", " NOTIFY=SUCCESS,FAILURE,DELAY"),
        (None, "rfc822;Ann+2BB@Example.NET", " ORCPT=rfc822;Ann+2BB@Example.NET"),
        (Notify.FAILURE, "x400;/C=no", " NOTIFY=FAILURE ORCPT=x400;/C=no"),
    ],
)
def test_notify_and_orcpt_go_on_as_they_came(notify: Notify | None, orcpt: str, said: str) -> None:
    each = replace(ANN, notify=notify, orcpt=orcpt)
    assert rcpt_parameters(each, in_utf8=False) == rcpt_parameters(each, in_utf8=True) == said


@pytest.mark.rfc("6533 §3")
def test_an_address_in_utf_8_is_written_in_ascii_where_smtputf8_is_not_used() -> None:
    each = replace(ANN, orcpt="utf-8;änn@example.net")
    assert rcpt_parameters(each, in_utf8=True) == " ORCPT=utf-8;änn@example.net"
    assert rcpt_parameters(each, in_utf8=False) == " ORCPT=utf-8;\\x{E4}nn@example.net"
