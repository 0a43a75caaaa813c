"""Other logins of a route: nothing of its own login is left where another is used."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from gatepost.config.route_login import DERIVED, SECRETS, SenderLogin
from gatepost.config.routes import LmtpRoute, SmarthostRoute

OF_A_LOGIN = re.compile("password|token|secret|oauth|access_key|login")


def test_each_way_has_the_name_and_secret_of_its_login_and_nothing_of_another() -> None:
    route = SmarthostRoute.model_validate(
        {
            "name": "out",
            "transport": "smarthost",
            "host": "smtp.example.net",
            "login": "own",
            "password": "own-secret",
            "logins": [
                {"sender_domains": ["a.example", "b.example"], "login": "a", "token": "a-token"},
                {"sender_domains": ["*"], "login": "rest", "password": "rest-secret"},
            ],
        }
    )
    (a, a_domains), (rest, rest_domains), (own, own_domains) = route.ways
    assert (a.name, a.login, a.password_secret, a_domains) == ("out:a.example", "a", None, ("a.example", "b.example"))
    assert a.token_secret is not None
    assert a.token_secret.reveal() == b"a-token"
    assert (rest.name, rest.login, rest.token_secret, rest_domains) == ("out:*", "rest", None, ("*",))
    assert rest.password_secret is not None
    assert rest.password_secret.reveal() == b"rest-secret"
    assert (own.name, own.login, own_domains) == ("out", "own", ())
    assert not own.logins
    assert a.host == rest.host == own.host


def test_a_route_without_other_logins_is_its_only_way() -> None:
    route = SmarthostRoute(name="out", transport="smarthost", host="smtp.example.net")
    assert route.ways == ((route, ()),)


@pytest.mark.parametrize("kind", [SmarthostRoute, LmtpRoute])
def test_every_key_of_a_login_is_another_for_each_sender(kind: type[SmarthostRoute]) -> None:
    found = {name for name in kind.model_fields if OF_A_LOGIN.search(name)}
    assert found <= {"login", "logins", *SECRETS, *DERIVED}, "would be used for other logins, too"
    given = {"sender_domains": ["a.example"], "login": "a", "password": "p"}
    assert set(SenderLogin.model_validate(given).of_route()) >= found - {"logins"}


@pytest.mark.parametrize(
    "keys",
    [
        {"login": "a", "password": "p"},
        {"sender_domains": [], "login": "a", "password": "p"},
        {"sender_domains": ["a.example"], "login": "", "password": "p"},
        {"sender_domains": ["a.example"], "login": "a", "password": "p", "token": "t"},
        {"sender_domains": ["a.example"], "login": "a", "password": "p", "certificate": "x"},
    ],
)
def test_a_login_that_could_not_be_used_is_refused(keys: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SenderLogin.model_validate(keys)
