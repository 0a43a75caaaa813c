"""XOAUTH2, server side."""

from __future__ import annotations

import json

import pytest

from gatepost.errors import Malformed
from gatepost.model.identity import Identity, Secret
from gatepost.sasl import client
from gatepost.sasl.mechanism import Context
from gatepost.sasl.oauth import XOAUTH2
from gatepost.sasl.steps import Challenge, CheckToken, Denied, Granted, TokenProblem, TokenRefused
from gatepost.sasl.wire import decode_base64, encode_base64


def test_the_published_example_logs_in(vectors, play, stores):
    vector = vectors["xoauth2"]
    stores.tokens[vector["token"].encode()] = vector["name"]
    message = decode_base64(vector["response"].encode())
    assert play(XOAUTH2, message) == Granted(stores.identity(vector["name"]))
    assert play(XOAUTH2, None, message) == Granted(stores.identity(vector["name"]))
    assert play.challenges == [b""]
    assert stores.asked[0] == CheckToken(vector["name"], Secret(vector["token"].encode()))


def test_a_refusal_gives_the_json_of_the_published_example(vectors):
    vector = vectors["xoauth2"]
    exchange = XOAUTH2.start(decode_base64(vector["response"].encode()), Context("host", lambda: ""))
    assert isinstance(next(exchange), CheckToken)
    step = exchange.send(TokenRefused(TokenProblem.INVALID, vector["scope"]))
    assert isinstance(step, Challenge)
    assert encode_base64(step.data).decode() == vector["problem"]


@pytest.mark.parametrize(
    ("problem", "status"),
    [(TokenProblem.MALFORMED, "400"), (TokenProblem.INVALID, "401"), (TokenProblem.SCOPE, "403")],
)
@pytest.mark.parametrize("answer", [b"", b"\x01", b"anything"])
def test_a_refused_token_is_explained_and_then_a_no_whatever_the_client_answers(problem, status, answer):
    exchange = XOAUTH2.start(b"user=tim\x01auth=Bearer t.o-k~e+n/==\x01\x01", Context("host", lambda: ""))
    assert next(exchange) == CheckToken("tim", Secret(b"t.o-k~e+n/=="))
    step = exchange.send(TokenRefused(problem, 'sco"pe\n'))
    assert isinstance(step, Challenge)
    assert json.loads(step.data) == {"status": status, "schemes": "bearer", "scope": 'sco"pe\n'}
    with pytest.raises(StopIteration) as stop:
        exchange.send(answer)
    assert stop.value.value == Denied(f"token refused: {problem.value}")


@pytest.mark.parametrize(
    "message",
    [
        b"user=Tim\x01auth=Bearer token\x01\x01",
        b"auth=Bearer token\x01user=tim\x01\x01",
        b"user=tim\x01auth=bearer token\x01\x01",
        b"user=tim\x01auth=BEARER  token\x01\x01",
        b"user=tim\x01host=mail.example.org\x01auth=Bearer token\x01\x01",
    ],
)
def test_order_of_fields_letter_case_of_bearer_and_unknown_fields_do_not_matter(play, stores, message):
    stores.tokens[b"token"] = "tim"
    assert play(XOAUTH2, message) == Granted(stores.identity("tim"))


@pytest.mark.rfc("6750 §2.1")
@pytest.mark.parametrize(
    "auth",
    [b"", b"auth=", b"auth=Bearer", b"auth=Bearer ", b"auth=Basic token", b"auth=token", b"auth=Bearer to ken",
     b"auth=Bearer t\xc3\xb6ken", b"auth=Bearer =", b"auth=Bearer to=ken", b"auth=Bearer token ", b"Auth=Bearer token"],
)  # fmt: skip
def test_what_is_no_bearer_token_is_explained_without_asking_anybody(play, stores, auth):
    message = b"user=tim\x01" + (auth + b"\x01" if auth else b"") + b"\x01"
    assert play(XOAUTH2, message, b"") == Denied("token refused: malformed")
    assert json.loads(play.challenges[0])["status"] == "400"
    assert stores.asked == []


def test_a_token_of_somebody_else_is_a_no(play, stores):
    stores.tokens[b"token"] = "tim"
    assert play(XOAUTH2, b"user=eve\x01auth=Bearer token\x01\x01", b"") == Denied("token refused: invalid")


@pytest.mark.parametrize(
    "message",
    [
        b"", b"\x01\x01", b"user=tim\x01auth=Bearer token", b"user=tim\x01auth=Bearer token\x01",
        b"auth=Bearer token\x01\x01", b"user=\x01auth=Bearer token\x01\x01", b"user=\xff\x01auth=Bearer token\x01\x01",
        b"user=t\0im\x01auth=Bearer token\x01\x01", b"user=tim\x01user=eve\x01auth=Bearer token\x01\x01",
        b"user=tim\x01auth=Bearer token\x01auth=Bearer token\x01\x01", b"user=tim\x01\x01auth=Bearer token\x01\x01",
        b"user=tim\x01=\x01auth=Bearer token\x01\x01",
        b"user=tim\x01nothing\x01auth=Bearer token\x01\x01", b"n,a=tim,\x01auth=Bearer token\x01\x01",
    ],
)  # fmt: skip
def test_a_message_of_another_form_is_malformed_and_no_store_is_asked(play, stores, message):
    stores.tokens[b"token"] = "tim"
    with pytest.raises(Malformed) as error:
        play(XOAUTH2, message)
    assert error.value.enhanced == "5.5.2"
    assert "token" not in str(error.value)
    assert stores.asked == []


def test_our_client_logs_in_at_our_server(play, stores):
    stores.tokens[b"token"] = "tim"
    login = client.XOAUTH2.start(client.Credentials("tim", token=Secret(b"token")))
    assert play.with_client(XOAUTH2, login) == Granted(stores.identity("tim"))
    assert login.succeed() is False


def test_our_client_takes_the_explanation_and_waits_for_the_no(play):
    login = client.XOAUTH2.start(client.Credentials("tim", token=Secret(b"expired")))
    assert play.with_client(XOAUTH2, login) == Denied("token refused: invalid")
    with pytest.raises(Malformed):
        login.succeed()


def test_the_identity_is_the_one_the_stores_name():
    exchange = XOAUTH2.start(b"user=tim\x01auth=Bearer token\x01\x01", Context("host", lambda: ""))
    next(exchange)
    with pytest.raises(StopIteration) as stop:
        exchange.send(Identity("tim", "oauth"))
    assert stop.value.value == Granted(Identity("tim", "oauth"))
