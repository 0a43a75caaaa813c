"""Which verifiers a secret leaves, and what opens them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost.identity import verifiers
from gatepost.identity.store import ARGON2ID, HMAC_MD5, SCRAM_SHA_1, SCRAM_SHA_256, SCRAM_SHA_512, Account, Credential
from gatepost.identity.verifiers import check_of, make, matching
from gatepost.model.identity import Secret
from gatepost.sasl import hmac_md5, scram
from identities import CHEAP

_SALT = bytes(range(16))


def _made(secret: str, *, is_chosen: bool, mechanisms: tuple[str, ...]) -> dict[str, Secret]:
    return make(
        Secret(secret.encode()),
        is_chosen=is_chosen,
        mechanisms=mechanisms,
        salt=_SALT,
        iterations=4096,
        argon2=CHEAP,
    )


def _account(*held: dict[str, Secret]) -> Account:
    credentials = tuple(Credential(f"c{number}", verifiers=each) for number, each in enumerate(held))
    return Account("tim", _SALT, 4096, credentials=credentials)


@pytest.mark.parametrize(
    ("is_chosen", "mechanisms", "schemes"),
    [
        (False, ("SCRAM-SHA-256", "PLAIN", "LOGIN"), {SCRAM_SHA_256}),
        (False, ("PLAIN",), {SCRAM_SHA_256}),
        (False, ("CRAM-MD5",), {SCRAM_SHA_256, HMAC_MD5}),
        (False, ("SCRAM-SHA-1", "PLAIN"), {SCRAM_SHA_1, SCRAM_SHA_256}),
        (False, ("SCRAM-SHA-512-PLUS", "SCRAM-SHA-256"), {SCRAM_SHA_512, SCRAM_SHA_256}),
        (True, ("SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-512"), {SCRAM_SHA_1, SCRAM_SHA_512}),
        (True, ("SCRAM-SHA-256-PLUS",), {SCRAM_SHA_256}),
        (True, ("PLAIN", "LOGIN"), {ARGON2ID}),
        (True, ("LOGIN",), {ARGON2ID}),
        (True, ("SCRAM-SHA-256", "PLAIN"), {ARGON2ID, SCRAM_SHA_256}),
        (True, ("SCRAM-SHA-256",), {SCRAM_SHA_256}),
        (True, ("CRAM-MD5", "PLAIN"), {ARGON2ID, HMAC_MD5}),
    ],
)
def test_a_secret_leaves_no_more_than_its_mechanisms_need(
    is_chosen: bool, mechanisms: tuple[str, ...], schemes: set[str]
) -> None:
    assert set(_made("a secret of ours", is_chosen=is_chosen, mechanisms=mechanisms)) == schemes


def test_verifiers_are_of_the_secret() -> None:
    made = _made("a secret of ours", is_chosen=True, mechanisms=("SCRAM-SHA-256", "PLAIN", "CRAM-MD5"))
    assert made[SCRAM_SHA_256].reveal().decode() == scram.derive(b"a secret of ours", _SALT, 4096)
    assert made[HMAC_MD5].reveal() == hmac_md5.states(b"a secret of ours")
    assert made[ARGON2ID].reveal().startswith(b"$argon2id$v=19$m=8,t=1,p=1$")
    assert not any(b"secret" in each.reveal() for each in made.values())


def test_each_secret_opens_its_own_credential() -> None:
    generated = [_made(text, is_chosen=False, mechanisms=("PLAIN",)) for text in ("first one", "second one")]
    chosen = _made("chosen one", is_chosen=True, mechanisms=("PLAIN",))
    check = check_of(_account(generated[0], chosen, generated[1]))
    for secret, owner in ((b"first one", "c0"), (b"second one", "c2"), (b"chosen one", "c1")):
        found = matching(check, Secret(secret))
        assert found is not None
        assert check.all[found].credential.id == owner
    assert matching(check, Secret(b"third one")) is None


def test_one_pbkdf2_and_one_argon2id_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    held = [_made(f"generated {number}", is_chosen=False, mechanisms=("PLAIN",)) for number in range(5)]
    held += [_made(f"chosen {number}", is_chosen=True, mechanisms=("PLAIN",)) for number in range(3)]
    done: list[str] = []
    stored_key, verify = scram.stored_key, verifiers._verify_argon2id
    monkeypatch.setattr(scram, "stored_key", lambda *a: (done.append("pbkdf2"), stored_key(*a))[1])
    monkeypatch.setattr(verifiers, "_verify_argon2id", lambda *a: (done.append("argon2id"), verify(*a))[1])
    assert matching(check_of(_account(*held)), Secret(b"wrong")) is None
    assert done == ["pbkdf2", "argon2id"]


def test_a_gone_chosen_secret_is_still_known_by_its_scram_record() -> None:
    standing = _made("standing one", is_chosen=True, mechanisms=("PLAIN", "SCRAM-SHA-256"))
    gone = _made("one that is gone", is_chosen=True, mechanisms=("PLAIN", "SCRAM-SHA-256"))
    check = check_of(_account(standing, gone))
    found = matching(check, Secret(b"one that is gone"))
    assert found is not None
    assert check.all[found].credential.id == "c1"


@pytest.mark.rfc("4013 §2")
def test_a_password_is_tried_prepared_and_then_as_it_came() -> None:
    soft_hyphen = "pass\u00adword of ours"
    check = check_of(_account(_made("password of ours", is_chosen=False, mechanisms=("PLAIN",))))
    assert matching(check, Secret(soft_hyphen.encode())) is not None
    raw = make(Secret(soft_hyphen.encode()), is_chosen=False, mechanisms=(), salt=_SALT, iterations=4096, argon2=CHEAP)
    assert matching(check_of(_account(raw)), Secret(soft_hyphen.encode())) is not None


@pytest.mark.parametrize("password", [b"", b"a\0b", b"x" * 5000, b"\xff\xfe"])
def test_what_the_hash_library_refuses_is_a_no(password: bytes) -> None:
    check = check_of(_account(_made("chosen one", is_chosen=True, mechanisms=("PLAIN",))))
    assert matching(check, Secret(password)) is None


@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=6000))
def test_no_octets_raise_and_none_open_what_is_not_theirs(octets: bytes) -> None:
    check = check_of(_account(_made("chosen one", is_chosen=True, mechanisms=("PLAIN", "SCRAM-SHA-256"))))
    assert (matching(check, Secret(octets)) is not None) == (octets == b"chosen one")
