"""Distinguished names: what a login holds stays a value."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.identity.ldap.names import escape_value, named


@pytest.mark.rfc("4514 §2.4")
@pytest.mark.parametrize(
    ("value", "escaped"),
    [
        # RFC 4514 §4.
        ('James "Jim" Smith, III', 'James \\"Jim\\" Smith\\, III'),
        ("Before\rAfter", "Before\\0DAfter"),
        ("#Hi", "\\#Hi"),
        ("a#b", "a#b"),
        (" a b ", "\\ a b\\ "),
        (" ", "\\ "),
        ("a+b;c<d>e=f", "a\\+b\\;c\\<d\\>e\\=f"),
        ("a\\b", "a\\\\b"),
        ("\0", "\\00"),
        ("Lučić", "Lučić"),
        ("", ""),
    ],
)
def test_what_is_special_is_escaped(value: str, escaped: str) -> None:
    assert escape_value(value) == escaped


def test_a_template_takes_the_login() -> None:
    assert named("uid={login},ou=people,o=x", "a,ou=admins") == "uid=a\\,ou\\=admins,ou=people,o=x"
    assert named("uid={login}+mail={login},o=x", "{login}") == "uid={login}+mail={login},o=x"


@pytest.mark.rfc("4514 §2.4")
@given(st.text(alphabet=st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from('"+,;<>\\=# \0'))))
def test_an_escaped_value_ends_nowhere_and_means_what_it_was(value: str) -> None:
    escaped = escape_value(value)
    # RFC 4514 §3: a value as its grammar has it, pairs included.
    assert re.fullmatch(r'(?:[^"+,;<>\\\0]|\\[ "#+,;<=>\\]|\\[0-9A-F]{2})*', escaped)
    assert not escaped.startswith((" ", "#"))
    assert re.search(r"(?<!\\) \Z", escaped) is None
    read = re.sub(r"\\([0-9A-F]{2})|\\(.)", lambda pair: chr(int(pair[1], 16)) if pair[1] else pair[2], escaped)
    assert read == value
