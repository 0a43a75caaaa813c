"""See whether the stores that are asked for each login can be: addresses, certificates, what the search looks for."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gatepost.config.directory import LdapStore
from gatepost.config.locate import Key
from gatepost.config.schema import Config
from gatepost.config.store_files import check_readable, check_tls_files
from gatepost.config.stores import HttpStore
from gatepost.config.values import is_loopback

if TYPE_CHECKING:
    from gatepost.config.check import Findings

__all__ = ["check_directory", "check_service"]


def check_service(config: Config, store: HttpStore, key: Key, findings: Findings) -> None:
    """Look at a service that is asked over HTTP."""
    parts = urlsplit(store.url)
    if parts.username is not None or parts.password is not None:
        findings.wrong((*key, "url"), "holds a login; give a token in token_file, or a certificate")
    if not parts.hostname:
        findings.wrong((*key, "url"), "names no host; write https://host/path")
    elif parts.scheme == "http" and not is_loopback(parts.hostname):
        findings.wrong((*key, "url"), "would send passwords in clear; write https://")
    elif parts.scheme == "https" and store.token_file is None and store.certificate is None:
        findings.odd(key, "asks without a token or a certificate; any other program may ask the service as well")
    if store.token_file is not None:
        token = store.token_file.secret.reveal()
        if not token.isascii() or not token.decode().isprintable() or b" " in token:
            findings.wrong((*key, "token_file"), "holds what is no token; write one word of ASCII")
        check_readable(store.token_file.path, (*key, "token_file"), findings)
    _certificates(store, key, parts.scheme == "https", findings)
    _is_asked(config, store, key, findings)


def check_directory(config: Config, store: LdapStore, key: Key, findings: Findings) -> None:
    """Look at a directory."""
    from gatepost.identity.ldap.server import parse_server

    servers = [parse_server(each) for each in store.urls]
    elsewhere = [each for each in servers if not each.path and not is_loopback(each.host)]
    if not store.starttls:
        if any(not each.has_tls for each in elsewhere):
            findings.wrong((*key, "starttls"), "would send passwords in clear; leave it out, or write ldaps://")
        elif not any(each.url.startswith("ldap://") for each in servers):
            findings.odd((*key, "starttls"), "has no effect without ldap://")
    if len(set(store.urls)) < len(store.urls):
        findings.odd((*key, "urls"), "holds the same server twice")
    _where(store, key, findings)
    if (store.bind_dn is None) != (store.bind_password_file is None):
        given, missing = ("bind_dn", "bind_password_file") if store.bind_dn else ("bind_password_file", "bind_dn")
        findings.wrong((*key, given), f"has no {missing}; add it")
    elif store.bind_dn is None:
        findings.odd(key, "looks entries up anonymously, as bind_dn is not given; few directories allow that")
    if store.bind_password_file is not None:
        check_readable(store.bind_password_file.path, (*key, "bind_password_file"), findings)
    has_tls = any(each.has_tls or (store.starttls and not each.path) for each in servers)
    _certificates(store, key, has_tls, findings)
    _is_asked(config, store, key, findings)


def _where(store: LdapStore, key: Key, findings: Findings) -> None:
    from gatepost.identity.ldap.filter import parse_filter
    from gatepost.identity.ldap.names import LOGIN

    if store.dn_template is not None:
        for name in ("base", "scope"):
            if name in store.model_fields_set:
                findings.wrong((*key, name), "has no effect beside dn_template; remove one of them")
        if LOGIN not in store.dn_template or "=" not in store.dn_template.partition(LOGIN)[0]:
            findings.wrong(
                (*key, "dn_template"), f"is no name with {LOGIN}; write uid={LOGIN},ou=people,dc=example,dc=org"
            )
        return
    for name, text in (("base", store.base), ("filter", store.filter)):
        if text is None:
            findings.wrong(key, f"has no {name}; add it, or dn_template")
    if store.filter is not None and not parse_filter(store.filter).names_login:
        findings.wrong((*key, "filter"), f"does not ask for the login; write {LOGIN} where it belongs")


def _is_asked(config: Config, store: HttpStore | LdapStore, key: Key, findings: Findings) -> None:
    """What holds for every store that is asked for each login."""
    from gatepost.identity.store import MECHANISM_SCHEMES

    if store.timeout > config.auth.failure_delay:
        findings.odd(
            (*key, "timeout"), "is above auth.failure_delay: a slow service would show which names it is asked for"
        )
    for mechanism in MECHANISM_SCHEMES:
        if mechanism in config.auth.mechanisms and findings.is_written(("auth", "mechanisms")):
            findings.odd(
                ("auth", "mechanisms"), f"holds {mechanism}, which is not offered beside a store of type {store.type}"
            )


def _certificates(store: HttpStore | LdapStore, key: Key, has_tls: bool, findings: Findings) -> None:
    for name in ("ca_file", "certificate", "key"):
        if getattr(store, name) is not None and not has_tls:
            findings.odd((*key, name), "has no effect without TLS")
    check_tls_files(store.ca_file, store.certificate, store.key, key, findings)
