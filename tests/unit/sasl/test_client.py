"""The client side of the mechanisms, against servers that cheat."""

from __future__ import annotations

import base64
import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost.errors import Malformed
from gatepost.model.identity import Secret
from gatepost.sasl import client, scram
from gatepost.sasl.client import MAXIMUM_ITERATIONS, ClientMechanism, Credentials, Login, choose
from gatepost.sasl.wire import decode_base64, encode_base64

TIM = Credentials("tim", Secret(b"tanstaaftanstaaf"))
USER = Credentials("user", Secret(b"pencil"))


@pytest.mark.rfc("2195 §2")
def test_cram_md5_gives_the_response_of_rfc_2195(vectors):
    vector = vectors["cram_md5"]
    login = client.CRAM_MD5.start(TIM)
    assert login.initial is None
    response = login.respond(decode_base64(vector["challenge"].encode()))
    assert encode_base64(response).decode() == vector["response"]
    assert login.succeed() is False


@pytest.mark.rfc("7677 §3")
def test_scram_gives_the_messages_of_rfc_7677(vectors):
    vector = vectors["scram"]["SCRAM-SHA-256"]
    login = client.SCRAM_SHA_256.start(USER, vector["client_nonce"])
    assert login.initial == vector["client_first"].encode()
    assert login.respond(vector["server_first"].encode()) == vector["client_final"].encode()
    assert login.respond(vector["server_final"].encode()) == b""
    assert login.succeed() is True


@pytest.mark.rfc("4616 §4")
def test_plain_gives_the_messages_of_rfc_4616():
    assert client.PLAIN.start(TIM).initial == b"\0tim\0tanstaaftanstaaf"
    kurt = Credentials("Kurt", Secret(b"xipj3plmq"), authzid="Ursel")
    assert client.PLAIN.start(kurt).initial == b"Ursel\0Kurt\0xipj3plmq"


def test_login_gives_the_name_and_then_the_password_whatever_the_prompts_say():
    login = client.LOGIN.start(TIM)
    assert login.initial is None
    assert login.respond(b"User Name\0") == b"tim"
    assert login.respond(b"") == b"tanstaaftanstaaf"
    assert login.succeed() is False


def test_xoauth2_gives_the_published_message(vectors):
    vector = vectors["xoauth2"]
    login = client.XOAUTH2.start(Credentials(vector["name"], token=Secret(vector["token"].encode())))
    assert login.initial == decode_base64(vector["response"].encode())
    assert login.succeed() is False


def test_xoauth2_answers_the_explanation_with_an_empty_line(vectors):
    login = client.XOAUTH2.start(Credentials("tim", token=Secret(b"expired")))
    assert login.respond(decode_base64(vectors["xoauth2"]["problem"].encode())) == b""
    with pytest.raises(Malformed, match="one challenge too many for XOAUTH2"):
        login.respond(b"")


@pytest.mark.parametrize("mechanism", client.MECHANISMS, ids=lambda each: each.name)
def test_a_challenge_too_many_is_malformed(mechanism):
    credentials = Credentials(
        "tim", Secret(b"secret"), Secret(b"token"), binding=("tls-unique", b"finished"), has_certificate=True
    )
    login = mechanism.start(credentials, "nonce")
    with pytest.raises(Malformed):
        for _ in range(5):
            login.respond(b"anything")


@pytest.mark.parametrize("mechanism", [client.LOGIN, client.CRAM_MD5, client.SCRAM_SHA_256], ids=lambda each: each.name)
def test_success_at_once_is_malformed_where_nothing_is_proven_yet(mechanism):
    with pytest.raises(Malformed, match=f"success too early for {mechanism.name}"):
        mechanism.start(TIM).succeed()


def test_success_after_the_name_alone_is_malformed():
    login = client.LOGIN.start(TIM)
    login.respond(b"Username:")
    with pytest.raises(Malformed, match="too early"):
        login.succeed()


@pytest.mark.rfc("5802 §5")
def test_success_before_the_server_has_proven_itself_is_malformed(vectors):
    vector = vectors["scram"]["SCRAM-SHA-256"]
    login = client.SCRAM_SHA_256.start(USER, vector["client_nonce"])
    login.respond(vector["server_first"].encode())
    with pytest.raises(Malformed, match="too early"):
        login.succeed()


