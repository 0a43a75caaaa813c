"""LOGIN, server side."""

from __future__ import annotations

import pytest

from gatepost.errors import Malformed
from gatepost.model.identity import Secret
from gatepost.sasl import client
from gatepost.sasl.login import LOGIN
from gatepost.sasl.steps import Denied, Granted
from gatepost.sasl.wire import encode_base64


def test_it_asks_for_name_and_password_with_the_prompts_that_clients_know(play, stores):
    stores.add("username", "secret")
    assert play(LOGIN, None, b"username", b"secret") == Granted(stores.identity("username"))
    assert [encode_base64(each) for each in play.challenges] == [b"VXNlcm5hbWU6", b"UGFzc3dvcmQ6"]


def test_an_initial_response_is_the_name(play, stores):
    stores.add("username", "secret")
    assert play(LOGIN, b"username", b"secret") == Granted(stores.identity("username"))
    assert play.challenges == [b"Password:"]


@pytest.mark.parametrize(("name", "password"), [(b"tim", b"wrong"), (b"nobody", b"secret")])
def test_wrong_password_and_unknown_name_are_the_same_no(play, stores, name, password):
    stores.add("tim", "secret")
    assert play(LOGIN, None, name, password) == Denied("wrong password or unknown name")


@pytest.mark.parametrize(
    ("name", "password"),
    [(b"", b"secret"), (b"tim", b""), (b"t\0im", b"secret"), (b"tim", b"sec\0ret"), (b"\xff", b"x"), (b"tim", b"\xff")],
)
def test_names_and_passwords_that_cannot_be_are_malformed(play, stores, name, password):
    stores.add("tim", "secret")
    with pytest.raises(Malformed) as error:
        play(LOGIN, None, name, password)
    assert error.value.enhanced == "5.5.2"
    assert stores.asked == []


def test_our_client_logs_in_at_our_server(play, stores):
    stores.add("tim", "pä ss")
    login = client.LOGIN.start(client.Credentials("tim", Secret("pä ss".encode())))
    assert login.initial is None
    assert play.with_client(LOGIN, login) == Granted(stores.identity("tim"))
    assert login.succeed() is False
