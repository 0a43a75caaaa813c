"""Which access tokens count, and that nothing else does."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost.errors import ConfigError
from gatepost.identity.bearer import TokenVerifier
from gatepost.identity.issuer import ALGORITHMS, Issuer
from gatepost.identity.jwks import KeySource
from gatepost.identity.tokens import TokenInvalid, TokenSubject
from gatepost.model.identity import Secret
from identities import Clock
from tokens import AUDIENCE, ISSUER, Signer, jwks, unsigned

_CLOCK = Clock()
_NOW = _CLOCK.now()
_SIGNER = Signer("ES256")
_RSA = Signer("RS256", "rsa")


def _verifier(*keys: dict[str, Any], **facts: Any) -> TokenVerifier:
    octets = jwks(*(keys or (_SIGNER.public(), _RSA.public())))

    async def fetch() -> bytes:
        return octets

    return TokenVerifier([Issuer(ISSUER, AUDIENCE, KeySource(fetch, "test", _CLOCK), **facts)], _CLOCK)


async def _judge(token: bytes, verifier: TokenVerifier | None = None) -> TokenSubject | str:
    judged = await (verifier or _verifier()).verify(Secret(token))
    return judged.reason if isinstance(judged, TokenInvalid) else judged


_GOOD = TokenSubject("tim@example.org", ISSUER)


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "ES384", "Ed25519"])
async def test_a_token_counts_with_each_kind_of_signature(algorithm: str) -> None:
    signer = Signer(algorithm)
    verifier = _verifier(signer.public())
    assert await _judge(signer.token(_NOW), verifier) == _GOOD
    other = Signer(algorithm)
    assert await _judge(other.token(_NOW), verifier) == "token with a bad signature"


@pytest.mark.rfc("7519 §4.1.3")
@pytest.mark.rfc("7519 §4.1.4")
@pytest.mark.rfc("7519 §4.1.5")
@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"aud": ["other", AUDIENCE]}, ""),
        ({"exp": _NOW - 59}, ""),
        ({"nbf": _NOW + 59}, ""),
        ({"exp": _NOW + 0.5}, ""),
        ({"iss": "https://evil.example/"}, "token of an unknown issuer"),
        ({"iss": ISSUER.rstrip("/")}, "token of an unknown issuer"),
        ({"iss": [ISSUER]}, "token of an unknown issuer"),
        ({"iss": None}, "token of an unknown issuer"),
        ({"aud": "other"}, "token for another audience"),
        ({"aud": ["other"]}, "token for another audience"),
        ({"aud": AUDIENCE + "x"}, "token for another audience"),
        ({"aud": {AUDIENCE: 1}}, "token for another audience"),
        ({"aud": None}, "token for another audience"),
        ({"exp": _NOW - 60}, "token expired"),
        ({"exp": None}, "token without a proper time of expiry"),
        ({"exp": True}, "token without a proper time of expiry"),
        ({"exp": "9999999999"}, "token without a proper time of expiry"),
        ({"exp": float("inf")}, "token without a proper time of expiry"),
        ({"nbf": _NOW + 61}, "token not valid yet"),
        ({"nbf": "soon"}, "token without a proper time of expiry"),
        ({"sub": None}, "token without the claim sub"),
        ({"sub": ""}, "token without the claim sub"),
        ({"sub": 7}, "token without the claim sub"),
    ],
)
async def test_claims_must_fit(claims: dict[str, Any], reason: str) -> None:
    assert await _judge(_SIGNER.token(_NOW, **claims)) == (reason or _GOOD)


@pytest.mark.rfc("8725 §3.1")
async def test_no_algorithm_but_ours_counts() -> None:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "tim@example.org", "exp": _NOW + 300}
    not_allowed = "token signed with an algorithm that is not allowed"
    for name in ("none", "None", "NONE", "", "HS256", "HS512", "EdDSA", "RS1", 7, None, ["ES256"]):
        header = {"alg": name, "kid": "k1"}
        assert await _judge(unsigned(header, claims)) == not_allowed
        assert await _judge(unsigned(header, claims, b"x" * 64)) == not_allowed
    assert await _judge(unsigned({"kid": "k1"}, claims)) == not_allowed
    # The public key as a shared secret: in each form in which an attacker can have it.
    public = _RSA.public()
    for secret in (_RSA.key.as_pem(private=False), json.dumps(public).encode(), public["n"].encode()):
        start = unsigned({"alg": "HS256", "kid": "rsa"}, claims)[:-1]
        mac = base64.urlsafe_b64encode(hmac.digest(secret, start, hashlib.sha256)).rstrip(b"=")
        assert await _judge(start + b"." + mac) == not_allowed


async def test_an_issuer_may_be_held_to_fewer_algorithms() -> None:
    verifier = _verifier(algorithms=("RS256",))
    assert await _judge(_RSA.token(_NOW), verifier) == _GOOD
    assert await _judge(_SIGNER.token(_NOW), verifier) == "token signed with an algorithm that is not allowed"
    with pytest.raises(ConfigError, match="HS256"):
        _verifier(algorithms=("HS256",))


async def test_a_key_signs_only_what_it_is_for() -> None:
    unknown = "token signed with an unknown key"
    assert await _judge(_SIGNER.token(_NOW), _verifier(_SIGNER.public(use="enc"))) == unknown
    assert await _judge(_SIGNER.token(_NOW), _verifier(_SIGNER.public(alg="ES384"))) == unknown
    assert await _judge(_SIGNER.token(_NOW), _verifier(_SIGNER.public(use="sig", alg="ES256"))) == _GOOD
    # The header names a key of another family.
    assert await _judge(_SIGNER.token(_NOW, header={"kid": "rsa"})) == unknown
    assert await _judge(unsigned({"alg": "ES256", "kid": 7}, {"iss": ISSUER})) == "token with a bad key id"


async def test_a_token_without_a_key_id_is_tried_with_the_keys_that_fit() -> None:
    assert await _judge(_SIGNER.token(_NOW, header={"kid": None})) == _GOOD


@pytest.mark.rfc("7515 §4.1.11")
@pytest.mark.rfc("7515 §4")
async def test_critical_extensions_are_refused_and_unknown_parameters_ignored() -> None:
    assert await _judge(_SIGNER.token(_NOW, header={"crit": ["b64"], "b64": True})) == "token is no signed JWT"
    assert await _judge(_SIGNER.token(_NOW, header={"x5t": "abc", "nonce": "def", "vendor": {"a": 1}})) == _GOOD
    assert await _judge(_SIGNER.token(_NOW, header={"x5c": ["a" * 1500]})) == _GOOD


@pytest.mark.rfc("8725 §3.11")
async def test_a_token_made_for_something_else_is_refused() -> None:
    for kind in ("JWT", "at+jwt", "AT+JWT", "application/at+jwt"):
        assert await _judge(_SIGNER.token(_NOW, header={"typ": kind})) == _GOOD
    for kind in ("logout+jwt", "secevent+jwt", "dpop+jwt"):
        assert await _judge(_SIGNER.token(_NOW, header={"typ": kind})) == "token is no access token"


async def test_an_address_counts_only_when_its_issuer_has_verified_it() -> None:
    verifier = _verifier(claims=("email",))
    unverified = "token with an address that its issuer has not verified"
    for verified, found in (
        (True, _GOOD),
        (False, unverified),
        ("true", unverified),
        (1, unverified),
        (None, unverified),
    ):
        token = _SIGNER.token(_NOW, sub="x", email="tim@example.org", email_verified=verified)
        assert await _judge(token, verifier) == found


@pytest.mark.parametrize(
    ("claims", "counts"),
    [
        ({"scope": "openid smtp.send"}, True),
        ({"scp": ["smtp.send"]}, True),
        ({"scp": "smtp.send"}, True),
        ({"scope": "smtp.sendall"}, False),
        ({"scope": 7}, False),
        ({}, False),
    ],
)
async def test_a_scope_that_is_needed_must_be_there(claims: dict[str, Any], counts: bool) -> None:
    verifier = _verifier(scope="smtp.send")
    found = await verifier.verify(Secret(_SIGNER.token(_NOW, **claims)))
    assert isinstance(found, TokenSubject) is counts
    if not counts:
        assert found == TokenInvalid("token without the scope that is needed", "smtp.send", lacks_scope=True)


async def test_clients_are_told_what_to_ask_for_and_where() -> None:
    async def fetch() -> bytes:
        return jwks(_SIGNER.public())

    def verifier(*names: str) -> TokenVerifier:
        return TokenVerifier(
            [
                Issuer(each, AUDIENCE, KeySource(fetch, each, _CLOCK), scope=f"of {each}", configuration=f"{each}/conf")
                for each in names
            ],
            _CLOCK,
        )

    async def told(found: TokenVerifier, token: bytes) -> tuple[str, str]:
        judged = await found.verify(Secret(token))
        return judged.scope, judged.configuration

    one, two = verifier("a"), verifier("a", "b")
    # A token that names nobody of ours: of several issuers, no client can be told which one is its own.
    for nobodys in (b"", b"opaque", _SIGNER.token(_NOW)):
        assert await told(one, nobodys) == ("of a", "a/conf")
        assert await told(two, nobodys) == ("of a of b", "")
    # Whatever is wrong with a token of an issuer's, also whom it is of, its client is told the same.
    for claims in ({"exp": 0}, {"aud": "x"}, {"sub": 7}, {"scope": "x"}, {"scope": ["of b"]}, {}):
        assert await told(two, _SIGNER.token(_NOW, iss="b", **claims)) == ("of b", "b/conf")


@pytest.mark.parametrize("issuer", ["https://login.microsoftonline.com/common/v2.0", "https://x/{tenantid}/", ""])
async def test_issuers_that_speak_for_everybody_are_refused(issuer: str) -> None:
    with pytest.raises(ConfigError):
        Issuer(issuer, AUDIENCE, cast("KeySource", None))
    with pytest.raises(ConfigError):
        Issuer(ISSUER, "", cast("KeySource", None))
    for claim in ("preferred_username", "upn"):
        with pytest.raises(ConfigError, match=claim):
            Issuer(ISSUER, AUDIENCE, cast("KeySource", None), ("sub", claim))


@pytest.mark.parametrize(
    ("claims", "found"),
    [
        ({"email": "tim@example.org", "email_verified": True}, "tim@example.org"),
        ({"email": "eve@example.org", "email_verified": False}, "tim@example.org"),
        ({"email": "eve@example.org"}, "tim@example.org"),
        ({"email": ["eve@example.org"], "email_verified": True}, "tim@example.org"),
        ({"email": "", "email_verified": True}, "tim@example.org"),
        ({"sub": None}, ""),
        ({"sub": None, "email": "eve@example.org", "email_verified": "true"}, ""),
    ],
)
async def test_of_several_claims_the_first_that_counts_says_who_somebody_is(claims: dict[str, Any], found: str) -> None:
    judged = await _judge(_SIGNER.token(_NOW, **claims), _verifier(claims=("email", "sub")))
    if found:
        assert judged == TokenSubject(found, ISSUER)
    else:
        assert str(judged).endswith("token without the claim sub")


async def test_an_object_id_of_microsofts_counts_only_with_the_tenant_of_the_issuer() -> None:
    name = "https://login.microsoftonline.com/11111111-2222/v2.0"

    async def fetch() -> bytes:
        return jwks(_SIGNER.public())

    verifier = TokenVerifier([Issuer(name, AUDIENCE, KeySource(fetch, "test", _CLOCK), ("oid",))], _CLOCK)
    for tenant, counts in (
        ("11111111-2222", True),
        ("99999999-2222", False),
        (None, False),
        ("", False),
        (["v2.0"], False),
    ):
        token = _SIGNER.token(_NOW, iss=name, oid="ann", tid=tenant)
        assert await _judge(token, verifier) == (TokenSubject("ann", name) if counts else "token of another tenant")


async def test_tokens_that_are_for_no_access_or_bound_to_a_key_are_refused() -> None:
    for kind in ("ID", "Refresh", "Offline", "Logout"):
        assert await _judge(_SIGNER.token(_NOW, typ=kind)) == "token is no access token"
    assert await _judge(_SIGNER.token(_NOW, typ="Bearer")) == _GOOD
    assert await _judge(_SIGNER.token(_NOW, cnf={"jkt": "x"})) == "token bound to a key"


async def test_a_time_beyond_all_numbers_is_none() -> None:
    for claim in ("exp", "nbf"):
        token = _SIGNER.token(_NOW, **{claim: 10**400})
        assert await _judge(token) == "token without a proper time of expiry"


async def test_a_key_that_was_replaced_under_its_id_or_without_one_is_found() -> None:
    clock, documents, fetches = Clock(), [jwks(_SIGNER.public())], 0

    async def fetch() -> bytes:
        nonlocal fetches
        fetches += 1
        return documents[0]

    verifier = TokenVerifier([Issuer(ISSUER, AUDIENCE, KeySource(fetch, "test", clock))], clock)
    assert await _judge(_SIGNER.token(_NOW), verifier) == _GOOD
    other = Signer("ES256", _SIGNER.kid)
    documents[0] = jwks(other.public())
    assert await _judge(other.token(_NOW, header={"kid": None}), verifier) == _GOOD
    assert fetches == 2
    clock.time += 60
    third = Signer("ES384", _SIGNER.kid)  # of another kind
    documents[0] = jwks(third.public())
    assert await _judge(third.token(_NOW), verifier) == _GOOD
    assert fetches == 3
    # Whoever signs with a key of their own causes no more than one fetch a minute.
    for _ in range(20):
        assert await _judge(Signer("ES384", "k1").token(_NOW), verifier) == "token with a bad signature"
        assert await _judge(_SIGNER.token(_NOW), verifier) == "token signed with an unknown key"
    assert fetches == 3


async def test_a_changed_token_never_counts() -> None:
    good = _SIGNER.token(_NOW)
    verifier = _verifier()
    for place in range(0, len(good) - 2, 5):  # the last character holds bits that say nothing
        changed = bytearray(good)
        changed[place] ^= 1
        assert isinstance(await _judge(bytes(changed), verifier), str)


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.builds(
            unsigned,
            st.dictionaries(
                st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk"]),
                st.one_of(
                    st.none(), st.integers(), st.text(max_size=8), st.sampled_from(ALGORITHMS), st.lists(st.text())
                ),
            ),
            st.one_of(
                st.none(),
                st.lists(st.integers()),
                st.dictionaries(
                    st.sampled_from(["iss", "aud", "exp", "sub"]),
                    st.one_of(st.just(ISSUER), st.integers(), st.none(), st.lists(st.text(max_size=3))),
                ),
            ),
            st.binary(max_size=80),
        ),
    )
)
async def test_hostile_tokens_are_refused_and_raise_nothing(token: bytes) -> None:
    assert isinstance(await _judge(token), str)


async def test_tokens_that_are_too_long_or_too_deep_are_refused() -> None:
    assert await _judge(b"a" * 20_000 + b".b.c") == "token is empty or too long"
    deep = base64.urlsafe_b64encode(b"[" * 4000).rstrip(b"=")
    assert await _judge(deep + b"." + deep + b".x") == "token is no signed JWT"
    # Whoever reads it first may get through it, where whoever reads it later does not.
    payload = base64.urlsafe_b64encode(json.dumps({"iss": ISSUER}).encode()).rstrip(b"=")
    verifier = _verifier()
    for depth in range(700, 1000):
        header = f'{{"alg":"ES256","x":{"[" * depth}{"]" * depth}}}'.encode()
        token = base64.urlsafe_b64encode(header).rstrip(b"=") + b"." + payload + b"." + b"x" * 86
        assert await _judge(token, verifier) in {"token is no signed JWT", "token with a bad signature"}
