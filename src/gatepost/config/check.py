"""See what a single key cannot: conflicts, missing and unreadable files, weak choices."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from gatepost.config.certificate import Certificate, Flaw, check_pair
from gatepost.config.check_dkim import check_dkim
from gatepost.config.check_files import check_files
from gatepost.config.check_mechanisms import check_client_certificates, check_mechanisms
from gatepost.config.check_oauth import check_issuers
from gatepost.config.check_queue import check_queue
from gatepost.config.check_route_oauth import check_route_oauth
from gatepost.config.check_routes import USUAL_TLS, check_routes
from gatepost.config.check_stores import check_stores
from gatepost.config.locate import Key
from gatepost.config.routes import HostRoute, SandboxRoute
from gatepost.config.schema import Config, Listener
from gatepost.config.stores import SqliteStore
from gatepost.config.vanishing import why_vanishing

__all__ = ["Findings", "check"]


@dataclass(slots=True)
class Findings:
    """What a check found; each line is ``file:line: key: what is wrong, what to do``."""

    config: Config
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def wrong(self, key: Key, text: str) -> None:
        """Note what must be mended before gatepost starts."""
        self.problems.append(self.config.source.problem(key, text))

    def odd(self, key: Key, text: str) -> None:
        """Note what is allowed, but weak or without effect."""
        self.warnings.append(self.config.source.problem(key, text))

    def is_written(self, key: Key) -> bool:
        """Tell whether *key* stands in the file or the environment, rather than being a default."""
        return key in self.config.source.lines or key in self.config.source.variables


Look = Callable[[Config, Findings], None]


def check(config: Config, now: dt.datetime | None = None) -> Findings:
    """Look at *config* as a whole, and at the files it names."""
    findings = Findings(config)
    looks: tuple[Look, ...] = (_folders, check_files, _listeners, check_mechanisms, check_issuers, _limits)
    for look in (*looks, check_routes, check_queue, check_dkim):
        look(config, findings)
    moment = now or dt.datetime.now(dt.UTC)
    _certificates(config, findings, moment)
    for number, route in enumerate(config.route):
        if isinstance(route, HostRoute):
            _own_certificate(route, ("route", number), findings, moment)
            check_route_oauth(route, ("route", number), findings, moment.date())
    check_client_certificates(config, findings, moment)
    check_stores(config, findings, moment)
    return findings


def _folders(config: Config, findings: Findings) -> None:
    if config.state_dir not in _vanishing(config, findings):
        _folder(("state_dir",), config.state_dir, findings)
    for number, route in enumerate(config.route):
        if isinstance(route, SandboxRoute):
            _folder(("route", number, "path"), route.path, findings)
            if _is_ours(Path(os.path.realpath(route.path)), Path(os.path.realpath(config.state_dir))):
                text = f"{route.path} is where gatepost keeps things of its own; name another folder"
                findings.wrong(("route", number, "path"), text)


def _is_ours(path: Path, state_dir: Path) -> bool:
    """Tell whether mail that is kept at *path* would lie among our own files."""
    return path == state_dir or any(path.is_relative_to(state_dir / name) for name in ("spool", "run", "oauth", "dkim"))


def _folder(key: Key, path: Path, findings: Findings) -> None:
    """A folder that must be writable, or that can be made."""
    try:
        if path.exists():
            if not path.is_dir():
                findings.wrong(key, f"{path} is no folder; name one")
            elif not os.access(path, os.W_OK | os.X_OK):
                findings.wrong(key, f"{path} cannot be written; give it to the user that runs gatepost")
            return
        parent = next(each for each in path.parents if each.exists())
    except OSError as error:
        text = f"{path}: {error.strerror}; let the user that runs gatepost into its folder, or name another"
        findings.wrong(key, text)
        return
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        findings.wrong(key, f"{path} does not exist and cannot be made; make it for the user that runs gatepost")


def _vanishing(config: Config, findings: Findings) -> set[Path]:
    """What was accepted must outlive the container; return the folders that are refused."""
    keys: dict[Path, Key] = {config.state_dir: ("state_dir",)}
    for number, store in enumerate(config.store):
        if isinstance(store, SqliteStore):
            keys.setdefault(store.path.parent, ("store", number, "path"))
    refused: set[Path] = set()
    for folder, key in keys.items():
        reason = why_vanishing(folder, os.environ)
        if reason and config.state_may_vanish:
            findings.odd(key, f"{folder} will vanish with this container: {reason}")
        elif reason:
            refused.add(folder)
            findings.wrong(
                key,
                f"{folder} would vanish with this container: {reason}; mount a volume there "
                f"(docker run -v gatepost:{folder}), or set state_may_vanish = true",
            )
    return refused


def _listeners(config: Config, findings: Findings) -> None:
    names: set[str] = set()
    taken: list[Listener] = []
    for number, listener in enumerate(config.listener):
        key: Key = ("listener", number)
        if listener.name in names:
            findings.wrong((*key, "name"), f'"{listener.name}" is the name of another listener too; choose another')
        names.add(listener.name)
        for other in taken:
            if listener.port == other.port != 0 and _overlap(listener.address, other.address):
                findings.wrong((*key, "port"), f'{listener.port} is taken by listener "{other.name}"; choose another')
        taken.append(listener)
        if any(each.endswith("/0") for each in listener.proxy_networks):
            findings.odd(
                (*key, "proxy_networks"), "lets everybody choose the address they are known by; name the proxies"
            )
        if any(each.endswith("/0") for each in listener.legacy_tls_networks):
            findings.wrong((*key, "legacy_tls_networks"), "lets everybody in; name the old devices")
        elif listener.legacy_tls_networks:
            findings.odd(
                (*key, "legacy_tls_networks"),
                "takes TLS 1.0 and old ciphers, which others can break; remove it once the old devices are gone",
            )
        usual = USUAL_TLS.get(listener.port)
        if usual is not None and usual != listener.tls:
            findings.odd((*key, "tls"), f'clients expect tls = "{usual}" on port {listener.port}')
    if config.admin.listen is not None:
        address, _, port = config.admin.listen.rpartition(":")
        for other in taken:
            if other.port == int(port) != 0 and _overlap(address.strip("[]"), other.address):
                findings.wrong(("admin", "listen"), f'{port} is taken by listener "{other.name}"; choose another')


def _overlap(one: str, other: str) -> bool:
    if one == other or "*" in (one, other):
        return True
    return (":" in one) == (":" in other) and bool({"::", "0.0.0.0"} & {one, other})  # noqa: S104 - compared, not bound


def _limits(config: Config, findings: Findings) -> None:
    limits = config.limits
    # RFC 5321 §4.5.3.1.8: at least 100 recipients of one message must be taken.
    if limits.recipients < 100:
        findings.odd(
            ("limits", "recipients"), "is below the 100 that clients may count on; some mail will need two goes"
        )
    # RFC 5321 §4.5.3.2.7: a server should wait five minutes for the next command.
    if limits.idle_timeout < dt.timedelta(minutes=5):
        findings.odd(("limits", "idle_timeout"), "is below the 5m that clients may count on")
    # RFC 5321 §4.5.3.2.5: a client may pause three minutes between the blocks of a message.
    if limits.data_timeout < dt.timedelta(minutes=3):
        findings.odd(("limits", "data_timeout"), "is below the 3m that clients may count on")
    for name, deadline in (
        ("login_timeout", "login_deadline"),
        ("idle_timeout", "session_deadline"),
        ("data_timeout", "session_deadline"),
    ):
        if getattr(limits, name) > getattr(limits, deadline):
            findings.odd(("limits", name), f"is above limits.{deadline} and has no effect")
    if "window" in config.idempotence.model_fields_set and not config.idempotence.enabled:
        findings.odd(("idempotence", "window"), "has no effect without idempotence.enabled; write enabled = true")
    if limits.connections_per_address > limits.connections:
        findings.odd(("limits", "connections_per_address"), "is above limits.connections and has no effect")
    if limits.header_bytes > limits.message_bytes:
        findings.odd(("limits", "header_bytes"), "is above limits.message_bytes and has no effect")
    if "line_bytes" in limits.model_fields_set and limits.line_bytes > limits.message_bytes:
        findings.odd(("limits", "line_bytes"), "is above limits.message_bytes and has no effect")


def _own_certificate(route: HostRoute, key: Key, findings: Findings, now: dt.datetime) -> None:
    if route.certificate is None:
        if route.key is not None:
            findings.wrong((*key, "key"), "has no certificate; add it")
        return
    if route.tls == "none":
        findings.wrong((*key, "certificate"), 'has no effect without TLS; write tls = "starttls" or "implicit"')
    _pair(key, route.certificate, route.key, findings, now)


def _certificates(config: Config, findings: Findings, now: dt.datetime) -> None:
    tls = config.tls
    if tls.certificate is None:
        findings.wrong(
            ("tls", "certificate"),
            "is missing, and no login is taken in clear; name one, or make one to try with: gatepost cert dev",
        )
        return
    pairs: list[tuple[Key, Path, Path | None]] = [(("tls",), tls.certificate, tls.key)]
    pairs += [(("tls", "pairs", number), each.certificate, each.key) for number, each in enumerate(tls.pairs)]
    leaves = [_pair(*each, findings, now) for each in pairs]
    first = leaves[0]
    if first is not None and not any(leaf is not None and leaf.covers(config.hostname) for leaf in leaves):
        shown = ", ".join(first.names) or "nothing"
        findings.odd(
            ("tls", "certificate"),
            f"is not made out for {config.hostname}, but for {shown}; clients that use that name will refuse it",
        )
    seen: set[tuple[str, str]] = set()
    for number, leaf in enumerate(leaves):
        if leaf is None:
            continue
        shown_for = {(name, leaf.kind) for name in leaf.dns_names}
        if number and not shown_for - seen:
            findings.wrong(
                (*pairs[number][0], "certificate"),
                "is never shown: it is for no name that those before it, of the same kind, are not for; remove it",
            )
        seen |= shown_for


def _pair(place: Key, certificate: Path, key: Path | None, findings: Findings, now: dt.datetime) -> Certificate | None:
    """Look at one certificate and its key; return the certificate unless it cannot be used."""
    try:
        leaf, problems, warnings = check_pair(certificate, key, now)
    except Flaw as flaw:
        name, _, text = str(flaw).rpartition("key: ")
        is_key = str(flaw).startswith("key: ")
        where = "key" if is_key and key is not None else "certificate"
        findings.wrong((*place, where), text if is_key else name + text)
        return None
    for text in problems:
        findings.wrong((*place, "certificate"), text)
    for text in warnings:
        findings.odd((*place, "certificate"), text)
    holder = key or certificate
    if holder.stat().st_mode & 0o007 and not holder.is_relative_to("/run/secrets"):
        findings.odd((*place, "key"), f"can be read by everybody on this machine; run: chmod o= {holder}")
    return leaf
