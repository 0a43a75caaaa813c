"""``gatepost dkim``: keys with which mail is signed: make, list and rotate them, print what belongs into the DNS."""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gatepost.cli.group import Group
from gatepost.cli.node import ask_workers, check_state_dir, is_running
from gatepost.cli.options import config_option, json_option
from gatepost.cli.output import Told, print_rows, remark
from gatepost.cli.times import SPAN, said, utc
from gatepost.errors import ConfigError, Malformed, Unavailable

if TYPE_CHECKING:
    from gatepost.config.schema import Config
    from gatepost.state.key_standing import Standing
    from gatepost.state.signing_keys import StoredKey

__all__ = ["dkim"]

_COLUMNS = ("domain", "selector", "kind", "state", "signs_from", "keep_until")
_RECORD_COLUMNS = ("name", "type", "strings", "selector", "kind", "state", "keep_until")
_KINDS = ("rsa", "ed25519")


class _DomainName(click.ParamType[str]):
    name = "domain"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from gatepost.model.address import ascii_domain, is_qualified, parse_domain

        try:
            domain = ascii_domain(parse_domain(value))
        except Malformed as error:
            self.fail(f"{value!r} is no domain: {error.reason}", param, ctx)
        if domain.startswith("[") or not is_qualified(domain):
            self.fail(f"{value!r} is no fully qualified domain", param, ctx)
        return domain


@click.group(cls=Group)
def dkim() -> None:
    """Keys with which mail is signed (DKIM)."""


@dkim.command()
@click.argument("domain", type=_DomainName())
@click.option("--kind", "kinds", multiple=True, type=click.Choice(_KINDS), help="Make this one only; both otherwise.")
@click.option("--selector", metavar="NAME", help="Name of the key in the DNS; with one --kind only.")
@click.option(
    "--key",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Bring a private key of yours, in PEM, instead of making one; needs --selector.",
)
@click.option("--after", type=SPAN, metavar="TIME", help="Sign with it only then, such as 2d; at once otherwise.")
@config_option
@json_option
def add(
    config: Config,
    domain: str,
    kinds: tuple[str, ...],
    selector: str | None,
    file: Path | None,
    after: float | None,
    as_json: bool,
) -> None:
    """Make keys for DOMAIN, RSA-2048 and Ed25519, and print their DNS records.

    Mail whose From is of DOMAIN is signed from now on.  Until the records can be seen in the DNS, whoever verifies
    it takes it for mail without a signature; with --after you have time to publish them first.
    """
    from gatepost.message.dkim_key import kind_of, make_key, read_key
    from gatepost.state.key_standing import new_selector
    from gatepost.state.signing_keys import StoredKey, is_selector, write_keys

    now = time.time()
    wanted = list(dict.fromkeys(kinds)) or list(_KINDS)
    if file is not None:
        if selector is None or kinds:
            raise click.UsageError("--key needs --selector, and no --kind: the key itself says which it is")
    elif selector is not None and len(wanted) != 1:
        raise click.UsageError("--selector needs --kind: each key has a selector of its own")
    if selector is not None and not is_selector(selector):
        raise click.BadParameter("letters, digits and hyphens, with dots between, 63 at most", param_hint="--selector")
    if file is not None:
        try:
            brought = read_key(_read_secret(file))
        except Malformed as error:
            raise Told(f"{file}: {error.reason}") from None
        wanted = [kind_of(brought)]
    with _changing(config) as stored:
        keys = list(stored.get(domain, ()))
        standing = [kind for kind in wanted if any(each.kind == kind for each in keys)]
        if standing and file is None:
            raise Told(f"{domain}: has a key of kind {standing[0]}; for a new one: gatepost dkim rotate {domain}")
        if any(each.selector.lower() == (selector or "").lower() for each in keys):
            raise Told(f"{domain}: has a key with the selector {selector}; choose another")
        for kind in wanted:
            private = brought if file is not None else make_key(kind)
            name = selector or new_selector(kind, _day(now), keys)
            keys.append(StoredKey(name, kind, now, now + (after or 0.0), private))
        write_keys(config.state_dir, domain, keys)
    _report(config, domain, keys, now, as_json)


