"""See whether the routes can be used: what is missing, never reached, without effect, or weak."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING

from gatepost.config.check_providers import check_provider
from gatepost.config.locate import Key
from gatepost.config.route_login import SenderLogin, check_logins
from gatepost.config.route_match import covers, idle_element
from gatepost.config.route_source import check_source
from gatepost.config.routes import DiscardRoute, HostRoute, LmtpRoute, Route, SandboxRoute, SmarthostRoute
from gatepost.config.schema import Config
from gatepost.config.values import is_loopback, split_host

if TYPE_CHECKING:
    from gatepost.config.check import Findings

__all__ = ["USUAL_TLS", "check_routes"]

USUAL_TLS = {465: "implicit", 2465: "implicit", 587: "starttls", 2587: "starttls", 25: "starttls"}
"""How TLS usually begins on a port."""

SOCKET_PATH_LIMIT = 107
"""Octets of the path of a Unix socket, says Linux (unix(7))."""

_OF_TCP = frozenset(
    {"host", "hosts", "logins", "port", "tls", "verify", "ca_file", "certificate", "key", "login"}
    | {"password", "password_file", "token", "token_file", "minimum_tls", "source_address", "oauth"}
)


def check_routes(config: Config, findings: Findings) -> None:
    """Look at each route."""
    if not config.route:
        findings.wrong(("route",), "is missing; say where mail goes: add [[route]] with name, transport and host")
        return
    names: set[str] = set()
    for number, route in enumerate(config.route):
        key: Key = ("route", number)
        if route.name in names:
            findings.wrong((*key, "name"), f'"{route.name}" is the name of another route too; choose another')
        names.add(route.name)
        hidden_by = next((other for other in config.route[:number] if _hides(other, route)), None)
        if hidden_by is not None:
            findings.wrong(key, f'is never reached: route "{hidden_by.name}" before it takes its mail; move it up')
        idle = idle_element(route.match)
        if idle is not None:
            text = f'holds "{idle[1]}" without effect, as "{idle[2]}" takes all that already; remove it'
            findings.wrong((*key, "match", idle[0]), text)
        _match(route, (*key, "match"), findings)
        if isinstance(route, LmtpRoute):
            _lmtp(route, key, findings)
        elif isinstance(route, HostRoute):
            _host(route, key, findings)
            if isinstance(route, SmarthostRoute):
                check_provider(route, key, findings)
        elif isinstance(route, DiscardRoute):
            which = "what matches" if route.match.is_narrow else "ALL mail that no route before it takes"
            findings.odd(key, f"throws away {which}: nobody gets it, and its sender is told that it was delivered")
    if all(route.match.is_narrow for route in config.route):
        findings.odd(("route",), "leaves mail over that no route takes; add one without match at the end")


def _match(route: Route, key: Key, findings: Findings) -> None:
    if route.match.size_over == 0:
        findings.wrong((*key, "size_over"), "has no effect, as no message is empty; write a larger one, or remove it")
    seen: list[tuple[str, tuple[str, ...]]] = []
    for number, header in enumerate(route.match.headers):
        # Of one name with other values both must match, which is no list of values.
        condition = header.name.lower(), tuple(sorted(header.values))
        if condition in seen:
            text = f'says of "{header.name}" what an entry before it says; remove it'
            findings.wrong((*key, "headers", number, "name"), text)
        seen.append(condition)


def _hides(earlier: Route, route: Route) -> bool:
    """Tell whether *earlier* takes all that *route* would."""
    if not covers(earlier.match, route.match):
        return False
    if not _takes_sandbox(route):
        return True
    # Mail of sandbox credentials passes over what is no sandbox; what no route takes goes to the first folder.
    is_last_resort = isinstance(route, SandboxRoute) and not isinstance(earlier, SandboxRoute)
    return _takes_sandbox(earlier) and not (is_last_resort and earlier.match.is_narrow)


def _takes_sandbox(route: Route) -> bool:
    return isinstance(route, SandboxRoute) or (isinstance(route, DiscardRoute) and route.sandbox)


def _lmtp(route: LmtpRoute, key: Key, findings: Findings) -> None:
    if route.socket is None:
        if not route.host and not route.hosts:
            findings.wrong((*key, "host"), "is missing; name the next hop, or its socket")
            return
        # RFC 2033 §5: LMTP is not spoken on port 25.
        if 25 in [port for _, port in route.next_hops]:
            findings.wrong((*key, "port"), "25 is that of SMTP; write the one on which the next hop speaks LMTP")
        _host(route, key, findings)
        return
    for name in sorted(_OF_TCP & route.model_fields_set):
        findings.wrong((*key, name), "has no effect beside socket; remove it")
    try:
        is_there, is_socket = route.socket.exists(), route.socket.is_socket()
    except OSError as error:
        text = f"{route.socket}: {error.strerror}; let the user that runs gatepost into its folder"
        findings.wrong((*key, "socket"), text)
        return
    length = len(os.fsencode(route.socket))
    if length > SOCKET_PATH_LIMIT:
        text = f"has {length} octets, and the path of a socket at most {SOCKET_PATH_LIMIT}; choose a shorter one"
        findings.wrong((*key, "socket"), text)
    elif not is_there:
        findings.odd((*key, "socket"), f"{route.socket} is not there now; start what serves it, or correct the path")
    elif not is_socket:
        findings.wrong((*key, "socket"), f"{route.socket} is no socket; name that of the LMTP server")


def _next_hops(route: HostRoute, key: Key, findings: Findings) -> bool:
    """Look at the hosts; tell whether there are any."""
    if not route.host and not route.hosts:
        findings.wrong((*key, "host"), "is missing; name the next hop, or several of them in hosts")
        return False
    if route.host and route.hosts:
        findings.wrong((*key, "hosts"), "stands beside host; keep one of the two")
    seen: set[tuple[str, int]] = set()
    for written, each in zip(route.hosts, route.next_hops, strict=False):
        if each in seen:
            findings.wrong((*key, "hosts"), f'holds "{written}" twice; remove one')
        seen.add(each)
    if route.hosts and "port" in route.model_fields_set and all(split_host(each)[1] for each in route.hosts):
        findings.wrong((*key, "port"), "has no effect, as each of hosts has a port of its own; remove it")
    return True


def _host(route: HostRoute, key: Key, findings: Findings) -> None:
    if not _next_hops(route, key, findings):
        return
    has_secret = route.password_secret is not None or route.token_secret is not None or route.oauth is not None
    is_near = all(is_loopback(host) for host, _ in route.next_hops)
    if has_secret and not route.login_name:
        findings.wrong((*key, "login"), "is missing beside a password or token; add the name to log in with")
    if route.login and not has_secret and route.certificate is None:
        findings.wrong((*key, "login"), "has neither password nor token; add password_file")
    if has_secret and route.tls == "none":
        findings.wrong((*key, "tls"), 'would send a secret in clear; write "starttls" or "implicit"')
    elif has_secret and not route.verify:
        findings.wrong((*key, "verify"), "would give a secret to anybody; write true, and name a private CA in ca_file")
    elif route.tls == "none" and not is_near:
        findings.odd((*key, "tls"), "lets mail leave this machine in clear")
    elif route.tls != "none" and not route.verify:
        findings.odd((*key, "verify"), "lets anybody in between read the mail; name a private CA in ca_file instead")
    _connection(route, key, findings)
    check_logins(route, key, findings)
    _secrets(route, key, findings)
    for number, each in enumerate(route.logins):
        _secrets(each, (*key, "logins", number), findings)
    if route.ca_file is not None:
        if not route.verify or route.tls == "none":
            findings.wrong((*key, "ca_file"), "has no effect, as nothing is verified; remove it")
        try:
            ssl.create_default_context(cafile=route.ca_file)
        except (OSError, ssl.SSLError) as error:
            reason = (
                error.strerror if isinstance(error, FileNotFoundError | PermissionError) else "no certificate in PEM"
            )
            findings.wrong((*key, "ca_file"), f"cannot be used ({reason}); correct the path or the file")


def _secrets(route: HostRoute | SenderLogin, key: Key, findings: Findings) -> None:
    for name in ("password", "token", "secret_access_key"):
        if (*key, name) in findings.config.source.lines and (*key, name) not in findings.config.source.variables:
            findings.odd((*key, name), f"stands in the open; move it into a file of its own: {name}_file")
    for name, file in (
        ("password_file", route.password_file),
        ("token_file", route.token_file),
        ("secret_access_key_file", getattr(route, "secret_access_key_file", None)),
    ):
        # Secrets that a container is given are readable for all that run in it.
        if file is not None and not file.path.is_relative_to("/run/secrets") and file.path.stat().st_mode & 0o007:
            findings.odd((*key, name), f"can be read by everybody on this machine; run: chmod o= {file.path}")


def _connection(route: HostRoute, key: Key, findings: Findings) -> None:
    for port in dict.fromkeys(port for _, port in route.next_hops):
        usual = USUAL_TLS.get(port)
        if route.tls != "none" and usual not in (None, route.tls):
            findings.odd((*key, "port" if port == route.port else "hosts"), f'{port} usually goes with tls = "{usual}"')
    for name in ("minimum_tls", "verify"):
        if route.tls == "none" and name in route.model_fields_set:
            findings.wrong((*key, name), "has no effect without TLS; remove it")
    check_source(route.source_address, [host for host, _ in route.next_hops], (*key, "source_address"), findings)
