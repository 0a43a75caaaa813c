"""The routes that the configuration asks for, made, with their transports."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.errors import ConfigError
from gatepost.observe.emit import Emitter
from gatepost.provider_parts import pace, provided
from gatepost.relay.discard import Discard
from gatepost.relay.failover import Failover
from gatepost.relay.host_rest import HostRest
from gatepost.relay.lmtp import Lmtp
from gatepost.relay.match import HeaderPattern, Match, TextPattern, parse_domain_pattern
from gatepost.relay.router import Route
from gatepost.relay.sandbox import Sandbox
from gatepost.relay.smarthost import SmartHost, TlsMode
from gatepost.relay.token_source import TokenSource
from gatepost.relay.token_sources import TokenSources
from gatepost.relay.transport import Transport
from gatepost.state.outgoing import Outgoing
from gatepost.state.pace_file import PaceFile

if TYPE_CHECKING:
    from gatepost.config import schema

__all__ = ["RouteKey", "match_of", "routes"]

_TLS_VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}

RouteKey = tuple[object, ...]
"""What a route was made from; equal keys make equal routes."""


def routes(
    config: schema.Config,
    standing: Mapping[RouteKey, Route] | None = None,
    emit: Emitter | None = None,
    outgoing: Outgoing | None = None,
    *,
    tokens: TokenSources | None = None,
    paces: PaceFile | None = None,
) -> dict[RouteKey, Route]:
    """Make the routes, in their order; what stands and did not change is kept, with its open connections.

    Args:
        config: the configuration.
        standing: what was made before.
        emit: hears of hosts that fail and work again.
        outgoing: the connections that all workers have; each counts alone without.
        tokens: makes what gets access tokens; without, no route can log in by them, but the way can be asked.
        paces: where all workers count what goes out; without it, it goes as fast as it can.

    Raises:
        ConfigError: a file that a route names cannot be used.
    """
    made: dict[RouteKey, Route] = {}
    for each, domains in config.ways:
        files: tuple[Path | None, ...] = ()
        if each.transport == "smarthost" or each.transport == "lmtp":
            files = (each.ca_file, each.certificate, each.key, None if each.oauth is None else each.oauth.ca_file)
        try:
            key = (config.hostname, each, domains, *(None if file is None else file.read_bytes() for file in files))
        except OSError as error:
            raise ConfigError(f"route {each.name}: {error.filename}: {error.strerror}; make it readable") from None
        made[key] = (standing or {}).get(key) or _route(each, domains, config.hostname, emit, outgoing, tokens, paces)
    return made


def _route(
    route: schema.Route,
    domains: tuple[str, ...],
    hostname: str,
    emit: Emitter | None,
    outgoing: Outgoing | None,
    tokens: TokenSources | None,
    paces: PaceFile | None,
) -> Route:
    transport = _transport(route, hostname, emit, outgoing, tokens)
    return Route(route.name, transport, match_of(route.match, domains), pace(route, paces))


def match_of(match: schema.Match, login_domains: tuple[str, ...] = ()) -> Match:
    """Make what a route takes, of mail for whose senders its login is."""
    return Match(
        tuple(map(parse_domain_pattern, match.recipient_domains)),
        tuple(map(parse_domain_pattern, match.sender_domains)),
        frozenset(match.accounts),
        frozenset(match.senders),
        frozenset(match.credentials),
        tuple(HeaderPattern(each.name.lower(), tuple(map(TextPattern, each.values))) for each in match.headers),
        match.size_over,
        match.size_up_to,
        tuple(map(parse_domain_pattern, login_domains)),
    )


def _transport(
    route: schema.Route, hostname: str, emit: Emitter | None, outgoing: Outgoing | None, tokens: TokenSources | None
) -> Transport:
    if route.transport == "sandbox":
        return Sandbox(route.name, route.path, keep=route.keep)
    if route.transport == "discard":
        return Discard(route.name, takes_sandbox=route.sandbox)
    rests = [HostRest(f"{host}:{port}") for host, port in route.next_hops]
    source = _source(route, tokens)
    hosts = [_host(route, hostname, host, port, outgoing, source) for host, port in route.next_hops]
    transport: Transport = hosts[0] if len(hosts) == 1 else Failover(route.name, hosts, rests, emit)
    return provided(route, transport) if route.transport == "smarthost" else transport


def _source(route: schema.SmarthostRoute | schema.LmtpRoute, tokens: TokenSources | None) -> TokenSource | None:
    """Return where the route's access tokens come from, for all of its hosts."""
    if route.oauth is None or tokens is None:
        return None
    try:
        return tokens.make(route.name, route.oauth.client)
    except OSError as error:
        raise ConfigError(f"route {route.name}: oauth.ca_file cannot be used: {error}; give PEM files") from None


def _host(
    route: schema.SmarthostRoute | schema.LmtpRoute,
    hostname: str,
    host: str,
    port: int,
    outgoing: Outgoing | None,
    source: TokenSource | None,
) -> SmartHost:
    next_hop = f"{route.name} {host} {port}"
    make: Callable[..., SmartHost] = SmartHost
    tls = route.tls
    if route.transport == "smarthost":
        make = partial(SmartHost, mechanisms=route.mechanisms, recipients_per_transaction=route.recipients_per_message)
    else:
        make = partial(Lmtp, socket=route.socket)
        if route.socket is not None:
            host, tls = "localhost", "none"
    try:
        return make(
            route.name,
            host,
            port,
            hostname=hostname,
            tls=TlsMode(tls),
            verify=route.verify,
            ca_file=route.ca_file,
            certificate=route.certificate,
            key=route.key,
            minimum_tls=_TLS_VERSIONS[route.minimum_tls],
            login=route.login_name,
            password=route.password_secret,
            token=route.token_secret,
            tokens=source,
            source_addresses=route.source_address,
            connections=route.connections,
            idle_seconds=route.idle.total_seconds(),
            share=None if outgoing is None else outgoing.share(next_hop, route.connections),
        )
    except OSError as error:
        raise ConfigError(f"route {route.name}: its certificates cannot be used: {error}; give PEM files") from None
