"""DKIM: canonical forms, the vectors of RFC 8463, and signatures that dkimpy verifies, whatever the message."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import tomllib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from dkim.canonicalization import Relaxed
from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost.message.dkim import BodyHash, SigningKey, canonical_field, sign, signatures, without_signatures
from gatepost.message.dkim_key import read_key, record, signing_key
from gatepost.message.headers import Field, parse_header
from gatepost.model.identity import Secret
from signatures import MESSAGES, domain_keys, make_signer, records, verified

VECTORS = Path(__file__).parents[2] / "vectors" / "dkim.toml"
RFC8463 = tomllib.loads(VECTORS.read_text())["rfc8463"]


def body_hash(*pieces: bytes) -> bytes:
    made = BodyHash()
    for piece in pieces:
        made.update(piece)
    return made.digest()


def signed(name: str, **changes: bytes) -> bytes:
    section, body = MESSAGES[name]
    return sign(parse_header(section), body_hash(body), KEYS, 1_700_000_000.0) + body


KEYS = [each.key for each in domain_keys()["example.org"]]


def names_of(field: bytes) -> list[str]:
    tag = re.search(rb"\bh=([^;]*);", field)
    assert tag is not None
    return re.sub(r"\s", "", tag[1].decode()).split(":")


# Canonical forms.


@pytest.mark.rfc("6376 §3.4.2")
def test_the_fields_of_the_rfc_have_its_relaxed_form() -> None:
    # RFC 6376 §3.4.5
    assert canonical_field(b"A: X\r\n") == b"a:X\r\n"
    assert canonical_field(b"B : Y\t\r\n\tZ  \r\n") == b"b:Y Z\r\n"
    # RFC 6376 §2.8: white space is spaces and tabs, no more.
    assert canonical_field(b"A: \x0b a\t \x0cb \x0c \r\n") == b"a:\x0b a \x0cb \x0c\r\n"


@pytest.mark.rfc("6376 §3.4.4")
def test_the_body_of_the_rfc_has_its_relaxed_form() -> None:
    # RFC 6376 §3.4.5
    assert body_hash(b" C \r\nD \t E\r\n\r\n\r\n") == hashlib.sha256(b" C\r\nD E\r\n").digest()


@pytest.mark.rfc("6376 §3.4.4")
@pytest.mark.parametrize("body", [b"", b"\r\n", b"\r\n\r\n\r\n", b" \t\r\n  \r\n", b" "])
def test_a_body_without_text_is_an_empty_one(body: bytes) -> None:
    assert base64.b64encode(body_hash(body)) == b"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


@pytest.mark.rfc("6376 §3.4.4")
def test_a_last_line_without_its_end_gets_one() -> None:
    assert body_hash(b"a\r\nb") == body_hash(b"a\r\nb\r\n")


def test_empty_lines_within_a_body_count_however_many() -> None:
    made = BodyHash()
    made.update(b"a")
    for _ in range(100):
        made.update(b"\r\n" * 1000)
    made.update(b"b\r\n")
    assert made.digest() == hashlib.sha256(b"a" + b"\r\n" * 100_000 + b"b\r\n").digest()


BODIES = st.lists(
    st.sampled_from([b"a", b"\xfc", b" ", b"\t", b"  ", b"\r\n", b"\r\n\r\n", b".", b"\x0b", b"\x0c"])
).map(b"".join)


@given(BODIES, st.lists(st.integers(0, 60)))
@settings(max_examples=300, deadline=None)
def test_a_body_hashes_as_dkimpy_has_it_wherever_it_is_cut(body: bytes, cuts: list[int]) -> None:
    # dkimpy looks for white space before CRLF only, and SMTP has no last line without one.
    body = body + b"\r\n" if body else body
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[start:end] for start, end in itertools.pairwise(places)]
    # dkimpy leaves a body without text as it is, if it is one empty line; RFC 6376 §3.4.4 says that it is empty.
    expected = Relaxed.canonicalize_body(body)
    assert body_hash(*pieces) == hashlib.sha256(b"" if expected == b"\r\n" else expected).digest()


@given(
    st.sampled_from([b"Subject", b"SUBJECT", b"X-y"]),
    st.lists(st.sampled_from([b"a", b"\xfc", b":", b" ", b"\t", b"  ", b"\r\n ", b"\r\n\t", b"a\x0bb", b"a\x0cb"])).map(
        b"".join
    ),
)
@settings(max_examples=300, deadline=None)
def test_a_field_is_as_dkimpy_has_it(name: bytes, value: bytes) -> None:
    [(their_name, their_value)] = Relaxed.canonicalize_headers([(name, value + b"\r\n")])
    assert canonical_field(name + b":" + value + b"\r\n") == their_name + b":" + their_value


# The vectors of RFC 8463.


@pytest.mark.rfc("8463 §3")
def test_the_signatures_of_rfc_8463_come_out_byte_for_byte() -> None:
    message = RFC8463["message"].lstrip("\n").replace("\n", "\r\n").encode()
    section, _, body = message.partition(b"\r\n\r\n")
    fields = parse_header(section + b"\r\n\r\n").fields
    assert base64.b64encode(body_hash(body)).decode() == RFC8463["body_hash"]
    seed = Ed25519PrivateKey.from_private_bytes(base64.b64decode(RFC8463["ed25519_seed"]))
    keys = [seed, read_key(Secret(RFC8463["rsa_key"].strip().encode()))]
    named = {field.name: field.raw for field in fields}
    hashed = b"".join([canonical_field(named[name]) for name in (b"from", b"to", b"subject", b"date", b"message-id")])
    for field, key in zip(fields, keys, strict=False):
        made = signing_key(RFC8463["domain"], "any", key)
        unsigned, _, printed = field.raw.rpartition(b"b=")
        digest = hashlib.sha256(hashed + canonical_field(unsigned + b"b=\r\n")[:-2]).digest()
        assert base64.b64encode(made.sign(digest)) == re.sub(rb"\s", b"", printed)


@pytest.mark.rfc("8463 §4.2")
def test_the_records_of_rfc_8463_come_out_byte_for_byte() -> None:
    seed = Ed25519PrivateKey.from_private_bytes(base64.b64decode(RFC8463["ed25519_seed"]))
    assert record(seed) == RFC8463["ed25519_record"]
    assert record(read_key(Secret(RFC8463["rsa_key"].strip().encode()))) == RFC8463["rsa_record"]


# Signatures.


# dkimpy takes no white space before a colon for part of a field (RFC 5322 §4.5); opendkim and Mail::DKIM do.
@pytest.mark.parametrize("name", sorted(MESSAGES.keys() - {"spaces around a colon"}))
def test_dkimpy_verifies_both_signatures(name: str) -> None:
    assert verified(signed(name)) == [True, True]


@pytest.mark.rfc("6376 §3.5")
def test_the_domain_that_signs_stands_in_both_of_its_tags_and_nothing_limits_the_body() -> None:
    section = signed("plain").removesuffix(b"hello\r\n")
    assert section.count(b"; d=example.org;") == 2
    assert section.count(b"; i=@example.org;") == 2
    assert not re.search(rb"[;\s]l=", section)
    assert [each.raw.split(b";")[1] for each in parse_header(section).fields[:2]] == [
        b" a=rsa-sha256",
        b" a=ed25519-sha256",
    ]


@pytest.mark.parametrize(
    "added",
    [
        b"From: x@evil.example",
        b"To: x@evil.example",
        b"Cc: x@evil.example",
        b"Subject: other",
        b"Date: Tue, 2 Jun 2026 10:00:00 +0000",
        b"Message-ID: <2@example.org>",
        b"Reply-To: x@evil.example",
        b"In-Reply-To: <0@example.org>",
        b"References: <0@example.org>",
        b"MIME-Version: 1.0",
        b"Content-Type: text/html",
        b"Content-Transfer-Encoding: base64",
    ],
)
def test_a_field_that_somebody_adds_breaks_the_signature(added: bytes) -> None:
    assert verified(signed("plain").replace(b"\r\n\r\n", b"\r\n" + added + b"\r\n\r\n", 1)) == [False, False]
    assert verified(added + b"\r\n" + signed("plain")) == [False, False]


@pytest.mark.rfc("8058 §4")
def test_one_click_unsubscription_is_signed_and_nobody_adds_another() -> None:
    message = signed("all kinds of fields")
    assert {"list-unsubscribe", "list-unsubscribe-post"} <= set(names_of(message))
    assert verified(b"List-Unsubscribe: <https://evil.example>\r\n" + message) == [False, False]


@pytest.mark.parametrize(
    "added", [b"Received: from x by y; now", b"X-Spam: no", b"List-Id: <l.example.net>", b"Resent-From: x@example.net"]
)
def test_what_others_may_put_on_top_breaks_nothing(added: bytes) -> None:
    assert verified(added + b"\r\n" + signed("plain")) == [True, True]


@pytest.mark.rfc("6376 §5.4.2")
def test_of_fields_of_one_name_the_last_is_signed_first() -> None:
    message = signed("all kinds of fields")
    assert names_of(message).count("resent-from") == 2
    assert verified(b"Resent-From: c@example.org\r\n" + message) == [True, True]
    swapped = message.replace(b"Resent-From: a@", b"Resent-From: c@").replace(b"Resent-From: b@", b"Resent-From: a@")
    assert verified(swapped) == [False, False]


@pytest.mark.parametrize("count", [0, 1, 39, 40, 41, 60])
def test_many_fields_are_signed_like_few(count: int) -> None:
    section, body = MESSAGES["plain"]
    more = b"".join([b"Resent-Date: %d\r\n" % number for number in range(count)])
    message = sign(parse_header(more + section), body_hash(body), KEYS, 1_700_000_000.0) + body
    assert names_of(message).count("resent-date") == count
    assert verified(message) == [True, True]
    changed = [b"Resent-Date: %d\r\n" % number for number in (0, count // 2, count - 1) if count]
    assert all(verified(message.replace(each, b"Resent-Date: x\r\n")) == [False, False] for each in changed)


@pytest.mark.parametrize("change", [b"hellO\r\n", b"hello\r\nmore\r\n", b"hel lo\r\n", b""])
def test_another_body_breaks_the_signature(change: bytes) -> None:
    section, _, _ = signed("plain").partition(b"\r\n\r\n")
    with pytest.raises(AssertionError, match="body hash"):
        verified(section + b"\r\n\r\n" + change)


def test_fields_that_are_left_out_may_change() -> None:
    section, body = MESSAGES["plain"]
    left_out = frozenset({b"message-id", b"date"})
    message = sign(parse_header(section), body_hash(body), KEYS, 0.0, left_out) + body
    assert not {"message-id", "date"} & set(names_of(message))
    assert verified(message.replace(b"<1@example.org>", b"<other@ses.example>")) == [True, True]


@pytest.mark.rfc("6376 §5.6")
def test_signatures_stand_under_our_received_and_above_all_others() -> None:
    section, body = MESSAGES["a signature of somebody else"]
    made = sign(parse_header(b"Received: by us; now\r\n" + section), body_hash(body), KEYS, 0.0)
    fields = parse_header(made).fields
    assert [each.name for each in fields[:4]] == [b"received", *[b"dkim-signature"] * 3]
    assert [b"d=example.org" in each.raw for each in fields[1:4]] == [True, True, False]
    assert verified(made + body) == [True, True]


def test_only_signatures_of_ours_are_taken_away() -> None:
    section, body = MESSAGES["a signature of somebody else"]
    section = b"Received: by us; now\r\n" + section
    made = sign(parse_header(section), body_hash(body), KEYS, 0.0)
    assert without_signatures(made, 2) == section
    assert without_signatures(section, 0) == section


def test_no_line_of_a_signature_is_long() -> None:
    fields = parse_header(signed("fields twice").partition(b"\r\n\r\n")[0] + b"\r\n\r\n").fields[:2]
    assert max(len(line) for field in fields for line in field.raw.split(b"\r\n")) < 100
    many = [Field(b"subject", b"Subject: %d\r\n" % number) for number in range(2000)]
    assert max(len(line) for line in signatures(many, b"", KEYS, 0.0).split(b"\r\n")) < 100


def test_a_key_shows_nothing_of_itself() -> None:
    assert repr(KEYS[0]) == "SigningKey(rsa1._domainkey.example.org, rsa-sha256)"
    assert isinstance(KEYS[0], SigningKey)


def test_the_same_records_verify_what_a_signer_makes() -> None:
    content = b"".join(MESSAGES["8-bit"])
    made, count = make_signer().sign_whole(content)
    assert count == 2
    assert verified(made, records()) == [True, True]
