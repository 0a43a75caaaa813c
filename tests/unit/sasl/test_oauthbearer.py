"""OAUTHBEARER, server side."""

from __future__ import annotations

import json

import pytest

from gatepost.errors import Malformed
from gatepost.model.identity import Secret
from gatepost.sasl import client
from gatepost.sasl.mechanism import Context
from gatepost.sasl.oauth import OAUTHBEARER
from gatepost.sasl.steps import Challenge, CheckToken, Denied, Granted, TokenProblem, TokenRefused
from gatepost.sasl.wire import decode_base64, encode_base64

NOBODY = Context("host", lambda: "")


@pytest.mark.rfc("7628 §4")
def test_the_examples_of_rfc_7628_log_in(vectors, play, stores):
    for vector in vectors["oauthbearer"]:
        stores.asked.clear()
        stores.tokens[vector["token"].encode()] = vector["name"]
        message = decode_base64(vector["response"].encode())
        assert play(OAUTHBEARER, message) == Granted(stores.identity(vector["name"]), vector["name"])
        assert stores.asked == [CheckToken(vector["name"], Secret(vector["token"].encode()))]
        assert play(OAUTHBEARER, None, message) == Granted(stores.identity(vector["name"]), vector["name"])


@pytest.mark.rfc("7628 §4.3")
def test_an_empty_value_gets_the_answer_of_the_rfc(vectors):
    vector = vectors["oauthbearer_asking"]
    exchange = OAUTHBEARER.start(decode_base64(vector["response"].encode()), NOBODY)
    assert next(exchange) == CheckToken(vector["name"], Secret(b""))
    step = exchange.send(TokenRefused(TokenProblem.INVALID, vector["scope"], vector["configuration"]))
    assert isinstance(step, Challenge)
    assert step.is_refusal
    assert encode_base64(step.data).decode() == vector["problem"]
    with pytest.raises(StopIteration) as stop:
        exchange.send(decode_base64(vector["answer"].encode()))
    assert stop.value.value == Denied("token refused: invalid")


@pytest.mark.rfc("7628 §3.2.2")
@pytest.mark.parametrize(
    ("problem", "status"),
    [
        (TokenProblem.MALFORMED, "invalid_request"),
        (TokenProblem.INVALID, "invalid_token"),
        (TokenProblem.SCOPE, "insufficient_scope"),
    ],
)
@pytest.mark.parametrize("answer", [b"\x01", b"", b"anything"])
def test_a_refused_token_is_explained_and_then_a_no_whatever_the_client_answers(problem, status, answer):
    exchange = OAUTHBEARER.start(b"n,a=tim,\x01auth=Bearer t.o-k~e+n/==\x01\x01", NOBODY)
    assert next(exchange) == CheckToken("tim", Secret(b"t.o-k~e+n/=="))
    step = exchange.send(TokenRefused(problem))
    assert isinstance(step, Challenge)
    assert json.loads(step.data) == {"status": status}
    with pytest.raises(StopIteration) as stop:
        exchange.send(answer)
    assert stop.value.value == Denied(f"token refused: {problem.value}")


@pytest.mark.rfc("7628 §3.1")
@pytest.mark.parametrize(
    "message",
    [
        b"n,a=Tim,\x01auth=Bearer token\x01\x01",
        b"y,a=tim,\x01auth=Bearer token\x01\x01",
        b"n,a=tim,\x01auth=bearer token\x01\x01",
        b"n,a=tim,\x01auth=BEARER  token\x01port=587\x01host=mail.example.org\x01\x01",
        b"n,a=tim,\x01host=another.example\x01port=1\x01auth=Bearer token\x01\x01",
        b"n,a=tim,\x01host=\x01port=65535\x01auth=Bearer token\x01mthd=\x01qs=a=b&c=\r\n\t d\x01\x01",
    ],
)
def test_order_letter_case_host_and_pairs_nobody_knows_do_not_matter(play, stores, message):
    stores.tokens[b"token"] = "tim"
    assert play(OAUTHBEARER, message) == Granted(stores.identity("tim"), "tim")


@pytest.mark.rfc("7628 §3.1")
def test_without_a_name_the_token_says_who_it_is(play, stores):
    stores.tokens[b"token"] = ""
    assert play(OAUTHBEARER, b"n,,\x01auth=Bearer token\x01\x01") == Granted(stores.identity(""))
    assert stores.asked == [CheckToken("", Secret(b"token"))]


def test_an_escaped_name_is_read(play, stores):
    stores.tokens[b"token"] = "tim the,=enchanter"
    message = b"n,a=tim the=2C=3Denchanter,\x01auth=Bearer token\x01\x01"
    assert isinstance(play(OAUTHBEARER, message), Granted)


