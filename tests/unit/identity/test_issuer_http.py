"""Which addresses an issuer is asked at."""

from __future__ import annotations

import pytest

from gatepost.identity.discovery import well_known
from gatepost.identity.issuer_http import is_safe


@pytest.mark.parametrize(
    ("url", "good", "good_when_plain"),
    [
        ("https://login.example.org/keys", True, True),
        ("https://login.example.org:8443/keys?a=b", True, True),
        ("https://127.0.0.1/keys", True, True),
        ("http://127.0.0.1:8080/keys", False, True),
        ("http://localhost/keys", False, True),
        ("http://[::1]/keys", False, True),
        ("http://login.example.org/keys", False, False),
        ("http://127.0.0.1.example.org/keys", False, False),
        ("http://169.254.169.254/latest/meta-data", False, False),
        ("https://tim:secret@login.example.org/keys", False, False),
        ("https://tim@login.example.org/keys", False, False),
        ("https:///keys", False, False),
        ("https://[::1/keys", False, False),
        ("https://a.example:99999/", False, False),
        ("https://a.example:0/", False, False),
        ("https://a.example/\r\nX: y", False, False),
        ("https://ä.example/", False, False),
        ("https://a.example/" + "x" * 2000, False, False),
        ("ftp://a.example/", False, False),
        ("file:///etc/passwd", False, False),
        ("", False, False),
        (None, False, False),
        (7, False, False),
        (["https://a.example/"], False, False),
    ],
)
def test_only_https_is_asked_and_this_machine_if_it_asked_for_that(
    url: object, good: bool, good_when_plain: bool
) -> None:
    assert is_safe(url, plain=False) is good
    assert is_safe(url, plain=True) is good_when_plain


@pytest.mark.rfc("8414 §3.1")
@pytest.mark.parametrize(
    ("issuer", "openid", "oauth"),
    [
        (
            "https://a.example",
            "https://a.example/.well-known/openid-configuration",
            "/.well-known/oauth-authorization-server",
        ),
        (
            "https://a.example/",
            "https://a.example/.well-known/openid-configuration",
            "/.well-known/oauth-authorization-server",
        ),
        (
            "https://a.example/realms/b/",
            "https://a.example/realms/b/.well-known/openid-configuration",
            "/.well-known/oauth-authorization-server/realms/b",
        ),
    ],
)
def test_a_configuration_has_two_usual_places(issuer: str, openid: str, oauth: str) -> None:
    assert well_known(issuer) == (openid, "https://a.example" + oauth)