@pytest.mark.rfc("5802 §5")
@pytest.mark.parametrize(
    "message",
    [
        b"", b"v=", b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=", b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4",
        b"v=" + base64.b64encode(bytes(32)), b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=,x", b"x=y", b"\xff",
        b"V=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", b"e=invalid-proof", b"e=other-error,x=y", b"e=<script>\r\n",
        b"e=",
        b"x=y,v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=\n",
        b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=,m=x",
    ],
)  # fmt: skip
def test_a_server_that_does_not_prove_itself_is_malformed(vectors, message):
    vector = vectors["scram"]["SCRAM-SHA-256"]
    login = client.SCRAM_SHA_256.start(USER, vector["client_nonce"])
    login.respond(vector["server_first"].encode())
    with pytest.raises(Malformed) as error:
        login.respond(message)
    assert error.value.reason.isprintable()
    with pytest.raises(Malformed):
        login.succeed()


def test_the_error_that_a_server_names_is_told():
    login = client.SCRAM_SHA_256.start(USER, "nonce")
    login.respond(b"r=nonceserver,s=c2FsdA==,i=4096")
    with pytest.raises(Malformed, match="server ends SCRAM with unknown-user"):
        login.respond(b"e=unknown-user")


@pytest.mark.rfc("5802 §5.1")
@pytest.mark.parametrize(
    "message",
    [
        b"", b"r=nonceserver", b"r=nonceserver,s=c2FsdA==", b"s=c2FsdA==,r=nonceserver,i=4096", b"e=other-error",
        b"r=nonce,s=c2FsdA==,i=4096", b"r=Nonceserver,s=c2FsdA==,i=4096", b"r=server,s=c2FsdA==,i=4096",
        b"r=servernonce,s=c2FsdA==,i=4096", b"r=nonceser ver,s=c2FsdA==,i=4096", b"r=,s=c2FsdA==,i=4096",
        b"r=nonceserver,s=,i=4096", b"r=nonceserver,s=c2FsdA,i=4096", b"r=nonceserver,s=c2FsdB==,i=4096",
        b"r=nonceserver,s=c2FsdA==,i=", b"r=nonceserver,s=c2FsdA==,i=-4096", b"r=nonceserver,s=c2FsdA==,i=04096",
        b"r=nonceserver,s=c2FsdA==,i=4096x", b"r=nonceserver,s=c2FsdA==,i=4e9", b"r=nonceserver,s=c2FsdA==,i=4096,x",
        b"r=nonceserver,s=c2FsdA==,i=4096,m=ext", b"m=ext,r=nonceserver,s=c2FsdA==,i=4096", b"\xff",
        b"r=nonceserver,s=c2FsdA==,i=4096\n", "r=nonceserver,s=c2FsdA==,i=４０９６".encode(),  # noqa: RUF001
    ],
)  # fmt: skip
def test_a_server_first_message_of_another_form_is_malformed(message):
    login = client.SCRAM_SHA_256.start(USER, "nonce")
    with pytest.raises(Malformed):
        login.respond(message)
    with pytest.raises(Malformed):
        login.succeed()


@pytest.mark.rfc("7677 §4")
@pytest.mark.parametrize("count", [1, 4095, MAXIMUM_ITERATIONS + 1, 10_000_000, 9_999_999_999, 10**40])
def test_too_few_and_too_many_iterations_are_refused_before_any_is_computed(monkeypatch, count):
    monkeypatch.setattr(client, "keys_of", lambda *_: pytest.fail("computed"))
    login = client.SCRAM_SHA_256.start(USER, "nonce")
    with pytest.raises(Malformed):
        login.respond(f"r=nonceserver,s=c2FsdA==,i={count}".encode())


@pytest.mark.parametrize("count", [4096, MAXIMUM_ITERATIONS])
def test_iteration_counts_at_the_limits_are_computed(monkeypatch, count):
    asked: list[int] = []

    def keys_of(_password: bytes, _salt: bytes, iterations: int, _scheme: str) -> scram.Keys:
        asked.append(iterations)
        return scram.Keys(bytes(32), bytes(32), bytes(32))

    monkeypatch.setattr(client, "keys_of", keys_of)
    client.SCRAM_SHA_256.start(USER, "nonce").respond(f"r=nonceserver,s=c2FsdA==,i={count},x=ignored".encode())
    assert asked == [count]


def test_each_login_has_a_nonce_of_its_own_with_enough_bits():
    nonces = {(client.SCRAM_SHA_256.start(USER).initial or b"").rpartition(b"r=")[2] for _ in range(10)}
    assert len(nonces) == 10
    assert all(len(nonce) >= 32 for nonce in nonces)


