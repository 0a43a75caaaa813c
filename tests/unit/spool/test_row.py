from __future__ import annotations

import json
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import SpoolUnavailable
from gatepost.model.address import Mailbox
from gatepost.model.envelope import Body, Envelope, MessageId, Notify, Recipient, Ret
from gatepost.spool.row import entry_of, fresh_progress, row_of
from gatepost.spool.spool import Entry, Progress, Status

texts = st.text(st.characters(exclude_categories=()), max_size=20)
mailboxes = st.builds(Mailbox, texts, st.sampled_from(["example.org", "bücher.example", "[192.0.2.1]", "[IPv6:::1]"]))
times = st.floats(allow_nan=False, allow_infinity=False)
envelopes = st.builds(
    Envelope,
    reverse_path=st.none() | mailboxes,
    recipients=st.lists(
        st.builds(Recipient, mailboxes)
        | st.builds(
            Recipient,
            mailboxes,
            notify=st.none() | st.sampled_from([Notify.NEVER, Notify.DELAY, Notify.SUCCESS | Notify.FAILURE]),
            orcpt=texts,
        ),
        min_size=1,
        max_size=5,
    ).map(tuple),
    body=st.sampled_from(Body),
    smtputf8=st.booleans(),
    account=texts,
    credential=texts,
    header_bytes=st.integers(0, 1 << 40),
    size_bytes=st.integers(0, 1 << 40),
    sandbox=st.booleans(),
    ret=st.none() | st.sampled_from(Ret),
    envid=texts,
    route=texts,
)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    envelope = draw(envelopes)
    progress = fresh_progress(envelope)
    if draw(st.booleans()):
        progress = tuple(
            Progress(
                each,
                draw(st.sampled_from(Status)),
                draw(st.integers(0, 99)),
                draw(texts),
                draw(texts),
                draw(times),
                draw(st.booleans()),
            )
            for each in envelope.recipients
        )
    return Entry(
        MessageId("0" * 16),
        envelope,
        draw(times),
        draw(times),
        draw(st.integers(0, 1 << 60)),
        draw(times),
        draw(st.booleans()),
        progress,
        lane=draw(st.integers(0, 3 << 32)),
    )


@given(entries(), st.none() | st.integers(0, 1 << 62))
def test_an_entry_comes_back_from_the_database_as_it_was(entry, file_bytes):
    connection = sqlite3.connect(":memory:")
    try:
        row = connection.execute("SELECT ?,?,?,?,?,?,?,?,?,?,?", (*row_of(entry, file_bytes), entry.crashes)).fetchone()
    finally:
        connection.close()
    assert entry_of(row) == entry
    assert row[6] == file_bytes


def test_a_usual_row_is_short():
    envelope = Envelope(Mailbox("tim", "example.org"), (Recipient(Mailbox("ann", "example.net")),), account="tim")
    row = row_of(Entry(MessageId("0" * 16), envelope, 1.0, 1.0, progress=fresh_progress(envelope)), None)
    assert row[8] == ""
    assert len(row[7]) < 100
    assert row[7] == '{"from":"tim@example.org","to":["ann@example.net"],"size":0,"header":0,"account":"tim"}'


@pytest.mark.rfc("3461 §4.1")
@pytest.mark.rfc("3461 §4.2")
@pytest.mark.rfc("3461 §4.3")
@pytest.mark.rfc("3461 §4.4")
def test_what_was_asked_of_reports_stands_with_its_recipient():
    recipients = (
        Recipient(Mailbox("ann", "example.net"), Notify.SUCCESS | Notify.DELAY, "rfc822;Ann+2BNews@Example.NET"),
        Recipient(Mailbox("bob", "example.net")),
        Recipient(Mailbox("eve", "example.net"), Notify.NEVER),
    )
    envelope = Envelope(None, recipients, ret=Ret.HEADERS, envid="Q+2BQ")
    row = row_of(Entry(MessageId("0" * 16), envelope, 1.0, 1.0, progress=fresh_progress(envelope)), None)
    text = row[7]
    assert '"ret":"HDRS","envid":"Q+2BQ","dsn":[[10,"rfc822;Ann+2BNews@Example.NET"],[0,""],[1,""]]' in text
    assert entry_of((*row, 0)).envelope == envelope


def test_that_a_delay_was_told_stands_only_where_it_was():
    ann, bob = (Recipient(Mailbox(name, "example.net")) for name in ("ann", "bob"))
    envelope = Envelope(None, (ann, bob))
    progress = (Progress(ann, Status.PENDING, 7, "451 no", "mx", 1.5, True), Progress(bob, Status.PENDING, 7, "451 no"))
    row = row_of(Entry(MessageId("0" * 16), envelope, 1.0, 1.0, progress=progress), None)
    assert row[8] == '[["pending",7,"451 no","mx",1.5,true],["pending",7,"451 no","",0.0]]'
    assert entry_of((*row, 0)).progress == progress


def test_a_row_of_an_older_version_asks_nothing_of_reports():
    text = '{"from":"tim@example.org","to":["ann@example.net"],"size":1,"header":1,"account":"tim"}'
    envelope = entry_of((MessageId("0" * 16), 1.0, 0, 1.0, 0, 0.0, None, text, "", 0, 0)).envelope
    assert (envelope.ret, envelope.envid) == (None, "")
    assert [(each.notify, each.orcpt) for each in envelope.recipients] == [(None, "")]


@pytest.mark.parametrize(
    ("envelope", "progress"),
    [
        ("", ""),
        ("{", ""),
        ("[]", ""),
        ("{}", ""),
        ('{"from":null,"to":[1],"size":1,"header":1}', ""),
        ('{"from":null,"to":["a@b"],"size":1,"header":1,"body":"9BIT"}', ""),
        ('{"from":null,"to":["a@b"],"size":1,"header":1,"ret":"HALF"}', ""),
        ('{"from":null,"to":["a@b"],"size":1,"header":1,"dsn":[]}', ""),
        ('{"from":null,"to":["a@b"],"size":1,"header":1,"dsn":[[99,""]]}', ""),
        ('{"from":null,"to":["a@b"],"size":1,"header":1,"dsn":[1]}', ""),
        ('{"from":null,"to":["a@b"],"size":1,"header":1}', "[]"),
        ('{"from":null,"to":["a@b"],"size":1,"header":1}', '[["maybe",1,"","",0]]'),
        ('{"from":null,"to":["a@b"],"size":1,"header":1}', '[["failed",1,""]]'),
    ],
)
def test_a_damaged_row_is_trouble_of_the_spool(envelope, progress):
    with pytest.raises(SpoolUnavailable, match="0000000000000000"):
        entry_of((MessageId("0" * 16), 1.0, 0, 1.0, 0, 0.0, None, envelope, progress, 0, 0))


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner)).map(json.dumps))
def test_whatever_stands_in_a_row_it_is_an_entry_or_trouble_of_the_spool(text):
    envelope = '{"from":null,"to":["a@b"],"size":1,"header":1}'
    for row in ((text, ""), (envelope, text)):
        try:
            entry = entry_of((MessageId("0" * 16), 1.0, 0, 1.0, 0, 0.0, None, *row, 0, 0))
        except SpoolUnavailable:
            continue
        assert isinstance(entry, Entry)
