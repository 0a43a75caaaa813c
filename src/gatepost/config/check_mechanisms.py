"""See what stands in the way of mechanisms: what they need and lack, what cannot be loaded, client certificates."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from gatepost.config.certificate import Flaw, read_chain
from gatepost.config.locate import Key
from gatepost.config.schema import Config, Listener
from gatepost.errors import ConfigError
from gatepost.sasl.mechanism import Needs
from gatepost.sasl.outside import mechanism_of

if TYPE_CHECKING:
    from gatepost.config.check import Findings

__all__ = ["check_client_certificates", "check_mechanisms"]


def check_mechanisms(config: Config, findings: Findings) -> None:
    """See that each mechanism can be loaded, and has what it needs."""
    _load(("auth", "mechanisms"), config.auth.mechanisms, findings)
    places: list[tuple[Key, tuple[str, ...]]] = [(("auth", "mechanisms"), config.auth.mechanisms)]
    for number, listener in enumerate(config.listener):
        key: Key = ("listener", number, "mechanisms")
        places.append((key, listener.mechanisms or ()))
        for mechanism in listener.mechanisms or ():
            # What binds to the connection needs nothing more of the credentials.
            plain = mechanism.removesuffix("-PLUS")
            if {mechanism, plain}.isdisjoint(config.auth.mechanisms):
                findings.wrong(key, f'names "{mechanism}", which [auth] mechanisms does not; add "{plain}" there')
    for key, mechanisms in places:
        if "CRAM-MD5" in mechanisms:
            findings.odd(key, "holds CRAM-MD5, which is weak; keep it only while a client needs it")
        for mechanism in ("OAUTHBEARER", "XOAUTH2"):
            if mechanism in mechanisms and not config.oauth.issuers and findings.is_written(key):
                findings.odd(key, f"holds {mechanism}, which is not offered without an issuer; add [[oauth.issuers]]")
    if config.oauth.issuers and {"OAUTHBEARER", "XOAUTH2"}.isdisjoint(config.auth.mechanisms):
        findings.odd(("oauth", "issuers"), 'have no effect; add "OAUTHBEARER" and "XOAUTH2" to [auth] mechanisms')
    key = ("auth", "expiry_mail")
    if findings.is_written(key) and config.auth.expiry_mail and not config.auth.expiry_warning:
        findings.odd(key, "has no effect, as there is no warning to mail; give expiry_warning a time")


def _load(key: Key, written: tuple[str, ...], findings: Findings) -> None:
    """See that what comes from elsewhere can be loaded, and that no two have one name."""
    seen: dict[str, str] = {}
    for each in written:
        try:
            name = mechanism_of(each).name
        except ConfigError as error:
            findings.wrong(key, str(error))
            continue
        if name in seen:
            findings.wrong(key, f'names "{seen[name]}" and "{each}", which are both called {name}; keep one of them')
        seen[name] = each


def _is_external(written: str) -> bool:
    """Tell whether a mechanism lives by client certificates."""
    try:
        return mechanism_of(written).needs is Needs.CERTIFICATE
    except ConfigError:
        return False  # told of where all are loaded


def check_client_certificates(config: Config, findings: Findings, now: dt.datetime) -> None:
    """See who may make client certificates, where they are asked for, and that they are good for something."""
    for number, listener in enumerate(config.listener):
        key: Key = ("listener", number)
        names = listener.mechanisms or config.auth.mechanisms
        external = [each for each in names if _is_external(each)]
        if listener.client_ca is not None:
            if not external:
                findings.wrong((*key, "client_ca"), 'has no effect; add "EXTERNAL" to mechanisms')
            if listener.legacy_tls_networks:
                findings.wrong((*key, "client_ca"), "cannot stand beside legacy_tls_networks; give it a listener")
            _authorities(listener, key, findings, now)
            continue
        for name in ("client_crl", "client_identity"):
            if findings.is_written((*key, name)):
                findings.wrong((*key, name), "has no effect without client_ca; add it, or remove this")
        if external and listener.mechanisms is not None:
            findings.wrong(
                (*key, "mechanisms"), f'names "{external[0]}", which needs client certificates; add client_ca'
            )
    on = [each for each in config.auth.mechanisms if _is_external(each)]
    if on and all(listener.client_ca is None for listener in config.listener):
        findings.odd(
            ("auth", "mechanisms"),
            f"holds {on[0]}, which is offered on a listener with client_ca only; add that to one",
        )


def _authorities(listener: Listener, key: Key, findings: Findings, now: dt.datetime) -> None:
    assert listener.client_ca is not None
    try:
        authorities = read_chain(listener.client_ca)
    except Flaw as flaw:
        findings.wrong((*key, "client_ca"), str(flaw).replace("the full chain", "the authorities"))
        return
    for each in authorities:
        if now > each.not_after:
            findings.odd((*key, "client_ca"), f"holds {each.subject}, which expired on {each.not_after:%Y-%m-%d}")
    if listener.client_crl is not None:
        _revoked(listener.client_crl, (*key, "client_crl"), [each.parsed for each in authorities], findings, now)


def _revoked(path: Path, key: Key, authorities: list[x509.Certificate], findings: Findings, now: dt.datetime) -> None:
    try:
        octets = path.read_bytes()
    except OSError as error:
        findings.wrong(key, f"cannot be read at {path} ({error.strerror}); correct the path or who may read it")
        return
    begin = b"-----BEGIN X509 CRL-----"
    try:
        lists = [x509.load_pem_x509_crl(begin + each) for each in octets.split(begin)[1:]]
    except ValueError:
        lists = []
    if not lists:
        findings.wrong(key, "holds no CRL in PEM form; name the file with a list of each authority")
        return
    if any(each not in authorities for each in _certificates(octets)):
        # OpenSSL would trust it.
        findings.wrong(key, "holds beside the CRLs a certificate that client_ca has not; remove it, or put it there")
    for authority in authorities:
        own = [each for each in lists if _is_of(each, authority)]
        if not own:
            findings.odd(
                key, f"holds no list of {authority.subject.rfc4514_string()}; nobody with its certificates gets in"
            )
        elif all(each.next_update_utc is not None and now > each.next_update_utc for each in own):
            findings.odd(
                key,
                f"is out of date: {authority.subject.rfc4514_string()} has a newer list, and until it is here nobody "
                "with its certificates gets in",
            )


def _certificates(octets: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(octets)
    except ValueError:
        return []  # there is none


def _is_of(revoked: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    try:
        return revoked.issuer == authority.subject and revoked.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
    except (TypeError, ValueError, InvalidSignature, UnsupportedAlgorithm):
        return False