@dkim.command()
@click.argument("domain", type=_DomainName())
@click.option("--switch", is_flag=True, help="Sign with the new keys from now on.")
@click.option("--after", type=SPAN, metavar="TIME", help="Let the new keys take over by themselves then, such as 2d.")
@config_option
@json_option
def rotate(config: Config, domain: str, switch: bool, after: float | None, as_json: bool) -> None:
    """Make new keys for DOMAIN, publish them, switch, and in the end forget the old ones.

    \b
    gatepost dkim rotate DOMAIN               new keys, and the records to publish; nothing signs with them yet
    gatepost dkim rotate DOMAIN --switch      once the records can be seen in the DNS: the new keys take over
    gatepost dkim dns DOMAIN                  the records that must stand; those of old keys for a while (keep_records)

    With --after the new keys take over by themselves.  Old keys are forgotten at the first rotation after
    dkim.keep_records, or with `gatepost dkim remove`.
    """
    from gatepost.message.dkim_key import make_key
    from gatepost.state.key_standing import KeyState, new_selector
    from gatepost.state.signing_keys import StoredKey, write_keys

    if switch and after is not None:
        raise click.UsageError("--switch is now, --after is later; choose one")
    now = time.time()
    with _changing(config) as stored:
        keys = _existing(stored, domain)
        waiting = [each for each in keys if each.signs_from is None or each.signs_from > now]
        if switch or (after is not None and waiting):
            if not waiting:
                raise Told(f"{domain}: has no new keys to switch to; make them with: gatepost dkim rotate {domain}")
            changed = [replace(each, signs_from=now + (after or 0.0)) for each in waiting]
        elif waiting:
            raise Told(f"{domain}: has new keys already; switch to them with: gatepost dkim rotate {domain} --switch")
        else:
            signs_from = None if after is None else now + after
            changed = []
            for kind in [kind for kind in _KINDS if any(each.kind == kind for each in keys)]:
                name = new_selector(kind, _day(now), [*keys, *changed])
                changed.append(StoredKey(name, kind, now, signs_from, make_key(kind)))
        names = {each.selector for each in changed}
        over = {each.key.selector for each in _standings(config, keys, now) if each.state is KeyState.OVER}
        keys = [*[each for each in keys if each.selector not in names | over], *changed]
        write_keys(config.state_dir, domain, keys)
    _report(config, domain, keys, now, as_json)


@dkim.command()
@click.argument("domain", type=_DomainName())
@click.argument("selector", required=False)
@config_option
@json_option
def remove(config: Config, domain: str, selector: str | None, as_json: bool) -> None:
    """Forget the key SELECTOR of DOMAIN, or all of them: its mail goes out unsigned then."""
    from gatepost.state.signing_keys import write_keys

    if selector is None and domain in (config.dkim.domains or ()):
        raise Told(f"{domain}: must be signed, for it stands in dkim.domains; take it out there first")
    with _changing(config) as stored:
        keys = _existing(stored, domain)
        kept = [each for each in keys if selector is not None and each.selector.lower() != selector.lower()]
        if len(kept) == len(keys):
            raise Told(f"{domain}: has no key {selector}; it has {', '.join(each.selector for each in keys)}")
        if selector is not None and not kept:
            raise Told(f"{domain}: {selector} is its last key; to sign no more: gatepost dkim remove {domain}")
        write_keys(config.state_dir, domain, kept)
    rows = [{"name": f"{each.selector}._domainkey.{domain}.", "type": "TXT"} for each in keys if each not in kept]
    if as_json:
        print_rows(rows, ("name", "type"), as_json=True)
    for row in () if as_json else rows:
        click.echo(f"{row['name']} IN TXT")
    remark("forgotten; mail that they signed may be under way, so leave these records for dkim.keep_records")
    _tell_workers(config)


@dkim.command("list")
@config_option
@json_option
def list_(config: Config, as_json: bool) -> None:
    """List the keys of all domains.

    \b
    signs      mail is signed with it now
    waiting    its record can be published; it signs from the time that is shown, or once it is told to
    retired    another signs; its record must stay until the time that is shown
    over       its record can go; the next rotation forgets it
    """
    check_state_dir(config.state_dir)
    now, stored = time.time(), _read(config)
    rows = [
        {
            "domain": domain,
            "selector": each.key.selector,
            "kind": each.key.kind,
            "state": each.state.value,
            "signs_from": utc(each.key.signs_from),
            "keep_until": utc(each.keep_until),
        }
        for domain, keys in stored.items()
        for each in _standings(config, keys, now)
    ]
    print_rows(rows, _COLUMNS, as_json)
    if config.dkim.domains is not None:
        for domain in sorted(stored.keys() - set(config.dkim.domains)):
            remark(f"{domain}: does not stand in dkim.domains; its mail goes out unsigned")


