"""``gatepost credential``: the secrets of accounts, each with what it may be used for."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, BinaryIO

import click

from gatepost.cli.account import has_accounts, open_accounts, remark_on_withheld
from gatepost.cli.credential_change import expire, restrict, rotate
from gatepost.cli.credential_facts import (
    facts_of,
    print_line,
    remark_on_retiring,
    rules_of,
    use_of,
    user_facts,
    users_of,
    uses_of,
)
from gatepost.cli.group import Group
from gatepost.cli.options import config_option, json_option
from gatepost.cli.output import print_row, print_rows, remark
from gatepost.cli.times import MOMENT, said
from gatepost.model.identity import Secret

if TYPE_CHECKING:
    from gatepost.config.schema import Config

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
    "recipients",
    "messages_per_minute",
    "sandbox",
    "verifiers",
    "created",
    "not_before",
    "expires",
    "revoked",
    "successor",
    "last_used",
    "last_use",
    "used_by",
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
    "successor",
    "last_used",
)
_LONGEST_LINE = 4096
_LONGEST_CERTIFICATE = 1 << 18


@click.group(cls=Group)
def credential() -> None:
    """Make, list, rotate, restrict and revoke the secrets of accounts."""


for _verb in (rotate, expire, restrict):
    credential.add_command(_verb)


@credential.command()
@click.argument("login")
@click.option("--label", default="", metavar="TEXT", help="What it is for, such as the device that uses it.")
@click.option("--secret-stdin", is_flag=True, help="Read a chosen secret instead of making one.")
@click.option("--short", is_flag=True, help="Make a shorter secret, for devices that are hard to type on.")
@click.option(
    "--certificate",
    type=click.File("rb"),
    metavar="FILE",
    help="Make no secret: this client certificate (PEM) lets in, by EXTERNAL.",
)
@click.option("--mechanism", "mechanisms", multiple=True, metavar="M", help="Only with this SASL mechanism.")
@click.option("--listener", "listeners", multiple=True, metavar="L", help="Only on this listener.")
@click.option("--network", "networks", multiple=True, metavar="CIDR", help="Only from this network.")
@click.option("--sender", "senders", multiple=True, metavar="PATTERN", help="Only as this sender, of the account's.")
@click.option("--expires", type=MOMENT, metavar="90d|DATE", help="Until then only.")
@click.option("--recipient", "recipients", multiple=True, metavar="PATTERN", help="Only to this recipient.")
@click.option("--rate", type=click.IntRange(min=1), metavar="N", help="So many messages in a minute only.")
@click.option("--not-before", type=MOMENT, metavar="1d|DATE", help="From then on only.")
@click.option("--sandbox", is_flag=True, help="Its mail goes to a sandbox only.")
@click.option("--canary", is_flag=True, help="A trap: it lets nobody in, and who brings it is blocked, with an alarm.")
@click.option("--force", is_flag=True, help="Even if a mechanism can then be offered to nobody on a listener.")
@json_option
@config_option
def add(
    config: Config,
    login: str,
    label: str,
    secret_stdin: bool,
    short: bool,
    certificate: BinaryIO | None,
    mechanisms: tuple[str, ...],
    listeners: tuple[str, ...],
    networks: tuple[str, ...],
    senders: tuple[str, ...],
    recipients: tuple[str, ...],
    rate: int | None,
    not_before: float | None,
    expires: float | None,
    sandbox: bool,
    canary: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Add a credential to the account LOGIN and print its secret, once; a chosen one is not printed, but its id."""
    from gatepost.identity.credentials import Restrictions, add_credential
    from gatepost.state.keys import load_keys

    if secret_stdin and short:
        raise click.UsageError("--short is for a secret that is made; leave it out, or --secret-stdin.")
    if certificate is not None and (secret_stdin or short):
        raise click.UsageError("--certificate takes the place of a secret; leave out --secret-stdin and --short.")
    restrictions = Restrictions(
        mechanisms=[each.upper() for each in mechanisms],
        listeners=listeners,
        networks=networks,
        senders=senders,
        recipients=recipients,
        messages_per_minute=rate,
        not_before=not_before,
        expires=expires,
        sandbox=sandbox,
    )
    database = open_accounts(config)
    if certificate is not None:
        from gatepost.identity.own_certificates import add_certificate

        row = add_certificate(
            database,
            rules_of(config),
            login,
            certificate.read(_LONGEST_CERTIFICATE),
            now=time.time(),
            label=label,
            restrictions=restrictions,
            canary=canary,
        )
        print_line(facts_of(row), row.id, as_json)
        remark(f"Credential {row.id} of {row.login} is the certificate; it ends {said(row.expires)}.")
        return
    chosen = _read_secret() if secret_stdin else None
    row, secret = add_credential(
        database,
        load_keys(config.secret_key_file),
        rules_of(config),
        login,
        now=time.time(),
        label=label,
        restrictions=restrictions,
        chosen=chosen,
        short=short,
        force=force,
        canary=canary,
    )
    facts = facts_of(row)
    if chosen is not None:
        print_line(facts, row.id, as_json)
        remark(f"Credential {row.id} of {row.login} has the chosen secret.")
    else:
        shown = secret.reveal().decode()
        print_line({**facts, "secret": shown}, shown, as_json)
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
    uses, users = uses_of(config), users_of(config, rows, time.time())
    facts = [{**facts_of(each), **use_of(uses, each), "used_by": user_facts(users.get(each.id, ()))} for each in rows]
    print_rows(facts, _COLUMNS if as_json else _SHORT_COLUMNS, as_json)
    if not as_json:
        remark_on_retiring(rows, users)


@credential.command()
@click.argument("identifier", metavar="ID")
@json_option
@config_option
def show(config: Config, identifier: str, as_json: bool) -> None:
    """Show the credential ID, and its last login; its secret is not kept."""
    from gatepost.identity.credentials import show_credential

    row = show_credential(open_accounts(config), identifier)
    print_row({**facts_of(row), **use_of(uses_of(config), row)}, as_json)


@credential.command()
@click.argument("identifier", metavar="ID")
@config_option
def revoke(config: Config, identifier: str) -> None:
    """End the credential ID for good."""
    from gatepost.identity.credentials import revoke_credential

    revoked = revoke_credential(open_accounts(config), identifier, now=time.time())
    click.echo(revoked.id)
    remark(f"revoked, of {revoked.login}")


def _read_secret() -> Secret:
    if sys.stdin.isatty():
        typed: str = click.prompt("Secret", hide_input=True, confirmation_prompt=True, err=True)
        return Secret(typed.encode())
    text = sys.stdin.buffer.read(_LONGEST_LINE)
    return Secret(text.removesuffix(b"\n").removesuffix(b"\r"))
