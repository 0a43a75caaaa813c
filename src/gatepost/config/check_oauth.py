"""See whether the issuers of access tokens can be used: where their keys are, what has no effect, what is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from gatepost.config.locate import Key
from gatepost.config.oauth import Issuer
from gatepost.config.schema import Config
from gatepost.errors import ConfigError

if TYPE_CHECKING:
    from gatepost.config.check import Findings
    from gatepost.identity.jwks import KeySource

__all__ = ["check_issuers"]

_GOOGLE = frozenset({"https://accounts.google.com", "accounts.google.com"})


def check_issuers(config: Config, findings: Findings) -> None:
    """Look at each issuer."""
    if not config.oauth.issuers:
        return
    seen: set[str] = set()
    asked = [each for each in config.oauth.issuers if each.client_id is not None]
    for number, issuer in enumerate(config.oauth.issuers):
        key: Key = ("oauth", "issuers", number)
        if issuer.issuer in seen:
            findings.wrong((*key, "issuer"), "is the issuer of another entry too; keep one of them")
        seen.add(issuer.issuer)
        _facts(issuer, key, findings)
        _addresses(issuer, key, findings)
        _keys(issuer, key, findings)
        _introspection(issuer, key, findings)
        _ca_file(issuer, key, findings)
        if issuer.issuer in _GOOGLE and issuer.client_id is None:
            findings.odd(
                (*key, "issuer"),
                "is Google, whose access tokens are opaque and cannot be asked about: no client gets in by one",
            )
        if issuer.client_id is not None and len(asked) > 1:
            findings.odd(
                (*key, "client_id"),
                "lets this issuer see opaque tokens of the others that have one, too: such a token does not say whose "
                "it is",
            )


def _facts(issuer: Issuer, key: Key, findings: Findings) -> None:
    from gatepost.identity.issuer import Issuer as Judged

    try:
        # The part that will use these values judges them; it needs no keys for that.
        Judged(issuer.issuer, issuer.audience, cast("KeySource", None), issuer.identity_claim, issuer.scope)
    except ConfigError as error:
        findings.wrong(key, str(error).partition(": ")[2])


def _addresses(issuer: Issuer, key: Key, findings: Findings) -> None:
    from gatepost.identity.issuer_http import is_safe

    for name, danger in (
        ("jwks_url", "anybody could send keys"),
        ("discovery_url", "anybody could send keys"),
        ("introspection_url", "tokens would be sent in clear"),
    ):
        url = getattr(issuer, name)
        if url is not None and not is_safe(url, plain=True):
            text = (
                f"is not encrypted: {danger}; write https://"
                if url.startswith("http://")
                else "cannot be asked; write https://host/path, without a login in it"
            )
            findings.wrong((*key, name), text)


def _keys(issuer: Issuer, key: Key, findings: Findings) -> None:
    from gatepost.identity.issuer_http import is_safe

    named = [name for name in ("jwks_file", "jwks_url", "introspection_url") if getattr(issuer, name) is not None]
    if named and issuer.discovery_url is not None:
        findings.wrong((*key, "discovery_url"), f"has no effect beside {named[0]}; remove one of them")
    # RFC 8414 §2: an issuer that is asked is an https address without query and fragment.
    is_address = is_safe(issuer.issuer, plain=True) and not {"?", "#"} & set(issuer.issuer)
    if not named and issuer.discovery_url is None and not is_address:
        findings.wrong(
            (*key, "issuer"), "is no https:// address that could be asked for its keys; add jwks_file or jwks_url"
        )
    if issuer.jwks_file is not None:
        _jwks_file(issuer.jwks_file, (*key, "jwks_file"), findings)
        if findings.is_written((*key, "timeout")):
            findings.wrong((*key, "timeout"), "has no effect beside jwks_file; remove it")


def _jwks_file(path: Path, key: Key, findings: Findings) -> None:
    try:
        keys = json.loads(path.read_bytes())
    except OSError as error:
        findings.wrong(key, f"cannot be read ({error.strerror}); correct the path or who may read it")
        return
    except (ValueError, RecursionError):
        keys = None
    if not isinstance(keys, dict) or not isinstance(keys.get("keys"), list):
        findings.wrong(key, 'is no JWK set; name a JSON file with a list of "keys"')


def _introspection(issuer: Issuer, key: Key, findings: Findings) -> None:
    if issuer.client_id is None:
        for name in ("client_secret_file", "introspection_url", "cache_time"):
            if findings.is_written((*key, name)):
                findings.wrong((*key, name), "has no effect without client_id; add that, or remove this")
        return
    if issuer.client_secret_file is None:
        findings.wrong((*key, "client_id"), "has no secret; add client_secret_file")
    else:
        path = issuer.client_secret_file.path
        # Secrets that a container is given are readable for all that run in it.
        if path.stat().st_mode & 0o007 and not path.is_relative_to("/run/secrets"):
            findings.odd(
                (*key, "client_secret_file"), f"can be read by everybody on this machine; run: chmod o= {path}"
            )
    for name in ("jwks_file", "jwks_url", "algorithms", "keys_last"):
        if findings.is_written((*key, name)):
            findings.wrong((*key, name), "has no effect beside client_id; remove one of them")


def _ca_file(issuer: Issuer, key: Key, findings: Findings) -> None:
    from gatepost.identity.stores.http_context import client_context

    if issuer.ca_file is None:
        return
    addresses = (issuer.introspection_url, issuer.jwks_url, issuer.discovery_url, issuer.issuer)
    first = next(each for each in addresses if each is not None)
    if issuer.jwks_file is not None or urlsplit(first).scheme != "https":
        findings.wrong((*key, "ca_file"), "has no effect without TLS; remove it")
        return
    try:
        client_context(issuer.ca_file)
    except OSError as error:
        reason = error.strerror if isinstance(error, FileNotFoundError | PermissionError) else "no good PEM"
        findings.wrong((*key, "ca_file"), f"cannot be used ({reason}); correct the path or the file")
