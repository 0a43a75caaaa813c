"""EXTERNAL, server side."""

from __future__ import annotations

import pytest

from gatepost.errors import Malformed
from gatepost.sasl import client
from gatepost.sasl.external import EXTERNAL
from gatepost.sasl.steps import CheckCertificate, Denied, Granted


@pytest.fixture
def tim(stores):
    stores.certificate = "tim@example.org"
    return stores.identity("tim@example.org")


@pytest.mark.rfc("4422 §A.1")
def test_an_empty_initial_response_is_whoever_the_certificate_says(play, tim):
    assert play(EXTERNAL, b"") == Granted(tim)
    assert play.challenges == []


@pytest.mark.rfc("4422 §A.1")
def test_without_initial_response_the_challenge_is_empty_and_so_may_be_the_answer(play, tim):
    assert play(EXTERNAL, None, b"") == Granted(tim)
    assert play.challenges == [b""]


@pytest.mark.rfc("4422 §A.3")
def test_the_name_may_come_at_once_or_when_asked_for(play, tim):
    assert play(EXTERNAL, b"Tim@Example.ORG") == Granted(tim, "tim@example.org")
    assert play(EXTERNAL, None, b"Tim@Example.ORG") == Granted(tim, "tim@example.org")
    assert play.stores.asked == [CheckCertificate("tim@example.org")] * 2


def test_no_certificate_and_one_of_nobody_are_the_same_no(play):
    for initial, responses in ((b"", ()), (None, (b"",)), (b"tim@example.org", ())):
        assert play(EXTERNAL, initial, *responses) == Denied("no certificate, or nobody's")


@pytest.mark.rfc("4422 §A.2")
@pytest.mark.parametrize(
    "name", [b"tim\0", b"\0", b"tim\0eve", b"\xff", b"ti\tm", b"x" * 256, b"\r\n", "\u00ad".encode()]
)
def test_what_is_no_name_is_malformed_and_nobody_is_asked(play, tim, name):
    for initial, responses in ((name, ()), (None, (name,))):
        with pytest.raises(Malformed) as error:
            play(EXTERNAL, initial, *responses)
        assert (error.value.code, error.value.enhanced) == (501, "5.5.2")
    assert play.stores.asked == []


@pytest.mark.parametrize(
    ("authcid", "authzid", "said"),
    [("", "", ""), ("tim@example.org", "", "tim@example.org"), ("x", "Tim@example.org", "Tim@example.org")],
)
def test_our_client_logs_in_at_our_server(play, tim, authcid, authzid, said):
    login = client.EXTERNAL.start(client.Credentials(authcid, authzid=authzid, has_certificate=True))
    assert login.initial == said.encode()
    assert play.with_client(EXTERNAL, login) == Granted(tim, said.lower())
    assert login.succeed() is False


def test_our_client_takes_it_only_with_a_certificate_and_then_before_all_others():
    offered = ["PLAIN", "SCRAM-SHA-256", "external", "XOAUTH2"]
    with_one = client.Credentials("tim", client.Secret(b"secret"), client.Secret(b"token"), has_certificate=True)
    without = client.Credentials("tim", client.Secret(b"secret"))
    assert client.choose(offered, with_one) is client.EXTERNAL
    assert client.choose(offered, without) is client.SCRAM_SHA_256
    assert client.choose(["EXTERNAL"], without) is None
    nul = (
        client.Credentials("ti\0m", has_certificate=True),
        client.Credentials("", authzid="\0", has_certificate=True),
    )
    for credentials in (without, *nul):
        with pytest.raises(Malformed):
            client.EXTERNAL.start(credentials)
