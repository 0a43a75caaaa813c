"""What a proven credential may be refused for, and that nothing else is refused."""

from __future__ import annotations

import dataclasses
import ipaddress
from typing import Any

import pytest

from gatepost.identity.admission import CANARY, why_not, why_not_account, why_not_credential
from gatepost.identity.store import Account, Credential
from gatepost.model.identity import Secret
from gatepost.model.peer import ClientCertificate, Peer, TlsFacts

_NOW = 1000.0


def _why(address: str = "192.0.2.7", mechanism: str = "PLAIN", listener: str = "submission", **facts: Any) -> str:
    return why_not_credential(Credential("c1", **facts), Peer(address, 1, listener), mechanism, _NOW)


def _networks(*texts: str) -> Any:
    return tuple(ipaddress.ip_network(each) for each in texts)


def test_a_credential_without_restrictions_is_admitted_everywhere() -> None:
    assert _why() == ""
    assert _why("2001:db8::1", "SCRAM-SHA-256", "devices") == ""
    assert _why("no address at all") == ""


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"revoked": 1.0}, "credential revoked"),
        ({"revoked": 1.0, "expires": 1.0}, "credential revoked"),
        ({"expires": _NOW}, "credential expired"),
        ({"not_before": _NOW + 1}, "credential not valid yet"),
        ({"listeners": frozenset({"devices"})}, "credential not for listener submission"),
        ({"networks": _networks("198.51.100.0/24")}, "credential not for network of 192.0.2.7"),
        ({"mechanisms": frozenset({"LOGIN"})}, "credential not for mechanism PLAIN"),
    ],
)
def test_each_restriction_has_its_reason(facts: dict[str, Any], reason: str) -> None:
    assert _why(**facts) == reason


def test_whoever_may_use_a_mechanism_may_bind_it_to_the_connection_but_not_the_other_way_round() -> None:
    assert _why(mechanism="SCRAM-SHA-256-PLUS", mechanisms=frozenset({"SCRAM-SHA-256"})) == ""
    assert _why(mechanism="SCRAM-SHA-256-PLUS", mechanisms=frozenset({"SCRAM-SHA-256-PLUS"})) == ""
    assert _why(mechanism="SCRAM-SHA-256", mechanisms=frozenset({"SCRAM-SHA-256-PLUS"})) != ""
    assert _why(mechanism="SCRAM-SHA-256-PLUS", mechanisms=frozenset({"SCRAM-SHA-1", "PLAIN"})) != ""


def test_what_fits_is_admitted() -> None:
    assert (
        _why(
            expires=_NOW + 1,
            not_before=_NOW,
            listeners=frozenset({"submission"}),
            networks=_networks("192.0.2.0/24"),
            mechanisms=frozenset({"PLAIN"}),
        )
        == ""
    )


@pytest.mark.parametrize(
    ("address", "network", "inside"),
    [
        ("192.0.2.7", "192.0.2.7/32", True),
        ("192.0.2.8", "192.0.2.7/32", False),
        ("::ffff:192.0.2.7", "192.0.2.0/24", True),
        ("2001:db8::1", "2001:db8::/32", True),
        ("2001:db9::1", "2001:db8::/32", False),
        ("192.0.2.7", "::/0", False),
        ("::1", "0.0.0.0/0", False),
        ("fe80::1%eth0", "fe80::/64", True),
        ("", "0.0.0.0/0", False),
        ("nonsense", "0.0.0.0/0", False),
    ],
)
def test_networks_of_both_families(address: str, network: str, inside: bool) -> None:
    assert (_why(address, networks=_networks("198.51.100.0/24", network)) == "") is inside


def test_a_disabled_account_is_refused_with_its_reason() -> None:
    account = Account("tim", b"salt", 4096)
    assert why_not_account(account, 0.0) == ""
    assert why_not_account(dataclasses.replace(account, is_active=False), 0.0) == "account disabled"
    gone = dataclasses.replace(account, is_active=False, state_reason="left us")
    assert why_not_account(gone, 0.0) == "account disabled: left us"


def test_a_suspended_account_is_refused_until_then() -> None:
    account = Account("tim", b"", 4096, suspended_until=_NOW, state_reason="holiday")
    assert why_not_account(account, _NOW - 1) == "account suspended: holiday"
    assert why_not_account(account, _NOW) == ""
    gone = dataclasses.replace(account, is_active=False)
    assert why_not_account(gone, _NOW - 1) == "account disabled: holiday"


def test_a_canary_is_one_before_anything_else_until_it_is_revoked() -> None:
    peer = Peer("192.0.2.7", 1, "submission")
    account = Account("tim", b"", 4096, is_active=False)
    canary = Credential("c1", expires=1.0, is_canary=True)
    assert why_not(account, canary, peer, "PLAIN", _NOW) == CANARY
    revoked = dataclasses.replace(canary, revoked=1.0)
    assert why_not(account, revoked, peer, "PLAIN", _NOW) == "account disabled"
    assert why_not(Account("tim", b"", 4096), Credential("c2"), peer, "PLAIN", _NOW) == ""


def test_bait_is_an_account_that_holds_canaries_only() -> None:
    canary, plain = Credential("c1", is_canary=True), Credential("c2")
    revoked = dataclasses.replace(plain, id="c3", revoked=1.0)
    baits: list[tuple[tuple[Credential, ...], Credential | None]] = [
        ((), None),
        ((plain,), None),
        ((canary, plain), None),
        ((plain, canary), None),
        ((canary,), canary),
        ((canary, revoked), canary),
        ((dataclasses.replace(canary, revoked=1.0),), None),
    ]
    for credentials, bait in baits:
        assert Account("tim", b"", 4096, credentials=credentials).bait == bait


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        (ClientCertificate("00", 0, _NOW + 1), ""),
        (ClientCertificate("00", _NOW, _NOW + 1), ""),
        (ClientCertificate("00", 0, _NOW), "client certificate expired"),
        (ClientCertificate("00", _NOW + 1, _NOW + 2), "client certificate not valid yet"),
        (None, "no client certificate"),
    ],
)
def test_a_certificate_must_be_in_force_when_somebody_logs_in_by_it(
    certificate: ClientCertificate | None, reason: str
) -> None:
    peer = Peer("192.0.2.7", 1, "devices", TlsFacts("TLSv1.3", "", 256, certificate=certificate))
    account = Account("tim", b"", 4096)
    by_name = Credential("certificate")
    itself = Credential("000000000000", verifiers={"CERTIFICATE": Secret(b"00")})
    assert why_not(account, by_name, peer, "EXTERNAL", _NOW) == why_not(account, itself, peer, "X", _NOW) == reason
    assert why_not(account, Credential("c1"), peer, "PLAIN", _NOW) == ""
