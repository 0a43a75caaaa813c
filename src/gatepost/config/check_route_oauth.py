"""See whether a route can get access tokens: what is missing, has no effect, or would give a secret away."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from gatepost.config.locate import Key
from gatepost.config.route_oauth import RouteOAuth
from gatepost.config.routes import HostRoute, SmarthostRoute

if TYPE_CHECKING:
    from gatepost.config.check import Findings

__all__ = ["check_route_oauth"]

_SHARED_TENANTS = frozenset({"common", "organizations", "consumers"})
_SOON = dt.timedelta(days=14)
_ISSUERS = dict.fromkeys(("gmail", "google-workspace", "google-relay"), "google") | dict.fromkeys(
    ("microsoft365", "outlook"), "microsoft"
)
"""Whose tokens open what, by the words that routes write."""


def check_route_oauth(route: HostRoute, key: Key, findings: Findings, today: dt.date) -> None:
    """Look at ``[route.oauth]``."""
    oauth = route.oauth
    if oauth is None:
        return
    for name in ("password", "password_file", "token", "token_file"):
        if findings.is_written((*key, name)):
            findings.wrong((*key, name), "has no effect beside [route.oauth]; remove one of them")
    below: Key = (*key, "oauth")
    _issuer(route, oauth, below, findings)
    _grant(oauth, below, findings)
    _secret(oauth, below, findings, today)
    _addresses(oauth, below, findings)
    _ca_file(oauth, below, findings)


def _issuer(route: HostRoute, oauth: RouteOAuth, key: Key, findings: Findings) -> None:
    if oauth.provider is None and oauth.token_url is None:
        findings.wrong((*key, "token_url"), 'is missing; add it, or provider = "google" or "microsoft"')
    preset = route.preset if isinstance(route, SmarthostRoute) else None
    wanted = _ISSUERS.get(route.provider, "") if isinstance(route, SmarthostRoute) else ""
    if preset is not None and oauth.provider is not None and wanted and oauth.provider != wanted:
        findings.wrong((*key, "provider"), f'gives no tokens for {preset.title}; write "{wanted}"')
    if oauth.tenant is not None and oauth.provider != "microsoft":
        findings.wrong((*key, "tenant"), 'has no effect without provider = "microsoft"; remove it')
    is_complete = oauth.token_url and (oauth.authorize_url or oauth.grant == "client_credentials")
    if oauth.provider == "microsoft" and oauth.tenant is None and not is_complete:
        findings.wrong((*key, "tenant"), 'is missing; add the id of the tenant, or "consumers" for Outlook.com')


def _grant(oauth: RouteOAuth, key: Key, findings: Findings) -> None:
    if oauth.grant == "client_credentials":
        if oauth.provider == "google":
            findings.wrong((*key, "grant"), 'is not given by Google; write "refresh_token"')
        if oauth.provider == "microsoft" and oauth.tenant in _SHARED_TENANTS:
            findings.wrong((*key, "tenant"), "gives nothing to a client itself; write the id of your tenant")
        if oauth.secret is None:
            findings.wrong((*key, "client_secret_file"), "is missing; a client that logs in as itself needs a secret")
        for name in ("authorize_url", "device_url"):
            if findings.is_written((*key, name)):
                findings.wrong((*key, name), 'has no effect with grant = "client_credentials"; remove it')
    elif oauth.provider is None and oauth.authorize_url is None and oauth.device_url is None:
        findings.wrong((*key, "authorize_url"), "is missing, and device_url too: nobody could log in; add one of them")


def _secret(oauth: RouteOAuth, key: Key, findings: Findings, today: dt.date) -> None:
    if oauth.secret is None:
        for name in ("client_secret_expires", "client_auth"):
            if findings.is_written((*key, name)):
                findings.wrong((*key, name), "has no effect without a client secret; remove it")
    ends = oauth.client_secret_expires
    if ends is not None and ends < today + _SOON:
        text = "has passed" if ends <= today else "is near"
        findings.odd((*key, "client_secret_expires"), f"{text}: make a new secret at the issuer and note its end here")
    if (*key, "client_secret") in findings.config.source.lines and (
        (*key, "client_secret") not in findings.config.source.variables
    ):
        findings.odd((*key, "client_secret"), "stands in the open; move it into a file of its own: client_secret_file")
    file = oauth.client_secret_file
    # Secrets that a container is given are readable for all that run in it.
    if file is not None and not file.path.is_relative_to("/run/secrets") and file.path.stat().st_mode & 0o007:
        findings.odd(
            (*key, "client_secret_file"), f"can be read by everybody on this machine; run: chmod o= {file.path}"
        )


def _addresses(oauth: RouteOAuth, key: Key, findings: Findings) -> None:
    from gatepost.identity.issuer_http import is_safe

    for name in ("token_url", "authorize_url", "device_url"):
        url = getattr(oauth, name)
        # RFC 6749 §3.1, §3.2: TLS is a must for both endpoints, and neither has a fragment.
        if url is not None and (not is_safe(url, plain=True) or "#" in url):
            text = (
                "is not encrypted: secrets would be sent in clear; write https://"
                if url.startswith("http://")
                else "cannot be asked; write https://host/path, without a login in it"
            )
            findings.wrong((*key, name), text)


def _ca_file(oauth: RouteOAuth, key: Key, findings: Findings) -> None:
    from gatepost.identity.stores.http_context import client_context

    if oauth.ca_file is None:
        return
    if oauth.token_url is not None and oauth.token_url.startswith("http://"):
        findings.wrong((*key, "ca_file"), "has no effect without TLS; remove it")
        return
    try:
        client_context(oauth.ca_file)
    except OSError as error:
        reason = error.strerror if isinstance(error, FileNotFoundError | PermissionError) else "no good PEM"
        findings.wrong((*key, "ca_file"), f"cannot be used ({reason}); correct the path or the file")
