"""Hashes that other programs made: each scheme opened by its password alone, and whatever else is refused in words."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from passlib import hash as passlib_hashes

from gatepost.identity import hashes
from gatepost.identity.hashes import cram_md5_states, is_match, parse_hash
from gatepost.identity.store import HASH, Account, Credential, Work
from gatepost.identity.verifiers import check_of, matching
from gatepost.model.identity import Secret
from gatepost.sasl.hmac_md5 import states
from gatepost.sasl.scram import derive
from identities import KEYS

PASSWORD = "open sesame ü"
made: Any = passlib_hashes
_DIGEST = hashlib.sha256(PASSWORD.encode() + b"salt").digest() + b"salt"
_RECORD = derive(PASSWORD.encode(), bytes(16), 4096).removeprefix("SCRAM-SHA-256$").replace("$", ",").replace(":", ",")
_PBKDF2 = hashlib.pbkdf2_hmac("sha1", PASSWORD.encode(), b"NaCl1234", 5000)

HASHES = {
    "sha512-crypt": "{SHA512-CRYPT}" + made.sha512_crypt.using(rounds=1000).hash(PASSWORD),
    "sha512-crypt without prefix": made.sha512_crypt.using(rounds=5000).hash(PASSWORD),
    "sha256-crypt": "{CRYPT}" + made.sha256_crypt.using(rounds=1000).hash(PASSWORD),
    "md5-crypt": "{MD5-CRYPT}" + made.md5_crypt.hash(PASSWORD),
    "des-crypt": made.des_crypt.hash(PASSWORD),
    "bcrypt, from PHP": "$2a$07$usesomesillystringfore2uDLvp1Ii2e./U9C8sBjqp8I90dH6hi",
    "apr1": made.apr_md5_crypt.hash(PASSWORD),
    "sha": made.ldap_sha1.hash(PASSWORD),
    "ssha": made.ldap_salted_sha1.hash(PASSWORD),
    "ssha256": "{SSHA256}" + base64.b64encode(_DIGEST).decode(),
    "ssha256 in hex": "{SSHA256.HEX}" + _DIGEST.hex(),
    "ssha512": "{ssha512.b64}" + made.ldap_salted_sha512.hash(PASSWORD).removeprefix("{SSHA512}"),
    "sha512": "{SHA512}" + base64.b64encode(hashlib.sha512(PASSWORD.encode()).digest()).decode(),
    "pbkdf2 of Dovecot": f"{{PBKDF2}}$1$NaCl1234$5000${_PBKDF2.hex()}",
    "pbkdf2 of passlib": made.ldap_pbkdf2_sha256.using(rounds=1000).hash(PASSWORD),
    "pbkdf2 in modular form": made.pbkdf2_sha512.using(rounds=1000).hash(PASSWORD),
    "argon2id": "{ARGON2ID}" + made.argon2.using(memory_cost=64, rounds=1).hash(PASSWORD),
    "argon2i without prefix": made.argon2.using(type="I", memory_cost=64, rounds=1).hash(PASSWORD),
    "scram": "{SCRAM-SHA-256}" + _RECORD,
    "smd5": made.ldap_salted_md5.hash(PASSWORD).replace("{SMD5}", "{smd5}"),
    "ldap-md5": "{LDAP-MD5}" + made.ldap_md5.hash(PASSWORD).removeprefix("{MD5}"),
    "plain-md5": "{PLAIN-MD5}" + hashlib.md5(PASSWORD.encode(), usedforsecurity=False).hexdigest(),
    "plain-md5 in base64": "{PLAIN-MD5.B64}" + made.ldap_md5.hash(PASSWORD).removeprefix("{MD5}"),
    "cram-md5": "{CRAM-MD5}0463758099d84c05b41806ada15c1696d5bcbdef6e5ae6dcac2368c8e588b737",
    "hmac-md5": "{HMAC-MD5}0463758099D84C05B41806ADA15C1696D5BCBDEF6E5AE6DCAC2368C8E588B737",
}
_PASSWORDS = {"bcrypt, from PHP": "rasmuslerdorf"}


@pytest.mark.parametrize("kind", HASHES)
def test_the_password_opens_it_and_no_other_does(kind: str) -> None:
    password = _PASSWORDS.get(kind, PASSWORD).encode()
    found = parse_hash(HASHES[kind])
    assert is_match(password, found.text)
    for other in (b"", b"sesame", password.upper(), b"x" * 256, b"\xff\xfe", password + b"\0", b"\0"):
        assert not is_match(other, found.text)


@pytest.mark.parametrize("kind", HASHES)
def test_its_likeness_is_of_the_same_scheme_and_opened_by_nothing(kind: str) -> None:
    found = parse_hash(HASHES[kind])
    likeness = Secret(found.likeness.encode())
    assert found.likeness.startswith(f"{{{found.scheme}}}")
    for password in (PASSWORD.encode(), b"", b"password"):
        assert not is_match(password, likeness)
    # All of the same cost have the same one: it is what decoys are counted by.
    assert parse_hash(HASHES[kind]).likeness == found.likeness
    assert found.text.reveal() not in found.likeness.encode()


@pytest.mark.parametrize("kind", HASHES)
def test_what_was_read_is_read_again_as_the_same(kind: str) -> None:
    found = parse_hash(HASHES[kind])
    assert parse_hash(found.text.reveal().decode()) == found
    assert parse_hash(found.likeness).likeness == found.likeness


def test_what_dovecot_keeps_for_cram_md5_serves_cram_md5() -> None:
    assert cram_md5_states(parse_hash(HASHES["cram-md5"]).text) == states(PASSWORD.encode())
    assert cram_md5_states(parse_hash(HASHES["plain-md5"]).text) is None


def test_the_cost_stays_in_the_likeness() -> None:
    for text, cost in (("$6$rounds=5000$", "rounds=5000"), ("$2b$11$", "$11$")):
        whole = text + ("abcdefgh$" + "a" * 86 if "$6$" in text else "a" * 53)
        assert cost in parse_hash(whole).likeness


@pytest.mark.parametrize(
    "kind",
    [each for each in HASHES if not each.startswith(("ssha", "argon2"))],  # their parts have no fixed length
)
def test_a_hash_that_was_cut_off_is_refused(kind: str) -> None:
    text = HASHES[kind]
    for length in range(1, len(text)):
        with pytest.raises(ValueError, match=r"^is "):
            parse_hash(text[:length])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{PLAIN}secret", "in clear"),
        ("{CLEARTEXT}secret", "in clear"),
        ("{DIGEST-MD5}" + "0" * 32, "not known here"),
        ("{CRAM-MD5}" + "0" * 62, "no whole CRAM-MD5"),
        ("{CRAM-MD5}" + "0" * 62 + "ü0", "no whole CRAM-MD5"),
        ("{PLAIN-MD5}" + "0" * 30, "no whole PLAIN-MD5"),
        ("{ROT13}frperg", r"scheme \{ROT13\}"),
        ("secret", "no whole hash"),
        ("{SSHA}secret!", "no whole SSHA"),
        ("{SSHA}" + base64.b64encode(bytes(23)).decode(), "no whole SSHA"),
        ("{SHA256-CRYPT}" + made.sha512_crypt.using(rounds=1000).hash("x"), "no whole hash"),
        ("{PBKDF2}$1$salt$0$" + "0" * 40, "no whole PBKDF2"),
        ("{PBKDF2}$1$salt$99999999999$" + "0" * 40, "no whole PBKDF2"),
        ("{SCRAM-SHA-256}4096,AAAA,BBBB", "iterations, salt and two keys"),
        ("{SCRAM-SHA-256}0," + _RECORD.partition(",")[2], "SCRAM record"),
        ("{SCRAM-MD5}" + _RECORD, "SCRAM record"),
    ],
)
def test_what_cannot_be_checked_is_refused_in_words_that_do_not_show_it(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        parse_hash(text)
    assert "secret" not in str(caught.value)


@given(st.text(max_size=120) | st.sampled_from(list(HASHES.values())).flatmap(lambda text: st.just(text[:-1] + "\n")))
@example("{SSHA}")
@example("$argon2id$")
@example("$apr1$")
@example("{PBKDF2}$1$$$")
@example("{}")
@example("$pbkdf2-sha256$")
def test_hostile_text_is_a_hash_or_a_value_error(text: str) -> None:
    try:
        found = parse_hash(text)
    except ValueError:
        return
    assert not is_match(b"\xff hardly", found.text)


def test_without_a_c_library_that_knows_a_scheme_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes._is_known_to_libcrypt.cache_clear()
    monkeypatch.setattr(hashes, "_crypt_r", lambda: None)
    with pytest.raises(ValueError, match="SHA512-CRYPT hash, which the C library of this machine cannot check"):
        parse_hash(HASHES["sha512-crypt"])
    hashes._is_known_to_libcrypt.cache_clear()


def test_such_a_hash_is_a_verifier_like_the_others() -> None:
    found = parse_hash(HASHES["ssha512"])
    gone = Credential("gone", verifiers={HASH: found.text}, revoked=1.0)
    stands = Credential("stands", verifiers={HASH: found.text})
    check = check_of(Account("tim", b"", 4096, credentials=(gone, stands)))
    assert len(check.all) == 2
    assert matching(check, Secret(PASSWORD.encode())) == 1
    assert matching(check, Secret(b"wrong")) is None
    assert matching(check_of(Account("tim", b"", 4096, credentials=(gone,))), Secret(PASSWORD.encode())) == 0
    many = check_of(Account("tim", b"", 4096, credentials=(stands,) * 9))
    assert len(many.others) == 4


def test_a_decoy_costs_what_the_real_ones_cost() -> None:
    from gatepost.identity.decoys import Decoys
    from identities import CHEAP

    likeness = parse_hash(HASHES["sha512-crypt"]).likeness
    decoys = Decoys(KEYS)
    check = check_of(decoys.pad(decoys.account("nobody", 4096), {Work(other=likeness): 1}, CHEAP))
    assert [each.verifier.reveal().decode() for each in check.others] == [likeness]
    assert matching(check, Secret(PASSWORD.encode())) is None
