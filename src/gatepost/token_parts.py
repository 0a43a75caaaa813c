"""The judge of access tokens that the configuration asks for, made: a part of `gatepost.parts`."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.errors import ConfigError
from gatepost.identity.stores.http_context import client_context
from gatepost.model.clock import Clock
from gatepost.observe.emit import Emitter
from gatepost.observe.events import IssuerAway, IssuerBack
from gatepost.state.keys import Keys

if TYPE_CHECKING:
    from gatepost.config import oauth as schema
    from gatepost.config.schema import Config
    from gatepost.identity.bearer import TokenVerifier
    from gatepost.identity.discovery import Discovery
    from gatepost.identity.introspection import Introspection
    from gatepost.identity.issuer_http import IssuerHttp
    from gatepost.identity.jwks import KeySource

__all__ = ["token_verifier"]


def token_verifier(config: Config, keys: Keys, clock: Clock, emit: Emitter) -> TokenVerifier | None:
    """Return who judges access tokens; None where no issuer is configured.

    Raises:
        ConfigError: an issuer cannot be used as it is configured.
    """
    if not config.oauth.issuers:
        return None  # without what reads tokens a worker is some MiB smaller
    from gatepost.identity.bearer import TokenVerifier
    from gatepost.identity.issuer import Issuer

    contexts: dict[Path | None, ssl.SSLContext] = {}
    issuers = []
    for each in config.oauth.issuers:
        if each.ca_file not in contexts:
            contexts[each.ca_file] = _context(each)
        issuers.append(
            Issuer(
                each.issuer,
                each.audience,
                _source(each, keys, clock, contexts[each.ca_file], _teller(each.issuer, emit)),
                each.identity_claim,
                each.scope,
                each.algorithms,
                _configuration(each),
            )
        )
    return TokenVerifier(issuers, clock)


def _source(
    issuer: schema.Issuer, keys: Keys, clock: Clock, context: ssl.SSLContext, tell: Callable[[str], None]
) -> KeySource | Introspection:
    from gatepost.identity.discovery import Discovery
    from gatepost.identity.issuer_http import IssuerHttp
    from gatepost.identity.jwks import discovered, from_file, from_url

    lasts = issuer.keys_last.total_seconds()
    if issuer.jwks_file is not None:
        return from_file(issuer.jwks_file, clock, lasts=lasts, tell=tell)
    http = IssuerHttp(context, timeout=issuer.timeout.total_seconds())
    if issuer.jwks_url is not None:
        return from_url(issuer.jwks_url, clock, http, lasts=lasts, tell=tell)
    discovery = Discovery(issuer.issuer, http, clock, issuer.discovery_url or "")
    if issuer.client_id is None:
        return discovered(discovery, issuer.issuer, clock, http, lasts=lasts, tell=tell)
    return _introspection(issuer, discovery, http, keys, clock, tell)


def _introspection(
    issuer: schema.Issuer,
    discovery: Discovery,
    http: IssuerHttp,
    keys: Keys,
    clock: Clock,
    tell: Callable[[str], None],
) -> Introspection:
    from gatepost.identity.introspection import Introspection

    if issuer.client_id is None or issuer.client_secret_file is None:
        raise ConfigError(f"oauth.issuers: {issuer.issuer}: client_id has no secret; add client_secret_file")

    async def endpoint() -> str:
        return issuer.introspection_url or await discovery.endpoint("introspection_endpoint")

    return Introspection(
        endpoint,
        http,
        issuer.client_id,
        issuer.client_secret_file.secret,
        key=keys.derive("introspection"),
        clock=clock,
        cache_seconds=issuer.cache_time.total_seconds(),
        tell=tell,
    )


def _configuration(issuer: schema.Issuer) -> str:
    """Return where clients find all about an issuer; empty if it is not known to have such a place."""
    from gatepost.identity.discovery import well_known

    if issuer.discovery_url is not None:
        return issuer.discovery_url
    is_asked = (issuer.jwks_file, issuer.jwks_url, issuer.introspection_url) == (None, None, None)
    return well_known(issuer.issuer)[0] if is_asked or issuer.issuer.startswith("https://") else ""


def _teller(issuer: str, emit: Emitter) -> Callable[[str], None]:
    def tell(problem: str) -> None:
        emit(IssuerAway(issuer, problem) if problem else IssuerBack(issuer))

    return tell


def _context(issuer: schema.Issuer) -> ssl.SSLContext:
    try:
        return client_context(issuer.ca_file)
    except OSError as error:
        raise ConfigError(f"oauth.issuers: {issuer.issuer}: ca_file cannot be used: {error}; give PEM files") from None
