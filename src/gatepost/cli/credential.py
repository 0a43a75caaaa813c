"""``gatepost credential``: the secrets of accounts, each with what it may be used for."""

from __future__ import annotations

import datetime as dt
import re
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from gatepost.cli.account import has_accounts, listener_mechanisms, open_accounts, remark_on_withheld, utc
from gatepost.cli.options import config_option, json_option
from gatepost.cli.output import print_row, print_rows, remark
from gatepost.model.identity import Secret

if TYPE_CHECKING:
    from gatepost.config.schema import Config
    from gatepost.identity.credentials import CredentialRow, Rules
    from gatepost.state.last_used import Use

__all__ = ["credential"]

_COLUMNS = (
    "id",
    "login",
    "label",
    "state",
    "origin",
    "mechanisms",
    "listeners",
    "networks",
    "senders",
    "sandbox",
    "verifiers",
    "created",
    "expires",
    "revoked",
    "last_used",
    "last_use",
)
_SHORT_COLUMNS = (
    "id",
    "login",
    "label",
    "state",
    "origin",
    "mechanisms",
    "listeners",
    "networks",
    "senders",
    "expires",
    "last_used",
)
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LONGEST_LINE = 4096


class _Expiry(click.ParamType[float]):
    """A time to come: a span such as 90d, 12h, 2w, or a date, perhaps with a time; in UTC unless it says otherwise."""

    name = "expiry"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        now = dt.datetime.now(dt.UTC)
        span = re.fullmatch(r"([1-9][0-9]{0,5})([mhdw])", value)
        try:
            if span is not None:
                return (now + dt.timedelta(**{_UNITS[span[2]]: int(span[1])})).timestamp()
            moment = dt.datetime.fromisoformat(value)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither a span such as 90d nor a date such as {now.year + 1}-01-31", param, ctx)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=dt.UTC)
        if moment <= now:
            self.fail(f"{value!r} is over already", param, ctx)
        return moment.timestamp()


@click.group()
def credential() -> None:
    """Make, list and revoke the secrets of accounts."""


