"""What attributes of an entry say of an account."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.identity.store import Account
from gatepost.identity.stores.ldap_account import AttributeNames, account_of

NOBODY = Account("tim", bytes(16), 15000)


def read(names: AttributeNames | None = None, **values: list[str]) -> Account:
    found = {key.lower(): [each.encode() for each in those] for key, those in values.items()}
    return account_of(found, names or AttributeNames(), NOBODY)


def test_an_entry_without_anything_is_an_account_with_one_credential() -> None:
    account = read()
    assert dataclasses.replace(account, credentials=()) == NOBODY
    assert [each.id for each in account.credentials] == ["password"]


def test_senders_are_those_that_can_be_read() -> None:
    account = read(
        mail=["Tim@Example.org", "tim@example.org", "no address", ""], mailAlternateAddress=["smtp:t@example.net", "*"]
    )
    assert [str(each) for each in account.senders] == ["tim@example.org", "t@example.net", "*"]


@pytest.mark.parametrize(
    ("value", "is_active", "reason"),
    [
        ("FALSE", True, ""),
        ("no", True, ""),
        ("0", True, ""),
        ("active", True, ""),
        ("TRUE", False, ""),
        ("1", False, ""),
        ("left us", False, "left us"),
        ("", False, ""),
        ("a\nb\0c", False, "a b c"),
        ("20260101000000Z", False, "20260101000000Z"),
    ],
)
def test_disabled_is_what_is_there_and_not_false(value: str, is_active: bool, reason: str) -> None:
    account = read(AttributeNames(disabled="nsAccountLock"), nsAccountLock=[value])
    assert (account.is_active, account.state_reason) == (is_active, reason)


@pytest.mark.parametrize(("value", "is_active"), [("512", True), ("514", False), ("66048", True), ("x", False)])
def test_active_directory_says_it_with_a_bit(value: str, is_active: bool) -> None:
    account = read(AttributeNames(disabled="userAccountControl"), userAccountControl=[value])
    assert account.is_active is is_active


@pytest.mark.rfc("4517 §3.3.13")
@pytest.mark.parametrize(
    ("name", "value", "moment"),
    [
        ("x", "20280101000000Z", 1830297600.0),
        ("x", "2028010101Z", 1830301200.0),
        ("x", "202801010130Z", 1830303000.0),
        ("x", "20280101000000.5Z", 1830297600.5),
        ("x", "2028010100,5Z", 1830299400.0),
        ("x", "202801010000.5Z", 1830297630.0),
        ("x", "20280101020000+0200", 1830297600.0),
        ("x", "2027123119-05", 1830297600.0),
        ("x", "1830297600", 1830297600.0),
        ("shadowExpire", "21184", 1830297600.0),
        ("shadowExpire", "0", 0.0),
        ("shadowExpire", "-1", None),
        ("accountExpires", "134747712000000000", 1830297600.0),
        ("accountExpires", "0", None),
        ("accountExpires", "9223372036854775807", None),
    ],
)
def test_times_are_read_in_the_form_of_their_attribute(name: str, value: str, moment: float | None) -> None:
    [credential] = read(AttributeNames(expires=name, not_before=name), **{name: [value]}).credentials
    assert (credential.expires, credential.not_before) == (moment, moment)


@pytest.mark.parametrize(
    ("fact", "values"),
    [
        ("expires", ["tomorrow"]),
        ("expires", ["20281301000000Z"]),
        ("expires", ["20280101000000"]),
        ("expires", ["20280101000000Z", "20290101000000Z"]),
        ("expires", ["9" * 30]),
        ("not_before", [""]),
        ("networks", ["192.0.2.0/24", "everywhere"]),
        ("networks", ["192.0.2.1/24"]),
        ("only_senders", ["tim"]),
        ("recipients", ["@@"]),
        ("messages_per_minute", ["0"]),
        ("messages_per_minute", ["-1"]),
        ("max_message_bytes", ["1e9"]),
        ("max_recipients", ["x"]),
        ("null_sender", ["perhaps"]),
        ("sandbox", ["", "TRUE"]),
        ("listeners", ["x"] * 1001),
    ],
)
def test_a_restriction_that_cannot_be_read_disables_the_account(fact: str, values: list[str]) -> None:
    account = read(AttributeNames(**{fact: "attributeName"}), attributeName=values)
    assert not account.is_active
    assert account.state_reason.startswith("attributeName in the directory has")


def test_octets_that_are_no_text_disable_it_too() -> None:
    assert not account_of({"x": [b"\xff"]}, AttributeNames(listeners="x"), NOBODY).is_active


def test_without_the_attribute_of_a_password_there_is_no_credential() -> None:
    names = AttributeNames(password="pwdChangedTime")
    assert read(names).credentials == ()
    assert len(read(names, pwdChangedTime=["20260101000000Z"]).credentials) == 1


def test_all_that_is_named_is_asked_for_once() -> None:
    assert AttributeNames().wanted == ("mail", "mailAlternateAddress")
    assert AttributeNames(disabled="mail", expires="shadowExpire").wanted == (
        "mail",
        "mailAlternateAddress",
        "shadowExpire",
    )
    assert AttributeNames(senders=()).wanted == ("1.1",)


@given(st.lists(st.binary(max_size=30), max_size=3))
def test_no_value_raises_anything(values: list[bytes]) -> None:
    names = {each.name: "x" for each in dataclasses.fields(AttributeNames) if each.name != "senders"}
    account_of({"x": values}, AttributeNames(senders=("x",), **names), NOBODY)
    for name in ("accountExpires", "shadowExpire", "userAccountControl"):
        account_of({name.lower(): values}, AttributeNames(expires=name, disabled=name), NOBODY)
