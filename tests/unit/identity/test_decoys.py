"""Decoys follow from name and key, have the shape of the real thing, and are drawn in the proportion of real ones."""

from __future__ import annotations

from gatepost.identity.decoys import DECOY, Decoys
from gatepost.identity.hashes import parse_hash
from gatepost.identity.store import ARGON2ID, HASH, HMAC_MD5, SCRAM_SCHEMES, SCRAM_SHA_256, Work
from gatepost.identity.verifiers import Argon2, check_of, matching
from gatepost.model.identity import Secret
from gatepost.sasl.scram import parse_record
from gatepost.state.keys import Keys
from identities import CHEAP, KEYS

LIKENESS = parse_hash("{SSHA}" + "A" * 32).likeness


def test_a_decoy_is_the_same_after_a_restart_and_another_with_another_key() -> None:
    one, same, other = Decoys(KEYS), Decoys(KEYS), Decoys(Keys(Secret(bytes(32))))
    assert one.account("tim", 4096) == same.account("tim", 4096)
    assert one.salt("tim") != one.salt("ann")
    assert one.salt("tim") != other.salt("tim")
    for scheme in (*SCRAM_SCHEMES, HMAC_MD5):
        account = one.account("tim", 4096)
        assert one.fetched(account, scheme) == same.fetched(account, scheme)
        assert one.fetched(account, scheme) != other.fetched(account, scheme)
    assert one.fetched(one.account("tim", 4096), "PLAIN") is None


def test_decoy_verifiers_have_the_shape_of_real_ones() -> None:
    decoys = Decoys(KEYS)
    account = decoys.account("tim", 5000)
    for scheme in SCRAM_SCHEMES:
        scram = decoys.fetched(account, scheme)
        assert scram is not None
        record = parse_record(scram.reveal().decode())  # sees to the length of the keys
        assert (record.scheme, record.salt, record.iterations, len(record.salt)) == (scheme, account.salt, 5000, 16)
        assert record.stored_key != record.server_key
    states = decoys.fetched(account, HMAC_MD5)
    assert states is not None
    assert len(states.reveal()) == 32


def test_an_account_is_padded_with_what_others_take_and_it_does_not() -> None:
    decoys = Decoys(KEYS)
    account = decoys.account("tim", 4096)
    for works, schemes in (
        ((), [SCRAM_SHA_256]),
        ((Work(pbkdf2=True),), [SCRAM_SHA_256]),
        ((Work(argon2=True),), [ARGON2ID]),
        ((Work(pbkdf2=True), Work(argon2=True)), [SCRAM_SHA_256, ARGON2ID]),
        ((Work(pbkdf2=True, argon2=True, other=LIKENESS),), [SCRAM_SHA_256, ARGON2ID, HASH]),
    ):
        padded = decoys.pad(account, dict.fromkeys(works, 1), CHEAP)
        assert {each.id for each in padded.credentials} == {DECOY}
        assert [scheme for each in padded.credentials for scheme in each.verifiers] == schemes
        assert decoys.pad(padded, dict.fromkeys(works, 1), CHEAP) is padded
        assert matching(check_of(padded), Secret(b"anything")) is None


def test_of_hashes_of_other_programs_the_most_common_kinds_are_taken() -> None:
    decoys = Decoys(KEYS)
    account = decoys.account("tim", 4096)
    likes = [f"{{SSHA}}{'A' * 36}{'A' * number}{'=' * (-(36 + number) % 4)}" for number in (2, 3, 4, 6, 7, 8)]
    work = {Work(other=each): number + 1 for number, each in enumerate(likes)}
    padded = decoys.pad(account, work, CHEAP)
    texts = [each.verifiers[HASH].reveal().decode() for each in padded.credentials]
    assert texts == likes[:1:-1]


def test_an_argon2id_decoy_costs_what_it_says() -> None:
    decoys = Decoys(KEYS)
    padded = decoys.pad(decoys.account("tim", 4096), {Work(argon2=True): 1}, Argon2(16 * 1024, 3, 2))
    assert padded.credentials[0].verifiers[ARGON2ID].reveal().startswith(b"$argon2id$v=19$m=16,t=3,p=2$")
    assert matching(check_of(padded), Secret(b"anything")) is None


def test_draws_follow_the_weights_and_move_only_one_way() -> None:
    decoys = Decoys(KEYS)
    names = [f"user{number}" for number in range(2000)]
    earlier = dict.fromkeys(names, 4096)
    for new in (0, 100, 500, 900, 1000):
        drawn = {name: decoys.draw("iterations", name, {4096: 1000 - new, 15000: new}, 4096) for name in names}
        assert abs(sum(each == 15000 for each in drawn.values()) / len(names) - new / 1000) < 0.05
        assert all(drawn[name] >= earlier[name] for name in names)
        earlier = drawn
    assert decoys.draw("iterations", "tim", {}, 15000) == 15000
    assert decoys.draw("iterations", "tim", {4096: 0}, 15000) == 15000
