"""What is known of the providers, and what is written beside it."""

from __future__ import annotations

import datetime as dt
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from gatepost.config.route_oauth import RouteOAuth
from gatepost.model.identity import Secret
from gatepost.relay.oauth_client import OAuthClient


def client(**keys: Any) -> OAuthClient:
    return RouteOAuth.model_validate({"client_id": "app", "client_secret": "s+%", **keys}).client


def test_google() -> None:
    made = client(provider="google")
    assert made.token_url == "https://oauth2.googleapis.com/token"
    assert made.scopes == ("https://mail.google.com/",)
    assert made.secret_in_body
    question = parse_qs(urlsplit(made.authorization("http://127.0.0.1:1", "s", "v", "a@b.c")).query)
    # Without these it gives no refresh token.
    assert (question["access_type"], question["prompt"]) == (["offline"], ["consent"])
    assert made.device_url == "", "it gives no tokens for mail by device code"


def test_microsoft() -> None:
    made = client(provider="microsoft", tenant="example.org")
    assert made.token_url == "https://login.microsoftonline.com/example.org/oauth2/v2.0/token"
    assert made.authorize_url == "https://login.microsoftonline.com/example.org/oauth2/v2.0/authorize"
    assert made.device_url == "https://login.microsoftonline.com/example.org/oauth2/v2.0/devicecode"
    assert made.scopes == ("https://outlook.office.com/SMTP.Send", "offline_access")
    assert made.redirect_host == "localhost"
    itself = client(provider="microsoft", tenant="example.org", grant="client_credentials")
    assert itself.renewal(Secret(b"")) == {
        "grant_type": "client_credentials",
        "scope": "https://outlook.office365.com/.default",
    }


def test_what_is_written_counts_before_what_is_known() -> None:
    made = client(provider="microsoft", tenant="t", token_url="https://login.microsoftonline.us/t/token", scopes=["x"])
    assert (made.token_url, made.scope) == ("https://login.microsoftonline.us/t/token", "x")


@pytest.mark.parametrize("day", ["2028-12-31", dt.date(2028, 12, 31)])
def test_the_end_of_a_secret_is_a_day(day: object) -> None:
    assert client(client_secret_expires=day).secret_expires == dt.datetime(2028, 12, 31, tzinfo=dt.UTC).timestamp()


@pytest.mark.rfc("6749 §2.3.1")
def test_a_secret_goes_encoded_into_the_header_or_as_it_is_into_the_form() -> None:
    assert client(token_url="https://a.example/").signed({"a": "b"}) == ({"a": "b"}, ("app", "s%2B%25"))
    form, login = client(token_url="https://a.example/", client_auth="post").signed({"a": "b"})
    assert (form, login) == ({"a": "b", "client_id": "app", "client_secret": "s+%"}, None)


@pytest.mark.rfc("6749 §3.2.1")
def test_a_client_without_a_secret_says_who_it_is() -> None:
    assert client(token_url="https://a.example/", client_secret=None).signed({}) == ({"client_id": "app"}, None)


def test_no_secret_shows() -> None:
    made = client(provider="google", client_secret="a very secret secret")
    assert "a very secret secret" not in f"{made}{made!r}"
