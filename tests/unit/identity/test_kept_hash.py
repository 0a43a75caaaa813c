"""How a database keeps hashes that other programs made."""

from __future__ import annotations

import pytest
from passlib.hash import argon2

from gatepost.identity.hashes import parse_hash
from gatepost.identity.kept_hash import ARGON2ID_TAIL, argon2id_head, held, keep, likeness_of
from gatepost.identity.store import ARGON2ID, HASH, SCRAM_SHA_256
from gatepost.identity.verifiers import Argon2, argon2id_decoy
from gatepost.model.identity import Secret

COST = Argon2(memory_bytes=64 * 1024, passes=2, lanes=1)


def test_what_is_kept_comes_back_and_its_likeness_stands_before_it() -> None:
    found = parse_hash("{SSHA}" + "A" * 32)
    kept = keep(found.text, found.likeness).reveal()
    assert held(HASH, kept) == (HASH, found.text)
    assert likeness_of(kept.partition(b"\n")[0]) == found.likeness


def test_an_argon2id_hash_of_another_cost_is_one_of_those() -> None:
    text = argon2.using(type="ID", rounds=2, memory_cost=64, parallelism=1).hash("x").encode()
    assert text.startswith(argon2id_head(COST))
    assert held(ARGON2ID, text, argon2id_head(COST)) == (ARGON2ID, Secret(text))
    assert held(ARGON2ID, text) == (ARGON2ID, Secret(text))
    scheme, verifier = held(ARGON2ID, text, argon2id_head(Argon2()))
    assert (scheme, verifier) == (HASH, Secret(b"{ARGON2ID}" + text))
    # What a survey counts is what decoys are made of.
    assert likeness_of(text[:-ARGON2ID_TAIL]) == parse_hash(verifier.reveal().decode()).likeness


def test_decoys_have_the_form_of_real_ones() -> None:
    decoy = argon2id_decoy(bytes(32), COST).reveal()
    assert decoy.startswith(argon2id_head(COST))
    assert len(decoy) == len(argon2id_head(COST)) + ARGON2ID_TAIL


@pytest.mark.parametrize("head", [b"", argon2id_head(COST)])
def test_other_verifiers_are_handed_out_as_they_are(head: bytes) -> None:
    assert held(SCRAM_SHA_256, b"a\nb", head) == (SCRAM_SHA_256, Secret(b"a\nb"))