@pytest.mark.rfc("6750 §2.1")
@pytest.mark.parametrize(
    "pairs",
    [b"", b"host=x\x01", b"auth=Bearer\x01", b"auth=Bearer \x01", b"auth=Basic token\x01", b"auth=token\x01",
     b"auth=Bearer to ken\x01", b"auth=Bearer =\x01", b"auth=Bearer to=ken\x01", b"auth=Bearer token \x01",
     b"Auth=Bearer token\x01", b"auth=Bearer token\r\n\x01", b"auth= \x01",
     b"port=\x01auth=Bearer token\x01", b"port=0\x01auth=Bearer token\x01", b"port=65536\x01auth=Bearer token\x01",
     b"port=+587\x01auth=Bearer token\x01", b"port=smtp\x01auth=Bearer token\x01"],
)  # fmt: skip
def test_what_is_no_bearer_token_or_no_port_is_explained_without_asking_anybody(play, stores, pairs):
    stores.tokens[b"token"] = "tim"
    assert play(OAUTHBEARER, b"n,a=tim,\x01" + pairs + b"\x01", b"\x01") == Denied("token refused: malformed")
    assert json.loads(play.challenges[0]) == {"status": "invalid_request"}
    assert stores.asked == []


def test_a_token_of_somebody_else_is_a_no(play, stores):
    stores.tokens[b"token"] = "tim"
    assert play(OAUTHBEARER, b"n,a=eve,\x01auth=Bearer token\x01\x01", b"\x01") == Denied("token refused: invalid")


@pytest.mark.rfc("7628 §3.1")
def test_channel_binding_is_refused_for_there_is_none(play, stores):
    stores.tokens[b"token"] = "tim"
    outcome = play(OAUTHBEARER, b"p=tls-exporter,a=tim,\x01auth=Bearer token\x01\x01")
    assert outcome == Denied("channel binding with a mechanism that has none")
    assert stores.asked == []


@pytest.mark.parametrize(
    "message",
    [
        b"", b"\x01", b"\x01\x01", b"n,,", b"n,,\x01", b"n,,\x01auth=Bearer token", b"n,,\x01auth=Bearer token\x01",
        b"n,,auth=Bearer token\x01\x01", b"n,,x\x01auth=Bearer token\x01\x01", b"n,\x01auth=Bearer token\x01\x01",
        b"n,a=,\x01auth=Bearer token\x01\x01", b"n,a=\xff,\x01auth=Bearer token\x01\x01",
        b"n,a=t\0im,\x01auth=Bearer token\x01\x01", b"n,a=t=im,\x01auth=Bearer token\x01\x01",
        b"n,a=" + b"x" * 256 + b",\x01auth=Bearer token\x01\x01", b"n,n=tim,\x01auth=Bearer token\x01\x01",
        b"F,n,,\x01auth=Bearer token\x01\x01", b"n,,\x01auth=Bearer token\x01auth=Bearer token\x01\x01",
        b"n,,\x01auth=Bearer token\x01\x01\x01", b"n,,\x01\x01auth=Bearer token\x01\x01",
        b"n,,\x01\x01\x01", b"n,,\x01=x\x01auth=Bearer token\x01\x01", b"n,,\x01nothing\x01auth=Bearer token\x01\x01",
        b"n,,\x01x-y=z\x01auth=Bearer token\x01\x01", b"n,,\x01auth=Bearer t\xc3\xb6ken\x01\x01",
        b"n,,\x01auth=Bearer token\0\x01\x01", b"user=tim\x01auth=Bearer token\x01\x01",
    ],
)  # fmt: skip
def test_a_message_of_another_form_is_malformed_and_no_store_is_asked(play, stores, message):
    stores.tokens[b"token"] = ""
    with pytest.raises(Malformed) as error:
        play(OAUTHBEARER, message)
    assert error.value.enhanced == "5.5.2"
    assert "token" not in str(error.value)
    assert stores.asked == []


def test_our_client_logs_in_at_our_server(play, stores):
    stores.tokens[b"token"] = "tim,=x"
    login = client.OAUTHBEARER.start(client.Credentials("tim,=x", token=Secret(b"token")))
    assert play.with_client(OAUTHBEARER, login) == Granted(stores.identity("tim,=x"), "tim,=x")
    assert login.succeed() is False


def test_our_client_takes_the_explanation_and_waits_for_the_no(play):
    login = client.OAUTHBEARER.start(client.Credentials("tim", token=Secret(b"expired")))
    assert play.with_client(OAUTHBEARER, login) == Denied("token refused: invalid")
    with pytest.raises(Malformed):
        login.succeed()


@pytest.mark.rfc("7628 §3.2.3")
def test_our_client_answers_an_explanation_with_one_0x01():
    login = client.OAUTHBEARER.start(client.Credentials("tim", token=Secret(b"expired")))
    assert login.respond(b'{"status":"invalid_token"}') == b"\x01"
    with pytest.raises(Malformed):
        login.respond(b"{}")


@pytest.mark.parametrize(
    "credentials",
    [
        client.Credentials("tim"),
        client.Credentials("", token=Secret(b"token")),
        client.Credentials("t\x01im", token=Secret(b"token")),
        client.Credentials("tim", token=Secret(b"to\x01ken")),
    ],
)
def test_our_client_does_not_start_without_login_and_token(credentials):
    with pytest.raises(Malformed):
        client.OAUTHBEARER.start(credentials)
