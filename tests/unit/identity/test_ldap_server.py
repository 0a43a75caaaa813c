"""URLs of directories."""

from __future__ import annotations

import pytest

from gatepost.identity.ldap.server import Server, parse_server


@pytest.mark.rfc("4516 §2")
@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("ldap://ldap.example.org", ("ldap.example.org", 389, False, "")),
        ("ldaps://ldap.example.org/", ("ldap.example.org", 636, True, "")),
        ("ldap://192.0.2.1:3890", ("192.0.2.1", 3890, False, "")),
        ("ldaps://[2001:db8::1]:6360", ("2001:db8::1", 6360, True, "")),
        ("ldapi://%2Frun%2Fslapd%2Fldapi", ("", 0, False, "/run/slapd/ldapi")),
        ("ldapi:///", ("", 0, False, "/run/slapd/ldapi")),
    ],
)
def test_a_url_says_where_it_is(url: str, server: tuple[str, int, bool, str]) -> None:
    assert parse_server(url) == Server(url, *server)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "ldap.example.org",
            "http://ldap.example.org",
            "ldap://",
            "ldap://:389",
            "ldap://host:0",
            "ldap://host:65536",
        ),
        *("ldap://host:", "ldap://user@host", "ldap://host/dc=x", "ldap://host?x", "ldap://ho st", "LDAP://host\n"),
        *("ldap://[::1", "ldapi://a b", "cldap://host", "ldap://host:389x"),
    ],
)
def test_what_says_more_or_less_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is no URL of a directory"):
        parse_server(url)
