"""Filters of searches: those of the standard, those that are wrong, and logins that try to get out of their place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.identity.ldap.ber import Elements, element
from gatepost.identity.ldap.filter import parse_filter


def text(octets: bytes) -> bytes:
    return element(0x04, octets)


def equal(name: bytes, value: bytes) -> bytes:
    return element(0xA3, text(name), text(value))


# RFC 4515 §4: the examples, written by hand as RFC 4511 §4.5.1.7 says.
_EXAMPLES = {
    "(cn=Babs Jensen)": equal(b"cn", b"Babs Jensen"),
    "(!(cn=Tim Howes))": element(0xA2, equal(b"cn", b"Tim Howes")),
    "(&(objectClass=Person)(|(sn=Jensen)(cn=Babs J*)))": element(
        0xA0,
        equal(b"objectClass", b"Person"),
        element(
            0xA1,
            equal(b"sn", b"Jensen"),
            element(0xA4, text(b"cn"), element(0x30, element(0x80, b"Babs J"))),
        ),
    ),
    "(o=univ*of*mich*)": element(
        0xA4, text(b"o"), element(0x30, element(0x80, b"univ"), element(0x81, b"of"), element(0x81, b"mich"))
    ),
    "(seeAlso=)": equal(b"seeAlso", b""),
    "(cn:caseExactMatch:=Fred Flintstone)": element(
        0xA9, element(0x81, b"caseExactMatch"), element(0x82, b"cn"), element(0x83, b"Fred Flintstone")
    ),
    "(cn:=Betty Rubble)": element(0xA9, element(0x82, b"cn"), element(0x83, b"Betty Rubble")),
    "(sn:dn:2.4.6.8.10:=Barney Rubble)": element(
        0xA9,
        element(0x81, b"2.4.6.8.10"),
        element(0x82, b"sn"),
        element(0x83, b"Barney Rubble"),
        element(0x84, b"\xff"),
    ),
    "(:1.2.3:=Wilma Flintstone)": element(0xA9, element(0x81, b"1.2.3"), element(0x83, b"Wilma Flintstone")),
    "(:DN:2.4.6.8.10:=Dino)": element(
        0xA9, element(0x81, b"2.4.6.8.10"), element(0x83, b"Dino"), element(0x84, b"\xff")
    ),
    "(o=Parens R Us \\28for all your parenthetical needs\\29)": equal(
        b"o", b"Parens R Us (for all your parenthetical needs)"
    ),
    "(cn=*\\2A*)": element(0xA4, text(b"cn"), element(0x30, element(0x81, b"*"))),
    "(filename=C:\\5cMyFile)": equal(b"filename", b"C:\\MyFile"),
    "(bin=\\00\\00\\00\\04)": equal(b"bin", b"\0\0\0\4"),
    "(sn=Lu\\c4\\8di\\c4\\87)": equal(b"sn", "Lučić".encode()),
    "(1.3.6.1.4.1.1466.0=\\04\\02\\48\\69)": equal(b"1.3.6.1.4.1.1466.0", b"\x04\x02\x48\x69"),
    "(a>=5)": element(0xA5, text(b"a"), text(b"5")),
    "(a<=5)": element(0xA6, text(b"a"), text(b"5")),
    "(a~=5)": element(0xA8, text(b"a"), text(b"5")),
    "(objectClass=*)": element(0x87, b"objectClass"),
    "(mail;lang-de=*x)": element(0xA4, text(b"mail;lang-de"), element(0x30, element(0x82, b"x"))),
}


@pytest.mark.rfc("4515 §3")
@pytest.mark.rfc("4511 §4.5.1.7")
@pytest.mark.parametrize("written", _EXAMPLES)
def test_filters_of_the_standard_are_written_as_it_says(written: str) -> None:
    assert parse_filter(written).written("tim") == _EXAMPLES[written]


@pytest.mark.parametrize(
    "wrong",
    [
        *("", "uid=tim", "(uid=tim", "uid=tim)", "(uid=tim))", "((uid=tim))", "(&)", "(|)", "(!)", "(!(a=b)(c=d))"),
        *(
            "(=b)",
            "(a b=c)",
            "(a=b\\)",
            "(a=\\zz)",
            "(a=b(c)",
            "(a=\0)",
            "(a=**)",
            "(:=x)",
            "(:dn:=x)",
            "(&(a=b)",
            "()",
        ),
        *("(a=b) ", " (a=b)", "(& (a=b))", "(a==b", "(a&b=c)", "(1=2)", "(" + "!(" * 30 + "a=b" + ")" * 31),
    ],
)
def test_what_is_no_filter_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError):
        parse_filter(wrong)


def test_the_login_stands_where_the_template_says() -> None:
    found = parse_filter("(&(objectClass=person)(|(uid={login})(proxyAddresses=smtp:{login})))")
    assert found.names_login
    assert found.written("tim") == element(
        0xA0,
        equal(b"objectClass", b"person"),
        element(0xA1, equal(b"uid", b"tim"), equal(b"proxyAddresses", b"smtp:tim")),
    )
    assert not parse_filter("(&(objectClass=person)(!(uid=login)))").names_login


@pytest.mark.rfc("4515 §3")
@given(st.text(alphabet=st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("()*\\\0&|!={}"))))
def test_a_login_is_always_one_value_and_nothing_else(login: str) -> None:
    parts = Elements(parse_filter("(|(uid={login})(mail={login}))").written(login)).within(0xA1)
    for name in (b"uid", b"mail"):
        match = parts.within(0xA3)
        assert (match.one(0x04), match.one(0x04)) == (name, login.encode())
        assert not match
    assert not parts


@given(st.text(alphabet="()&|!=*\\ab:{}0", max_size=30))
def test_no_text_raises_anything_else(written: str) -> None:
    try:
        parse_filter(written)
    except ValueError:
        return
    assert written.startswith("(")
    assert written.endswith(")")