@dkim.command()
@click.argument("domain", type=_DomainName())
@config_option
@json_option
def dns(config: Config, domain: str, as_json: bool) -> None:
    """Print the TXT records of DOMAIN for a zone file: of all keys whose records must stand now."""
    check_state_dir(config.state_dir)
    keys = _existing(_read(config), domain)
    _print_records(config, domain, keys, time.time(), as_json)


# Reading and changing.


def _read(config: Config) -> dict[str, tuple[StoredKey, ...]]:
    from gatepost.state.signing_keys import read_keys

    try:
        return read_keys(config.state_dir)
    except ConfigError as error:
        raise Told(str(error)) from None


def _read_secret(file: Path) -> Any:
    from gatepost.config.values import read_secret

    try:
        return read_secret(file)
    except ValueError as error:
        raise Told(str(error)) from None


def _existing(keys: dict[str, tuple[StoredKey, ...]], domain: str) -> list[StoredKey]:
    if domain not in keys:
        raise Told(f"{domain}: has no key; make one with: gatepost dkim add {domain}")
    return list(keys[domain])


@contextlib.contextmanager
def _changing(config: Config) -> Iterator[dict[str, tuple[StoredKey, ...]]]:
    """Keep others from changing the keys meanwhile; trouble becomes lines for the user."""
    from gatepost.state.signing_keys import change_keys

    try:
        config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with change_keys(config.state_dir) as keys:
            yield keys
    except ConfigError as error:
        raise Told(str(error)) from None
    except OSError as error:
        where = error.filename or config.state_dir
        raise Told(f"{where}: {error.strerror}; run this as root or as the user of the server") from None


def _day(now: float) -> str:
    return f"{dt.datetime.fromtimestamp(now, dt.UTC):%Y%m%d}"


# Telling.


def _report(config: Config, domain: str, keys: Sequence[StoredKey], now: float, as_json: bool) -> None:
    """Tell the workers, and print the records that must stand from now on."""
    _print_records(config, domain, keys, now, as_json)
    from gatepost.state.key_standing import KeyState

    for each in _standings(config, keys, now):
        key = each.key
        if each.state is KeyState.WAITING:
            when = (
                f"when you say so: gatepost dkim rotate {domain} --switch"
                if key.signs_from is None
                else said(key.signs_from)
            )
            remark(f"{key.selector}: publish its record now; it signs from {when}")
        elif each.state is KeyState.RETIRED:
            remark(f"{key.selector}: leave its record in the DNS until {said(each.keep_until)}")
        elif key.signs_from is not None and key.signs_from >= now and each.state is KeyState.SIGNS:
            remark(f"{key.selector}: signs from now on; its record must be in the DNS")
    if config.dkim.domains is not None and domain not in config.dkim.domains:
        remark(f"{domain}: does not stand in dkim.domains; its mail goes out unsigned until you add it there")
    _tell_workers(config)


def _standings(config: Config, keys: Sequence[StoredKey], now: float) -> list[Standing]:
    from gatepost.state.key_standing import standings

    return standings(keys, now, config.dkim.keep_records.total_seconds())


def _print_records(config: Config, domain: str, keys: Sequence[StoredKey], now: float, as_json: bool) -> None:
    from gatepost.message.dkim_key import record, strings
    from gatepost.state.key_standing import KeyState

    standing = [each for each in _standings(config, keys, now) if each.state is not KeyState.OVER]
    rows = [
        {
            "name": f"{each.key.selector}._domainkey.{domain}.",
            "type": "TXT",
            "strings": strings(record(each.key.private)),
            "selector": each.key.selector,
            "kind": each.key.kind,
            "state": each.state.value,
            "keep_until": utc(each.keep_until),
        }
        for each in standing
    ]
    if as_json:
        print_rows(rows, _RECORD_COLUMNS, as_json=True)
        return
    for each in standing:
        until = "" if each.keep_until is None else f", leave it here until {said(each.keep_until)}"
        click.echo(f"; {each.key.kind}, {each.state.value}{until}")
        quoted = [f'"{part}"' for part in strings(record(each.key.private))]
        text = quoted[0] if len(quoted) == 1 else "( " + "\n    ".join(quoted) + " )"
        click.echo(f"{each.key.selector}._domainkey.{domain}. IN TXT {text}")


def _tell_workers(config: Config) -> None:
    """Let a running server take the keys up at once."""
    if not is_running(config.state_dir):
        return
    answers = ask_workers(config, {"verb": "signing-keys"}, changes=True)
    troubles = [str(answer) for answer in answers.values() if isinstance(answer, Unavailable)]
    for trouble in troubles:
        remark(f"{trouble}; it takes the keys up at its next start, or with: gatepost reload")
    if troubles:
        raise SystemExit(1)
