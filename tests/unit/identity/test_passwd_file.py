"""Passwd-files as Dovecot and Apache have them: what a line says, and what is said of a line that is wrong."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatepost.identity.decoys import Decoys
from gatepost.identity.store import HASH, SCRAM_SHA_256, Account
from gatepost.identity.stores.passwd_file import PasswdFile
from gatepost.sasl.scram import derive
from gatepost.state.keys import Keys
from identities import KEYS

SSHA = "{SSHA256}" + "A" * 52
OTHER = "{SSHA256}" + "B" * 52


def read(text: str, keys: Keys = KEYS) -> dict[str, Account]:
    return dict(PasswdFile(keys, 15_000)(text.encode()).accounts)


def record(salt: bytes = bytes(16), iterations: int = 4096, password: bytes = b"secret") -> str:
    text = derive(password, salt, iterations).removeprefix("SCRAM-SHA-256$").replace("$", ",").replace(":", ",")
    return "{SCRAM-SHA-256}" + text


def test_htpasswd_and_dovecot_lines_are_accounts() -> None:
    accounts = read(
        f"# a comment\n\nTim@Example.ORG:{SSHA}\nann:{OTHER}:1000:1000:Ann:/home/ann:/bin/sh:userdb_mail=maildir:/x\r\n"
    )
    assert set(accounts) == {"tim@example.org", "ann"}
    tim, ann = accounts["tim@example.org"], accounts["ann"]
    assert [str(each) for each in tim.senders] == ["tim@example.org"]
    assert ann.senders == ()
    assert (tim.salt, tim.iterations) == (Decoys(KEYS).salt("tim@example.org"), 15_000)
    [credential] = tim.credentials
    assert set(credential.verifiers) == {HASH}
    assert tim.is_active
    assert ann.is_active


def test_extra_fields_restrict_as_they_say() -> None:
    line = (
        f"tim:{SSHA}::::::allow_nets=192.0.2.0/24,2001:db8::/32 gatepost_senders=*@example.org,tim@example.net "
        "gatepost_only_senders=tim@example.net gatepost_listeners=devices gatepost_mechanisms=PLAIN,LOGIN "
        "gatepost_expires=2027-01-01 gatepost_sandbox gatepost_credential=the%20printer "
        "gatepost_max_message_bytes=1000 gatepost_max_recipients=3 gatepost_null_sender=no\n"
    )
    account = read(line)["tim"]
    [credential] = account.credentials
    assert credential.networks == (ipaddress.ip_network("192.0.2.0/24"), ipaddress.ip_network("2001:db8::/32"))
    assert [str(each) for each in account.senders] == ["*@example.org", "tim@example.net"]
    assert [str(each) for each in credential.senders] == ["tim@example.net"]
    assert (credential.listeners, credential.mechanisms) == ({"devices"}, {"PLAIN", "LOGIN"})
    assert (credential.expires, credential.sandbox, credential.label) == (1798761600.0, True, "the printer")
    assert (account.max_message_bytes, account.max_recipients, account.null_sender) == (1000, 3, False)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f"tim:{SSHA}::::::nologin", "nologin"),
        (f"tim:{SSHA}::::::gatepost_disabled=left%20us", "left us"),
        (f"tim:!{SSHA}", "locked in the file"),
        ("tim:*", "locked in the file"),
    ],
)
def test_who_may_not_log_in_is_known_and_inactive(line: str, reason: str) -> None:
    account = read(line + "\n")["tim"]
    assert (account.is_active, account.state_reason) == (False, reason)


def test_an_empty_password_opens_nothing() -> None:
    assert read("tim:\n")["tim"].credentials == ()


def test_a_scram_record_serves_scram_with_its_own_salt() -> None:
    account = read(f"tim:{record()}\n")["tim"]
    assert (account.salt, account.iterations) == (bytes(16), 4096)
    assert set(account.credentials[0].verifiers) == {SCRAM_SHA_256}


@pytest.mark.parametrize("text", [record(bytes(12)), record(iterations=1000)])
def test_a_record_that_would_show_that_its_name_exists_is_no_more_than_a_hash(text: str) -> None:
    account = read(f"tim:{text}\n")["tim"]
    assert set(account.credentials[0].verifiers) == {HASH}
    assert account.salt == Decoys(KEYS).salt("tim")


def test_several_lines_of_one_login_are_several_credentials() -> None:
    first, second = (
        f"tim:{record(password=word)}::::::gatepost_credential={word.decode()}\n" for word in (b"one", b"two")
    )
    account = read(first + second)["tim"]
    assert [each.label for each in account.credentials] == ["one", "two"]
    assert len({each.id for each in account.credentials}) == 2


def test_a_changed_hash_is_another_credential_and_an_unchanged_one_is_not() -> None:
    one, again, other = (read(f"tim:{each}\n")["tim"].credentials[0].id for each in (SSHA, SSHA, OTHER))
    assert one == again != other
    assert read(f"ann:{SSHA}\n")["ann"].credentials[0].id != one


def test_weak_hashes_are_named() -> None:
    reader = PasswdFile(KEYS, 15_000)
    reader(f"tim:{SSHA}\nann:{{SHA}}AAAAAAAAAAAAAAAAAAAAAAAAAAA=\n".encode())
    assert reader.weak == ["2: SHA"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("tim", "has no colon"),
        (f":{SSHA}", "its login cannot be used: empty name"),
        (f"t\x07m:{SSHA}", "its login cannot be used"),
        ("tim:secret", "its password is no whole hash"),
        ("tim:{PLAIN}secret", "its password is a password in clear"),
        (f"ok:{SSHA}", "the login has such a line already"),
        (f"ok:{SSHA}::::::gatepost_credential=x gatepost_senders=a@b.example", "say what concerns the account there"),
        ("ok:", "the login has a line already"),
        (f"tim:{SSHA}::::::nopassword", "nopassword"),
        (f"tim:{SSHA}::::::allow_nets=", "empty allow_nets"),
        (f"tim:{SSHA}::::::allow_nets=local", "something else than networks"),
        (f"tim:{SSHA}::::::gatepost_color=red", "gatepost_color, which is none of gatepost's"),
        (f"tim:{SSHA}::::::gatepost_expires=tomorrow", "no proper gatepost_expires"),
        (f"tim:{SSHA}::::::gatepost_max_recipients=0", "no proper gatepost_max_recipients"),
        (f"tim:{SSHA}::::::gatepost_sandbox=maybe", "no proper gatepost_sandbox"),
        (f"tim:{SSHA}::::::gatepost_senders=tim", "no proper gatepost_senders"),
        (f"tim:{SSHA}::::::gatepost_sandbox gatepost_sandbox=no", "gatepost_sandbox twice"),
    ],
)
def test_a_wrong_line_is_told_with_its_number_and_without_its_hash(line: str, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^3: .*{problem}") as caught:
        read(f"# first\nok:{SSHA}\n{line}\n")
    assert "secret" not in str(caught.value)
    assert SSHA not in str(caught.value)


def test_two_records_of_a_login_share_their_salt() -> None:
    first = f"tim:{record()}::::::gatepost_credential=a\n"
    with pytest.raises(ValueError, match=r"^2: has another salt"):
        read(first + f"tim:{record(b'another-salt-016')}::::::gatepost_credential=b\n")


def test_what_is_not_utf_8_is_told() -> None:
    with pytest.raises(ValueError, match=r"^2: is not UTF-8"):
        PasswdFile(KEYS, 4096)(b"tim:" + SSHA.encode() + b"\n\xff:x\n")


@given(st.binary(max_size=300) | st.text(alphabet="tim:{}SHA$=,_ \n@.gatepost*!", max_size=200).map(str.encode))
@example(b"tim:::::::gatepost_=x\n")
@example(b"\n\n:\n")
@example(b"tim:::::::gatepost_expires=0001-01-01")
def test_hostile_octets_are_accounts_or_a_value_error(octets: bytes) -> None:
    try:
        contents = PasswdFile(KEYS, 4096)(octets)
    except ValueError as error:
        problem = str(error)
    else:
        problem = "0: none"
        assert all(login == account.login for login, account in contents.accounts.items())
    assert problem.partition(":")[0].isdecimal()
