"""The table of mechanisms."""

from __future__ import annotations

import re

import pytest

from gatepost.sasl import client
from gatepost.sasl.registry import MECHANISMS, NAMES, default_names, find


def test_the_order_of_preference_puts_certificates_and_proofs_first_and_cram_md5_last():
    bound = ("SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS")
    proofs = ("SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1")
    assert ("EXTERNAL", *bound, *proofs, "PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2", "CRAM-MD5") == NAMES
    assert tuple(MECHANISMS) == NAMES


@pytest.mark.rfc("4422 §3.1")
def test_names_have_the_form_of_sasl_names_and_stand_for_their_mechanism():
    for name, mechanism in MECHANISMS.items():
        assert mechanism.name == name
        assert re.fullmatch(r"[A-Z0-9\-_]{1,20}", name)


def test_only_those_that_bind_say_so_and_they_need_what_their_plain_forms_need():
    for name, mechanism in MECHANISMS.items():
        assert mechanism.binds is name.endswith("-PLUS")
        assert mechanism.needs is MECHANISMS[name.removesuffix("-PLUS")].needs
        assert mechanism.needs.is_verifier is name.startswith(("SCRAM", "CRAM"))


def test_external_cram_md5_and_other_scrams_are_on_only_when_asked_for_and_tokens_are_taken_only_with_an_issuer():
    assert default_names(has_issuer=True) == ("SCRAM-SHA-256", "PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2")
    assert default_names(has_issuer=False) == ("SCRAM-SHA-256", "PLAIN", "LOGIN")


@pytest.mark.rfc("4954 §4")
def test_a_mechanism_is_found_in_any_letter_case():
    assert find("plain") is find("PLAIN") is find("Plain") is MECHANISMS["PLAIN"]
    assert find("scram-sha-256") is MECHANISMS["SCRAM-SHA-256"]


@pytest.mark.parametrize(
    "name", ["", "PLAIN ", "ANONYMOUS", "SCRAM-SHA-224", "PLAIN-PLUS", "pla\u0131n", "\u017fcram-sha-256"]
)
def test_no_other_name_is_found(name):
    assert find(name) is None


def test_every_mechanism_has_its_client_side():
    assert {each.name for each in client.MECHANISMS} == set(NAMES)
