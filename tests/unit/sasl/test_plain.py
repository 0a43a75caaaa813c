"""PLAIN, server side."""

from __future__ import annotations

import pytest

from gatepost.errors import Malformed
from gatepost.model.identity import Secret
from gatepost.sasl import client
from gatepost.sasl.plain import PLAIN
from gatepost.sasl.steps import CheckPassword, Denied, Granted


@pytest.mark.rfc("4616 §4")
def test_the_first_example_of_rfc_4616_logs_in(play, stores):
    stores.add("tim", "tanstaaftanstaaf")
    assert play(PLAIN, b"\0tim\0tanstaaftanstaaf") == Granted(stores.identity("tim"))
    assert play.challenges == []


@pytest.mark.rfc("4616 §4")
def test_the_second_example_of_rfc_4616_names_whom_to_act_as(play, stores):
    stores.add("Kurt", "xipj3plmq")
    assert play(PLAIN, b"Ursel\0Kurt\0xipj3plmq") == Granted(stores.identity("kurt"), "ursel")


@pytest.mark.rfc("4954 §4")
def test_without_initial_response_the_challenge_is_empty(play, stores):
    stores.add("tim", "secret")
    assert play(PLAIN, None, b"\0tim\0secret") == Granted(stores.identity("tim"))
    assert play.challenges == [b""]


def test_the_stores_are_asked_for_the_prepared_name_and_the_password_as_it_came(play, stores):
    play(PLAIN, "\0ÜNAL@Example.ORG\0pä\u00adss".encode())
    assert stores.asked == [CheckPassword("ünal@example.org", Secret("pä\u00adss".encode()))]


@pytest.mark.parametrize("message", [b"\0tim\0wrong", b"\0nobody\0secret", b"\0tim\0Secret", b"tim\0eve\0secret"])
def test_wrong_password_and_unknown_name_are_the_same_no(play, stores, message):
    stores.add("tim", "secret")
    assert play(PLAIN, message) == Denied("wrong password or unknown name")
    assert len(stores.asked) == 1


@pytest.mark.rfc("4616 §2")
@pytest.mark.parametrize(
    "message",
    [
        b"", b"\0", b"tim\0secret", b"\0tim\0secret\0", b"\0tim\0sec\0ret", b"\0\0secret", b"\0tim\0", b"\0\0",
        b"\0tim\xff\0secret", b"\0tim\0sec\xffret", b"\xff\0tim\0secret", b"\0ti\tm\0secret", b"\x07\0tim\0secret",
        b"\0" + b"x" * 256 + b"\0secret",
    ],
)  # fmt: skip
def test_a_message_of_another_form_is_malformed_and_no_store_is_asked(play, stores, message):
    stores.add("tim", "secret")
    with pytest.raises(Malformed) as error:
        play(PLAIN, message)
    assert (error.value.code, error.value.enhanced) == (501, "5.5.2")
    assert "secret" not in str(error.value)
    assert stores.asked == []


def test_a_password_that_is_too_long_costs_one_check_and_is_a_no(play, stores):
    password = "x" * 257
    stores.passwords["tim"] = [password.encode()]
    outcome = play(PLAIN, b"\0tim\0" + password.encode())
    assert outcome == Denied("password too long")
    (step,) = stores.asked
    assert isinstance(step, CheckPassword)
    assert step.authcid == "tim"
    assert len(step.password.reveal()) == 64


def test_a_password_that_is_too_long_is_a_no_even_when_the_stores_like_its_stand_in(play, stores):
    play(PLAIN, b"\0tim\0" + b"x" * 257)
    stores.passwords["tim"] = [stores.asked[0].password.reveal()]
    assert play(PLAIN, b"\0tim\0" + b"x" * 257) == Denied("password too long")


def test_a_password_of_256_characters_of_any_size_logs_in(play, stores):
    stores.add("tim", "\U0001f40c" * 256)
    assert play(PLAIN, b"\0tim\0" + "\U0001f40c".encode() * 256) == Granted(stores.identity("tim"))


def test_a_password_with_a_control_character_is_tried_as_it_came(play, stores):
    stores.passwords["tim"] = [b"tab\there"]
    assert play(PLAIN, b"\0tim\0tab\there") == Granted(stores.identity("tim"))


@pytest.mark.parametrize("authzid", ["", "ursel", "Ursel@Example.ORG"])
def test_our_client_logs_in_at_our_server(play, stores, authzid):
    stores.add("Tim ,=ü", "pä ss")
    login = client.PLAIN.start(client.Credentials("Tim ,=ü", Secret("pä ss".encode()), authzid=authzid))
    assert play.with_client(PLAIN, login) == Granted(stores.identity("tim ,=ü"), authzid.lower())
    assert login.succeed() is False
