"""CRAM-MD5, server side."""

from __future__ import annotations

import hmac

import pytest

from gatepost.errors import Malformed, UnwantedInitialResponse
from gatepost.model.identity import Identity, Secret
from gatepost.sasl import client, hmac_md5
from gatepost.sasl.cram_md5 import CRAM_MD5
from gatepost.sasl.mechanism import Context
from gatepost.sasl.steps import Candidate, Challenge, Denied, FetchSecret, Granted, Held
from gatepost.sasl.wire import decode_base64, encode_base64


@pytest.mark.rfc("2195 §2")
def test_it_gives_the_exchange_of_rfc_2195(vectors):
    vector = vectors["cram_md5"]
    exchange = CRAM_MD5.start(None, Context(vector["hostname"], lambda: vector["nonce"], time=vector["time"]))
    step = next(exchange)
    assert isinstance(step, Challenge)
    assert encode_base64(step.data).decode() == vector["challenge"]
    assert exchange.send(decode_base64(vector["response"].encode())) == FetchSecret("tim", "HMAC-MD5")
    tim = Identity("tim", "1")
    with pytest.raises(StopIteration) as stop:
        exchange.send(Held((Candidate(tim, Secret(hmac_md5.states(vector["password"].encode()))),)))
    assert stop.value.value == Granted(tim)


@pytest.mark.rfc("4954 §4")
@pytest.mark.parametrize("initial", [b"", b"tim b913a602c7eda7a495b4e6e7334d3890"])
def test_an_initial_response_is_refused(play, initial):
    with pytest.raises(UnwantedInitialResponse) as error:
        play(CRAM_MD5, initial)
    assert (error.value.code, error.value.enhanced) == (501, "5.7.0")


@pytest.mark.rfc("2195 §2")
def test_each_attempt_has_a_challenge_of_its_own():
    nonces = iter(("first", "second"))
    context = Context("mail.example.org", lambda: next(nonces), time=1_800_000_000)
    challenges = [next(CRAM_MD5.start(None, context)) for _ in range(2)]
    assert challenges == [
        Challenge(b"<first.1800000000@mail.example.org>"),
        Challenge(b"<second.1800000000@mail.example.org>"),
    ]


def response(name: str, password: str) -> bytes:
    challenge = b"<fixed.nonce.with.enough.bits.0@mail.example.org>"
    return f"{name} {hmac.new(password.encode(), challenge, 'md5').hexdigest()}".encode()


@pytest.mark.parametrize("name", ["tim", "TIM"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_each_of_several_secrets_is_good(play, stores, name, place):
    passwords = ("first", "second", "third")
    stores.add("tim", *passwords)
    assert play(CRAM_MD5, None, response(name, passwords[place])) == Granted(stores.identity("tim", place))


def test_a_name_may_hold_spaces(play, stores):
    stores.add("tim the enchanter", "secret")
    assert play(CRAM_MD5, None, response("tim the enchanter", "secret")) == Granted(
        stores.identity("tim the enchanter")
    )


def test_a_digest_may_be_in_upper_case(play, stores):
    stores.add("tim", "secret")
    name, digest = response("tim", "secret").split()
    assert play(CRAM_MD5, None, name + b" " + digest.upper()) == Granted(stores.identity("tim"))


@pytest.mark.parametrize(("name", "password"), [("tim", "wrong"), ("nobody", "secret")])
def test_wrong_digest_and_unknown_name_are_the_same_no(play, stores, name, password):
    stores.add("tim", "secret")
    assert play(CRAM_MD5, None, response(name, password)) == Denied("wrong digest or unknown name")
    assert stores.asked == [FetchSecret(name, "HMAC-MD5")]


def test_whoever_opens_a_decoy_is_still_nobody(play):
    assert play(CRAM_MD5, None, response("nobody", "nobody has this")) == Denied("wrong digest or unknown name")


@pytest.mark.rfc("2195 §2")
@pytest.mark.parametrize(
    "line",
    [
        b"", b"tim", b"tim ", b" ", b"tim b913a602c7eda7a495b4e6e7334d389", b"tim b913a602c7eda7a495b4e6e7334d38900",
        b"tim g913a602c7eda7a495b4e6e7334d3890", b"b913a602c7eda7a495b4e6e7334d3890",
        b" b913a602c7eda7a495b4e6e7334d3890", b"\xff b913a602c7eda7a495b4e6e7334d3890",
        b"t\0im b913a602c7eda7a495b4e6e7334d3890", b"tim\tb913a602c7eda7a495b4e6e7334d3890",
        b"tim b913a602c7eda7a495b4e6e7334d3890 ", b"tim b913a602c7eda7a495b4e6e7334d3890\n",
    ],
)  # fmt: skip
def test_a_response_of_another_form_is_malformed_and_no_store_is_asked(play, stores, line):
    with pytest.raises(Malformed) as error:
        play(CRAM_MD5, None, line)
    assert error.value.enhanced == "5.5.2"
    assert stores.asked == []


def test_our_client_logs_in_at_our_server(play, stores):
    stores.add("tim", "pä ss")
    login = client.CRAM_MD5.start(client.Credentials("tim", Secret("pä ss".encode())))
    assert login.initial is None
    assert play.with_client(CRAM_MD5, login) == Granted(stores.identity("tim"))
    assert login.succeed() is False