@credential.command()
@click.argument("login")
@click.option("--label", default="", metavar="TEXT", help="What it is for, such as the device that uses it.")
@click.option("--secret-stdin", is_flag=True, help="Read a chosen secret instead of making one.")
@click.option("--short", is_flag=True, help="Make a shorter secret, for devices that are hard to type on.")
@click.option("--mechanism", "mechanisms", multiple=True, metavar="M", help="Only with this SASL mechanism.")
@click.option("--listener", "listeners", multiple=True, metavar="L", help="Only on this listener.")
@click.option("--network", "networks", multiple=True, metavar="CIDR", help="Only from this network.")
@click.option("--sender", "senders", multiple=True, metavar="PATTERN", help="Only as this sender, of the account's.")
@click.option("--expires", type=_Expiry(), metavar="90d|DATE", help="Until then only.")
@click.option("--sandbox", is_flag=True, help="Its mail goes to a sandbox only.")
@click.option("--force", is_flag=True, help="Even if a mechanism can then be offered to nobody on a listener.")
@json_option
@config_option
def add(
    config: Config,
    login: str,
    label: str,
    secret_stdin: bool,
    short: bool,
    mechanisms: tuple[str, ...],
    listeners: tuple[str, ...],
    networks: tuple[str, ...],
    senders: tuple[str, ...],
    expires: float | None,
    sandbox: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Add a credential to the account LOGIN and print its secret, once; a chosen one is not printed, but its id."""
    from gatepost.identity.credentials import Restrictions, add_credential
    from gatepost.state.keys import load_keys

    if secret_stdin and short:
        raise click.UsageError("--short is for a secret that is made; leave it out, or --secret-stdin.")
    restrictions = Restrictions(
        mechanisms=[each.upper() for each in mechanisms],
        listeners=listeners,
        networks=networks,
        senders=senders,
        expires=expires,
        sandbox=sandbox,
    )
    database = open_accounts(config)
    chosen = _read_secret() if secret_stdin else None
    row, secret = add_credential(
        database,
        load_keys(config.secret_key_file),
        _rules(config),
        login,
        now=time.time(),
        label=label,
        restrictions=restrictions,
        chosen=chosen,
        short=short,
        force=force,
    )
    facts = _facts(row)
    if chosen is not None:
        _print(facts, row.id, as_json)
        remark(f"Credential {row.id} of {row.login} has the chosen secret.")
    else:
        shown = secret.reveal().decode()
        _print({**facts, "secret": shown}, shown, as_json)
        remark(f"Credential {row.id} of {row.login}.  Its secret is not kept and cannot be shown again.")
    if force:
        remark_on_withheld(config)


@credential.command("list")
@click.argument("login", required=False)
@json_option
@config_option
def list_(config: Config, login: str | None, as_json: bool) -> None:
    """List the credentials of LOGIN, or of all accounts."""
    from gatepost.identity.credentials import list_credentials

    rows = list_credentials(open_accounts(config), login) if login or has_accounts(config) else []
    uses = _uses(config)
    facts = [{**_facts(each), **_use(uses, each)} for each in rows]
    print_rows(facts, _COLUMNS if as_json else _SHORT_COLUMNS, as_json)


@credential.command()
@click.argument("identifier", metavar="ID")
@json_option
@config_option
def show(config: Config, identifier: str, as_json: bool) -> None:
    """Show the credential ID, and its last login; its secret is not kept."""
    from gatepost.identity.credentials import show_credential

    row = show_credential(open_accounts(config), identifier)
    print_row({**_facts(row), **_use(_uses(config), row)}, as_json)


@credential.command()
@click.argument("identifier", metavar="ID")
@config_option
def revoke(config: Config, identifier: str) -> None:
    """End the credential ID for good."""
    from gatepost.identity.credentials import revoke_credential

    revoked = revoke_credential(open_accounts(config), identifier, now=time.time())
    click.echo(revoked.id)
    remark(f"revoked, of {revoked.login}")


def _print(facts: dict[str, Any], line: str, as_json: bool) -> None:
    if as_json:
        print_row(facts, as_json)
    else:
        click.echo(line)


def _rules(config: Config) -> Rules:
    from gatepost.identity.credentials import Rules
    from gatepost.identity.verifiers import Argon2

    hashing = config.auth.argon2
    return Rules(
        config.auth.mechanisms,
        listener_mechanisms(config),
        Argon2(memory_bytes=hashing.memory_bytes, passes=hashing.passes, lanes=hashing.lanes),
    )


def _read_secret() -> Secret:
    if sys.stdin.isatty():
        typed: str = click.prompt("Secret", hide_input=True, confirmation_prompt=True, err=True)
        return Secret(typed.encode())
    text = sys.stdin.buffer.read(_LONGEST_LINE)
    return Secret(text.removesuffix(b"\n").removesuffix(b"\r"))


def _uses(config: Config) -> Mapping[tuple[str, str], Use]:
    from gatepost.errors import StateUnavailable
    from gatepost.state.last_used import read_uses
    from gatepost.state.node import STATE_FILE

    try:
        return read_uses(config.state_dir / STATE_FILE)
    except StateUnavailable as error:
        remark(f"When credentials were last used is not known: {error}")
        return {}


def _use(uses: Mapping[tuple[str, str], Use], row: CredentialRow) -> dict[str, Any]:
    use = uses.get((row.login, row.id))
    if use is None:
        return {"last_used": None, "last_use": None}
    how = {"address": use.address, "mechanism": use.mechanism, "tls": use.tls, "client": use.client, "logins": use.uses}
    return {"last_used": utc(use.time), "last_use": how}


def _facts(row: CredentialRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "login": row.login,
        "label": row.label,
        "state": row.state(time.time()),
        "origin": row.origin,
        "mechanisms": row.mechanisms,
        "listeners": row.listeners,
        "networks": row.networks,
        "senders": row.senders,
        "sandbox": row.sandbox,
        "verifiers": row.schemes,
        "created": utc(row.created),
        "expires": utc(row.expires),
        "revoked": utc(row.revoked),
    }