@pytest.mark.parametrize(
    "credentials",
    [
        Credentials("tim"),
        Credentials("tim", Secret(b"")),
        Credentials("", Secret(b"secret")),
        Credentials("t\0im", Secret(b"secret")),
        Credentials("tim", Secret(b"sec\0ret")),
        Credentials("tim", Secret(b"secret"), authzid="urs\0el"),
        Credentials("tim", token=Secret(b"token")),
    ],
)
@pytest.mark.parametrize(
    "mechanism",
    [each for each in client.MECHANISMS if not each.takes_token and not each.takes_certificate],
    ids=lambda x: x.name,
)
def test_credentials_that_the_mechanism_cannot_carry_are_malformed(mechanism, credentials):
    with pytest.raises(Malformed):
        mechanism.start(credentials)


@pytest.mark.parametrize(
    "credentials",
    [
        Credentials("tim", Secret(b"secret")),
        Credentials("tim", token=Secret(b"")),
        Credentials("", token=Secret(b"token")),
        Credentials("t\x01im", token=Secret(b"token")),
        Credentials("tim", token=Secret(b"to\x01ken")),
    ],
)
def test_credentials_that_xoauth2_cannot_carry_are_malformed(credentials):
    with pytest.raises(Malformed):
        client.XOAUTH2.start(credentials)


BOTH = Credentials("tim", Secret(b"secret"), Secret(b"token"))
PASSWORD = Credentials("tim", Secret(b"secret"))
BOUND = Credentials("tim", Secret(b"secret"), binding=("tls-exporter", bytes(32)))
TOKEN = Credentials("tim", token=Secret(b"token"))


@pytest.mark.parametrize(
    ("offered", "credentials", "chosen"),
    [
        ("LOGIN PLAIN CRAM-MD5 SCRAM-SHA-256 XOAUTH2", BOTH, client.XOAUTH2),
        ("LOGIN PLAIN CRAM-MD5 SCRAM-SHA-256 XOAUTH2", PASSWORD, client.SCRAM_SHA_256),
        ("LOGIN PLAIN CRAM-MD5 SCRAM-SHA-256 XOAUTH2", TOKEN, client.XOAUTH2),
        ("LOGIN PLAIN CRAM-MD5", BOTH, client.PLAIN),
        ("CRAM-MD5 LOGIN", PASSWORD, client.LOGIN),
        ("LOGIN XOAUTH2", PASSWORD, client.LOGIN),
        ("CRAM-MD5 NTLM", PASSWORD, client.CRAM_MD5),
        ("plain Xoauth2", PASSWORD, client.PLAIN),
        ("LOGIN PLAIN", TOKEN, None),
        ("XOAUTH2", PASSWORD, None),
        ("PLAIN OAUTHBEARER", BOTH, client.OAUTHBEARER),
        ("OAUTHBEARER XOAUTH2", BOTH, client.XOAUTH2),
        ("OAUTHBEARER", PASSWORD, None),
        ("NTLM GSSAPI SCRAM-SHA-256-PLUS", BOTH, None),
        ("PLAIN SCRAM-SHA-1", PASSWORD, client.SCRAM_SHA_1),
        ("SCRAM-SHA-1 SCRAM-SHA-256 SCRAM-SHA-512", PASSWORD, client.SCRAM_SHA_512),
        ("SCRAM-SHA-512 SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS", BOUND, client.SCRAM_SHA_256_PLUS),
        ("SCRAM-SHA-256 SCRAM-SHA-1", BOUND, client.SCRAM_SHA_256),
        ("SCRAM-SHA-512-PLUS", Credentials("tim", token=Secret(b"token"), binding=("tls-unique", b"x")), None),
        ("", BOTH, None),
        ("PLAIN", Credentials("tim", Secret(b"")), None),
    ],
)
def test_the_best_mechanism_that_both_sides_have_is_chosen(offered, credentials, chosen):
    assert choose(offered.split(), credentials) is chosen


def test_what_may_take_long_says_so():
    assert all(each.is_slow is each.name.startswith("SCRAM-") for each in client.MECHANISMS)


def test_nothing_shows_a_secret():
    assert "secret" not in repr(BOTH)
    assert "token=***" in repr(BOTH)
    with pytest.raises(Malformed) as error:
        client.PLAIN.start(Credentials("tim", Secret(b"sec\0ret")))
    assert "sec" not in str(error.value)


@given(st.lists(st.binary(max_size=80), max_size=4), st.sampled_from(client.MECHANISMS))
@settings(deadline=None)
def test_any_challenges_give_responses_or_malformed(challenges: list[bytes], mechanism: ClientMechanism):
    login: Login = mechanism.start(dataclasses.replace(BOTH, binding=BOUND.binding, has_certificate=True), "nonce")
    try:
        for challenge in challenges:
            assert isinstance(login.respond(challenge), bytes)
        login.succeed()
    except Malformed:
        pass
    else:
        assert not mechanism.name.startswith("SCRAM-")
